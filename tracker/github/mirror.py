"""Our rows of what GitHub says, read whole. They never go back: what was read or changed earlier loses.

Only whoever compares before and after stores whole reads (`tracker.sync`): a read stored in passing would hide from it
what people changed. What we write ourselves goes into the rows by `tracker.github.written`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from tracker.conf import conf
from tracker.github import edges, markers, parts
from tracker.github.wire import RemoteComment, RemoteIssue, RemotePull
from tracker.models import Change, Comment, Issue, IssueAssignee, IssueLabel, Repository
from tracker.public_errors import InvalidError
from tracker.public_types import ChecksState, CommentView, Ref, Trust

logger = logging.getLogger(__name__)

# --- issues --------------------------------------------------------------------------------------------------------


def find(repository: Repository, key: str) -> Issue | None:
    """Our row of an issue, if we have one."""
    return Issue.objects.select_related("repository").filter(repository=repository, key=key).first()


def store_issue(
    repository: Repository, remote: RemoteIssue, *, trust: Trust | None, synced_at: datetime | None = None
) -> Issue:
    """The row of an issue that was read whole. An older change loses against a newer one.

    Args:
        trust: Of its author; None keeps what is known.
        synced_at: When the read began; None for now.

    Raises:
        InvalidError: It is a pull request.
    """
    read_at = synced_at or timezone.now()
    _refuse_pull(remote)
    with transaction.atomic():
        row, is_new = Issue.objects.get_or_create(
            repository=repository, key=remote.key, defaults=_fields(remote) | _trust(trust) | {"synced_at": read_at}
        )
        if not is_new:
            row = _locked(row.pk)
            if row.synced_at is not None and remote.updated_at < row.updated_at:
                return row
            fields = _fields(remote) | _trust(trust)
            if is_overtaken(row, read_at):
                # What we wrote meanwhile is not in this answer. The old time of change makes the next sweep look again.
                fields = {name: fields[name] for name in ("title", "body", "remote_id", "url", "author")}
            else:
                fields["synced_at"] = max(read_at, row.synced_at or read_at)
            Issue.objects.filter(pk=row.pk).update(**fields)
            for name, value in fields.items():
                setattr(row, name, value)
            if is_overtaken(row, read_at):
                return row
        _store_labels(row, remote.plain_labels)
        _store_assignees(row, remote)
    return row


def ensure_issue(repository: Repository, remote: RemoteIssue) -> Issue:
    """The row of an issue met in passing (a parent, a child, a blocker): made if missing, else left as it is.

    A new one has `synced_at` None: it is still to be read whole.

    Raises:
        InvalidError: It is a pull request.
    """
    _refuse_pull(remote)
    with transaction.atomic():
        row, is_new = Issue.objects.get_or_create(repository=repository, key=remote.key, defaults=_fields(remote))
        if is_new:
            _store_labels(row, remote.plain_labels)
            _store_assignees(row, remote)
    return row


def is_overtaken(issue: Issue, read_at: datetime | None) -> bool:
    """Whether we have written to the issue since a read of it began."""
    return bool(read_at and issue.written_at and read_at < issue.written_at)


def same_repository(repository: Repository, remotes: Iterable[RemoteIssue]) -> list[RemoteIssue]:
    """Issues of this repository; links to other repositories and to pull requests are left out, with a line in the log."""
    kept = []
    for remote in remotes:
        if remote.scope.casefold() == repository.scope.casefold() and not remote.is_pull:
            kept.append(remote)
        else:
            facts = {"action": "mirror", "repository": repository.scope, "linked": str(remote.ref)}
            logger.info("a link to something that is no issue of the same repository is ignored", extra=facts)
    return kept


def _refuse_pull(remote: RemoteIssue) -> None:
    if remote.is_pull:
        raise InvalidError(f"{remote.ref} is a pull request, no issue.", field="ref")


def _fields(remote: RemoteIssue) -> dict[str, Any]:
    return {
        "remote_id": remote.id,
        "title": remote.title,
        "body": markers.without_key(remote.body),
        "is_open": remote.is_open,
        "close_reason": remote.close_reason or "",
        "closed_at": remote.closed_at,
        "author": remote.author,
        "agent_state": remote.agent_state,
        "url": remote.url,
        "created_at": remote.created_at,
        "updated_at": remote.updated_at,
    }


def _trust(trust: Trust | None) -> dict[str, Any]:
    return {} if trust is None else {"author_trust": trust}


def _locked(pk: int) -> Issue:
    return Issue.objects.select_for_update(of=("self",), no_key=True).select_related("repository").get(pk=pk)


def _store_labels(row: Issue, names: Sequence[str]) -> None:
    known = set(IssueLabel.objects.filter(issue=row).values_list("name", flat=True))
    IssueLabel.objects.filter(issue=row, name__in=known - set(names)).delete()
    missing = [IssueLabel(issue=row, name=name) for name in names if name not in known]
    IssueLabel.objects.bulk_create(missing, ignore_conflicts=True)


def _store_assignees(row: Issue, remote: RemoteIssue) -> None:
    known = dict(IssueAssignee.objects.filter(issue=row).values_list("login", "is_ours"))
    wanted = {login: is_our_login(login, us=remote.us) for login in remote.assignees}
    changed = [login for login, is_ours in known.items() if wanted.get(login) is not is_ours]
    IssueAssignee.objects.filter(issue=row, login__in=changed).delete()
    missing = [login for login in wanted if login not in known or login in changed]
    IssueAssignee.objects.bulk_create(
        [IssueAssignee(issue=row, login=login, is_ours=wanted[login]) for login in missing], ignore_conflicts=True
    )


def is_our_login(login: str, *, us: str) -> bool:
    """Whether an assignee is us: our own account or the machine user that stands for us."""
    return parts.is_same_login(login, us) or parts.is_same_login(login, conf().machine_user)


# --- structure -----------------------------------------------------------------------------------------------------


def store_structure(
    issue: Issue,
    parent_key: str | None,
    child_keys: Sequence[str],
    blocker_keys: Iterable[str],
    *,
    read_at: datetime | None = None,
) -> bool:
    """The issue's parent, its children in their order and its blockers become exactly these.

    Keys without a row are left out, with a line in the log: `ensure_issue` them first.

    Args:
        read_at: When the read began; it is dropped when we have written to the issue since.

    Returns:
        False when it was dropped.
    """
    with transaction.atomic():
        issue = _locked(issue.pk)
        if is_overtaken(issue, read_at):
            return False
        children, blockers = list(dict.fromkeys(child_keys)), set(blocker_keys)
        wanted = {*children, *blockers, *([parent_key] if parent_key else [])}
        found = Issue.objects.filter(repository_id=issue.repository_id, key__in=wanted)
        ids: dict[str, int] = dict(found.values_list("key", "pk"))
        if missing := wanted - ids.keys():
            facts = {"action": "mirror", "issue": issue.key, "missing": sorted(missing)[:20]}
            logger.warning("links to issues that have no row are left out", extra=facts)
        edges.put_parent(issue, ids.get(parent_key or ""))
        edges.put_children(issue, [ids[key] for key in children if key in ids])
        edges.put_blockers(issue, {ids[key] for key in blockers if key in ids})
    return True


# --- comments ------------------------------------------------------------------------------------------------------


def store_comments(
    issue: Issue,
    comments: Sequence[RemoteComment],
    trusts: Mapping[str, Trust],
    *,
    is_all: bool = True,
    read_at: datetime | None = None,
) -> list[Comment]:
    """Rows of comments, in the order given.

    Ours get their slot and data from our signed marker. One of ours that a person has edited keeps both.

    Args:
        trusts: Of authors, by login; others keep what is known.
        is_all: Rows of comments that are not among these are deleted, unless we have written since `read_at`.
    """
    with transaction.atomic():
        issue = _locked(issue.pk)
        rows = {row.remote_id: row for row in Comment.objects.filter(issue=issue, remote_id__isnull=False)}
        if is_all and not is_overtaken(issue, read_at):
            gone = rows.keys() - {remote.id for remote in comments}
            Comment.objects.filter(issue=issue, remote_id__in=gone).delete()
            rows = {remote_id: row for remote_id, row in rows.items() if remote_id not in gone}
        slots = {row.slot for row in rows.values() if row.slot}
        stored = []
        for remote in sorted(comments, key=lambda remote: remote.id):
            known = rows.get(remote.id)
            row = known or Comment(issue=issue, remote_id=remote.id, created_at=remote.created_at)
            if known is None or remote.updated_at >= (known.edited_at or known.created_at):
                _fill_comment(row, remote, issue=issue, slots=slots, trust=trusts.get(remote.author))
                row.save()
            stored.append(row)
    order = {remote.id: place for place, remote in enumerate(comments)}
    return sorted(stored, key=lambda row: order[row.remote_id or 0])


def _fill_comment(row: Comment, remote: RemoteComment, *, issue: Issue, slots: set[str], trust: Trust | None) -> None:
    """Bring a row up to date; `slots` are those taken on this issue."""
    marked = read_marker(remote, issue_id=issue.remote_id)
    row.author, row.is_ours, row.body, row.edited_at = remote.author, remote.is_ours, remote.body, remote.edited_at
    if trust is not None:
        row.author_trust = trust
    if marked is not None:
        row.body, row.data = marked.markdown, marked.data
        if not row.slot and marked.slot not in slots:  # a copy that a lost answer left behind takes none
            row.slot = marked.slot
            slots.add(row.slot)
    elif row.slot:
        facts = {"action": "mirror", "issue": issue.key, "comment": remote.id, "slot": row.slot}
        logger.info("somebody edited a comment of ours; the next transition writes it anew", extra=facts)
    if not row.is_ours:
        row.slot, row.data = "", {}


def read_marker(remote: RemoteComment, *, issue_id: int | None) -> markers.MarkedComment | None:
    """What our marker says; None for other people's comments and for markers that we did not sign."""
    if not remote.is_ours or issue_id is None:
        return None
    return markers.read_comment(remote.body, issue_id=issue_id, secret=conf().marker_key)


