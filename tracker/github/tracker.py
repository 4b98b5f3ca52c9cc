"""GitHub as a tracker: `tracker.base.Tracker` and `CodeHost` for one repository.

Reads tell what GitHub says now and leave our rows alone. Writes look before they write, so that each may be repeated,
and put into our rows just what they did.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from tracker import limits, queries
from tracker.github import (
    commenting,
    creating,
    labelling,
    listing,
    markers,
    mirror,
    parts,
    permissions,
    proposing,
    structure,
    wire,
    written,
)
from tracker.github.desk import Desk
from tracker.github.session import open_session
from tracker.github.wire import RemoteIssue
from tracker.models import Change, Comment, Issue, Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import AgentState, CloseReason, CommentView, IssueDraft, IssueView, Page, Ref, Trust

LISTINGS_LAG = timedelta(seconds=60)
"""After a lost answer nothing is created again before: by then GitHub's listings show what was."""


_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}(\[bot\])?")


class GithubTracker:
    """The issues and pull requests of one repository. One session for each call; safe in any number of processes."""

    capabilities = frozenset({"sub_issues", "dependencies", "native_assign", "pull_requests", "webhooks"})

    def __init__(self, repository: Repository, *, listings_lag: timedelta = LISTINGS_LAG) -> None:
        self._repository = repository
        self._listings_lag = listings_lag

    @contextmanager
    def _desk(self, ref: Ref) -> Iterator[Desk]:
        """Where one call works.

        Raises:
            NotFoundError: The issue is in another repository, or no issue can have this key.
        """
        self._check_scope(ref.scope)
        if not limits.is_number(ref.key):
            raise NotFoundError(f"{self._repository.scope} has no issue {ref.key[:40]!r}; keys are numbers.")
        with open_session(self._repository) as session, session.calling():
            yield Desk(repository=self._repository, session=session)

    def _check_scope(self, scope: str) -> None:
        if scope != self._repository.scope:
            raise NotFoundError(f"This is the tracker of {self._repository.scope}, not of {scope[:100]!r}.")

    # --- reads ---------------------------------------------------------------------------------------------------

    def get(self, ref: Ref) -> IssueView:
        """See `Tracker.get`."""
        with self._desk(ref) as desk:
            return _view(desk, desk.issue(ref))

    def list_changed(self, scope: str, since: datetime, cursor: str | None = None) -> Page[IssueView]:
        """See `Tracker.list_changed`."""
        self._check_scope(scope)
        place = listing.parse(cursor, since=since)
        with open_session(self._repository) as session, session.calling():
            desk = Desk(repository=self._repository, session=session)
            found, following = listing.read(desk, place)
            return Page(items=tuple(_view(desk, remote) for remote in found), cursor=following)

    def children(self, ref: Ref) -> list[Ref]:
        """See `Tracker.children`."""
        with self._desk(ref) as desk:
            return self._refs(structure.children(desk, ref))

    def parent(self, ref: Ref) -> Ref | None:
        """See `Tracker.parent`."""
        with self._desk(ref) as desk:
            found = structure.parent(desk, ref)
            if found is None:
                desk.issue(ref)  # GitHub says 404 in both cases
                return None
            return next(iter(self._refs([found])), None)

    def blockers(self, ref: Ref) -> list[Ref]:
        """See `Tracker.blockers`."""
        with self._desk(ref) as desk:
            return list(queries.sorted_refs(self._refs(structure.blockers(desk, ref))))

    def comments(self, ref: Ref, since: datetime | None = None) -> list[CommentView]:
        """See `Tracker.comments`."""
        with self._desk(ref) as desk:
            row = mirror.find(self._repository, ref.key) or mirror.ensure_issue(self._repository, desk.issue(ref))
            return [mirror.comment_view(row, remote) for remote in desk.comments(ref, since=since)]

    def permission(self, scope: str, actor: str) -> Trust:
        """See `Tracker.permission`."""
        self._check_scope(scope)
        now = timezone.now()
        found = permissions.known(self._repository, actor, now=now)
        if found is None:
            with open_session(self._repository) as session:
                found = permissions.ask(session, self._repository, actor, now=now)
        return found

    # --- writes --------------------------------------------------------------------------------------------------

    def create(self, scope: str, draft: IssueDraft, dedupe_key: str) -> IssueView:
        """See `Tracker.create`."""
        self._check_scope(scope)
        with open_session(self._repository) as session, session.calling():
            desk = Desk(repository=self._repository, session=session)
            row = creating.create(desk, draft, dedupe_key, rest=self._listings_lag)
        return queries.issue_view(queries.with_parts(Issue.objects.filter(pk=row.pk)).get())

    def edit(self, ref: Ref, *, title: str, body: str, was: str = "") -> IssueView:
        """See `Tracker.edit`."""
        with self._desk(ref) as desk:
            return _view(desk, creating.edit(desk, ref, title=title, body=body, was=was))

    def link_child(self, parent: Ref, child: Ref, after: Ref | None = None, *, replace: bool = False) -> None:
        """See `Tracker.link_child`."""
        self._same_scope(parent, [child], field="child")
        self._same_scope(parent, [after] if after else [], field="after")
        with self._desk(parent) as desk:
            structure.link_child(desk, parent, child, after, replaces=replace)

    def set_blockers(self, ref: Ref, blockers: Collection[Ref]) -> None:
        """See `Tracker.set_blockers`."""
        self._same_scope(ref, blockers, field="blockers")
        with self._desk(ref) as desk:
            structure.set_blockers(desk, ref, blockers)

    def set_state(self, ref: Ref, state: AgentState) -> None:
        """See `Tracker.set_state`."""
        with self._desk(ref) as desk:
            labelling.set_state(desk, ref, state)

    def upsert_comment(self, ref: Ref, slot: str, data: Mapping[str, Any], markdown: str) -> CommentView:
        """See `Tracker.upsert_comment`. Works in the conversation of a pull request that we have read, too."""
        is_pull = Change.objects.filter(repository=self._repository, key=ref.key).exists()
        with self._desk(ref) as desk:
            if is_pull:
                return commenting.on_pull(desk, ref, slot, data, markdown, rest=self._listings_lag)
            row = commenting.upsert(desk, ref, slot, data, markdown, rest=self._listings_lag)
        return queries.comment_view(row, ref)

    def react(self, ref: Ref, kind: str, comment_id: str = "") -> None:
        """See `Tracker.react`. Works on pull requests and their conversation too."""
        if kind not in limits.REACTIONS:
            raise InvalidError(f"{kind[:20]!r} is no reaction; use one of {', '.join(limits.REACTIONS)}.", field="kind")
        with self._desk(ref) as desk:
            desk.issue(ref, allow_pull=True)
            if comment_id:
                self._react_to_comment(desk, ref, kind, comment_id)
                return
            with desk.calling(write=True):
                desk.handle(ref.key).create_reaction(kind)
        if row := mirror.find(self._repository, ref.key):
            written.reacted(row, kind=kind, comment=None)

    def assign(self, ref: Ref, actor: str) -> bool:
        """See `Tracker.assign`."""
        with self._desk(ref) as desk:
            present = desk.issue(ref).assignees
            if not _LOGIN.fullmatch(actor):
                return False
            if not any(parts.is_same_login(login, actor) for login in present):
                handle = desk.handle(ref.key)
                with desk.calling(write=True):
                    handle.add_to_assignees(actor)
                    present = tuple(person.login for person in handle.assignees)
            # GitHub leaves out those that it cannot assign, and says nothing.
            assigned = next((login for login in present if parts.is_same_login(login, actor)), None)
            if assigned is None:
                return False
            if row := mirror.find(self._repository, ref.key):
                written.assigned(row, assigned, is_ours=mirror.is_our_login(assigned, us=desk.us))
            return True

    def close(self, ref: Ref, reason: CloseReason) -> None:
        """See `Tracker.close`."""
        with self._desk(ref) as desk:
            labelling.close(desk, ref, reason)

    def reopen(self, ref: Ref) -> None:
        """See `Tracker.reopen`."""
        with self._desk(ref) as desk:
            labelling.reopen(desk, ref)

    def set_label(self, ref: Ref, name: str, *, present: bool) -> None:
        """See `Tracker.set_label`."""
        with self._desk(ref) as desk:
            labelling.set_label(desk, ref, name, present=present)

    # --- pull requests -------------------------------------------------------------------------------------------

    def open_change(self, ref: Ref, *, head: str, base: str, title: str, body: str, outlived: str = "") -> Ref:
        """See `CodeHost.open_change`."""
        with self._desk(ref) as desk:
            return proposing.open_change(desk, head=head, base=base, title=title, body=body, outlived=outlived)

    def mark_ready(self, ref: Ref, *, head: str) -> None:
        """See `CodeHost.mark_ready`."""
        with self._desk(ref) as desk:
            proposing.mark_ready(desk, head=head)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _refs(self, remotes: list[RemoteIssue]) -> list[Ref]:
        found = mirror.same_repository(self._repository, remotes)
        return [Ref(self._repository.scope, remote.key) for remote in found]

    def _same_scope(self, ref: Ref, others: Collection[Ref], *, field: str) -> None:
        for other in others:
            if other.scope != ref.scope:
                message = f"{other} is in another repository than {ref}; link issues of one repository."
                raise InvalidError(message, field=field)
            if not limits.is_number(other.key):
                raise NotFoundError(f"{self._repository.scope} has no issue {other.key[:40]!r}; keys are numbers.")

    def _react_to_comment(self, desk: Desk, ref: Ref, kind: str, comment_id: str) -> None:
        if not limits.is_number(comment_id):
            raise NotFoundError(f"{ref} has no comment {comment_id[:40]!r}.")
        with desk.calling():
            remote = wire.comment(desk.handle(ref.key).get_comment(int(comment_id)).raw_data, us=desk.us)
        if str(remote.number) != ref.key:
            raise NotFoundError(f"{ref} has no comment {comment_id}; it is one of #{remote.number}.")
        with desk.calling(write=True):
            desk.comment_handle(remote.id).create_reaction(kind)
        comment = Comment.objects.filter(issue__repository=self._repository, remote_id=remote.id).first()
        if comment is not None:
            written.reacted(comment.issue, kind=kind, comment=comment)


def _view(desk: Desk, remote: RemoteIssue) -> IssueView:
    """An issue as every tracker shows it, with what our rows know of its author."""
    row = Issue.objects.filter(repository=desk.repository, key=remote.key).only("author_trust").first()
    return wire.view(
        remote,
        ref=Ref(desk.repository.scope, remote.key),
        body=markers.without_key(remote.body),
        trust=Trust((row.author_trust if row else "") or Trust.NONE),
    )
