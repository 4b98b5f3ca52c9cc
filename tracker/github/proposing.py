"""Pull requests that we open: one open for each of our branches."""

from __future__ import annotations

import itertools
from dataclasses import replace

from github.GithubObject import NotSet
from github.PullRequest import PullRequest

from tracker import limits
from tracker.github import markers, mirror, wire
from tracker.github.desk import Desk
from tracker.github.wire import RemotePull
from tracker.public_errors import UnavailableError
from tracker.public_types import Ref

_SAME_HEAD_MAX = 10


def open_change(desk: Desk, *, head: str, base: str, title: str, body: str) -> Ref:
    """The one open pull request of our branch, opened as a draft unless it exists; its texts are updated.

    What people wrote outside our block stays, and so does a title that a person gave it.

    Raises:
        InvalidError: The branch does not exist there, or has no commit that `base` lacks.
        ConflictError: It exists, but the listing does not show it yet: GitHub itself refuses a second one.
    """
    title, body = limits.title(title), limits.body(body)
    body = _fitting(body)
    found = _open_pull(desk, head)
    if found is None:
        with desk.calling(write=True):
            whole = markers.change_body(title=title, body=body)
            thing = desk.session.repo.create_pull(base, head, title=title, body=whole, draft=True)
        found = thing, wire.pull(wire.raw(thing), us=desk.us)
    remote = _update(desk, *found, title=title, body=body)
    mirror.store_change(desk.repository, remote)
    return Ref(desk.repository.scope, remote.key)


def mark_ready(desk: Desk, *, head: str) -> None:
    """Make the draft of our branch ready for review; nothing when it is, or when none is open."""
    found = _open_pull(desk, head)
    if found is None:
        return
    thing, remote = found
    if remote.is_draft:
        with desk.calling(write=True):
            thing.mark_ready_for_review()
            is_draft = thing.draft
        if is_draft:
            raise UnavailableError(f"{remote.number} is still a draft, though GitHub accepted it.", maybe_applied=True)
    mirror.store_change(desk.repository, replace(remote, is_draft=False))


def _open_pull(desk: Desk, head: str) -> tuple[PullRequest, RemotePull] | None:
    """The open pull request of a branch of the repository itself; forks may have branches of the same name."""
    owner = desk.repository.scope.partition("/")[0]
    with desk.calling():
        # Read here: the listing asks as it is walked through.
        found = desk.session.repo.get_pulls(state="open", head=f"{owner}:{head}")
        listing: list[PullRequest] = list(itertools.islice(found, _SAME_HEAD_MAX))  # a slice of none raises
    for thing in listing:
        remote = wire.pull(wire.raw(thing), us=desk.us)
        if remote.is_open and remote.head_branch == head and not remote.is_from_fork:
            return thing, remote
    return None


def _update(desk: Desk, thing: PullRequest, remote: RemotePull, *, title: str, body: str) -> RemotePull:
    changes: dict[str, str] = {}
    if remote.title != title and markers.title_is_ours(title=remote.title, body=remote.body):
        changes["title"] = title
    text = markers.change_body(title=changes.get("title", remote.title), body=body, present=remote.body)
    if text.rstrip() != remote.body.rstrip() and len(text) <= limits.BODY_MAX_CHARS:
        changes["body"] = text
    if not changes:
        return remote
    with desk.calling(write=True):
        thing.edit(title=changes.get("title", NotSet), body=changes.get("body", NotSet))
        updated_at = thing.updated_at or remote.updated_at
    return replace(remote, title=changes.get("title", remote.title), updated_at=updated_at)


def _fitting(body: str) -> str:
    """The text, shortened where GitHub would refuse it within our block."""
    # What looks like a marker becomes three characters longer (`&lt;`) once it is inside.
    room = markers.COMMENT_MAX_CHARS - 200 - 3 * body.count("<!-- agent-grid:")
    return body if len(body) <= room else f"{body[: max(0, room)]}\n\n… (shortened)"