def comment_view(issue: Issue, remote: RemoteComment) -> CommentView:
    """A comment as every tracker shows it. Our rows are asked for its slot where a person has spoiled the marker."""
    marked = read_marker(remote, issue_id=issue.remote_id)
    row = Comment.objects.filter(issue=issue, remote_id=remote.id).first()
    known_slot = row.slot if row and remote.is_ours else ""
    return CommentView(
        id=str(remote.id),
        ref=Ref(issue.repository.scope, issue.key),
        author=remote.author,
        is_ours=remote.is_ours,
        slot=marked.slot if marked else known_slot,
        body=marked.markdown if marked else remote.body,
        created_at=remote.created_at,
        edited_at=remote.edited_at,
        trust=Trust((row.author_trust if row else "") or Trust.NONE),
    )


# --- pull requests -------------------------------------------------------------------------------------------------


def store_change(repository: Repository, remote: RemotePull, *, checks: ChecksState | None = None) -> Change:
    """The row of a pull request. An older change loses; `checks` None keeps what is known of the same commit."""
    fields: dict[str, Any] = {
        "remote_id": remote.id,
        "title": remote.title,
        "head_branch": remote.head_branch,
        "head_sha": remote.head_sha,
        "base_branch": remote.base_branch,
        "is_open": remote.is_open,
        "is_merged": remote.is_merged,
        "is_draft": remote.is_draft,
        "is_ours": remote.is_ours,
        "url": remote.url,
        "updated_at": remote.updated_at,
    }
    with transaction.atomic():
        row, is_new = Change.objects.get_or_create(
            repository=repository, key=remote.key, defaults=fields | {"checks": checks or ChecksState.NONE}
        )
        if is_new:
            return row
        row = Change.objects.select_for_update(no_key=True).get(pk=row.pk)
        if remote.updated_at < row.updated_at:
            return row
        fields["checks"] = (row.checks if row.head_sha == remote.head_sha else "") if checks is None else checks
        for name, value in fields.items():
            setattr(row, name, value)
        row.save(update_fields=list(fields))
    return row
