"""Pull requests that we open: one open for each of our branches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from github.GithubObject import NotSet
from github.PullRequest import PullRequest

from tracker import limits
from tracker.github import markers, mirror, wire
from tracker.github.desk import Desk
from tracker.github.wire import RemotePull
from tracker.public_errors import InvalidError, NotProposableError, UnavailableError
from tracker.public_types import Ref

_SAME_HEAD_MAX = 10
_NOTHING_NEW = "no commits between"
"""GitHub's words, in lower case; it has no code for it. Names of branches have no blanks, so nobody else says them."""
type _Pull = tuple[PullRequest, RemotePull]


def open_change(desk: Desk, *, head: str, base: str, title: str, body: str, outlived: str = "") -> Ref:
    """The one open pull request of our branch, opened as a draft unless it exists; its texts are updated.

    What people wrote outside our block stays, and so does a title that a person gave it. One that people merged or
    closed while this waited is the answer too, and no other is opened.

    Args:
        outlived: As for `CodeHost.open_change`.

    Raises:
        NotProposableError: `base` has all its commits, or somebody else's pull request of it is open.
        InvalidError: The branch does not exist there.
        ConflictError: It exists, but the listing does not show it yet: GitHub itself refuses a second one.
    """
    title, body = limits.title(title), _fitting(limits.body(body))
    found = _pulls(desk, head, state="open")
    ours = _first_of_ours(found)
    if ours is not None:
        remote = _update(desk, *ours, title=title, body=body)
    else:
        # Listed after the open ones: one that is closed between the two shows in the second.
        ended = _ended(desk, head, after=outlived) if outlived else None
        if ended is None:
            _refuse_another(found, base=base)
        remote = ended or _create(desk, head=head, base=base, title=title, body=body)
    mirror.store_change(desk.repository, remote)
    return Ref(desk.repository.scope, remote.key)


def mark_ready(desk: Desk, *, head: str) -> None:
    """Make the draft of our branch ready for review; nothing when it is, or when none of ours is open."""
    found = _first_of_ours(_pulls(desk, head, state="open"))
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


def _pulls(desk: Desk, head: str, *, state: str) -> list[_Pull]:
    """Pull requests of a branch of the repository itself, the latest first; forks may have branches of the same name."""
    owner = desk.repository.scope.partition("/")[0]
    with desk.calling():
        # Read here: the listing asks as it is walked through.
        found = desk.session.repo.get_pulls(state=state, head=f"{owner}:{head}")
        listing: list[PullRequest] = list(itertools.islice(found, _SAME_HEAD_MAX))  # a slice of none raises
    read = [(thing, wire.pull(wire.raw(thing), us=desk.us)) for thing in listing]
    return [
        (thing, remote)
        for thing, remote in read
        if remote.is_open == (state == "open") and remote.head_branch == head and not remote.is_from_fork
    ]


def _first_of_ours(found: Sequence[_Pull]) -> _Pull | None:
    return next((pull for pull in found if pull[1].is_ours), None)


def _ended(desk: Desk, head: str, *, after: str) -> RemotePull | None:
    """Our latest pull request of the branch that people merged or closed, if it is later than the one numbered `after`."""
    found = _first_of_ours(_pulls(desk, head, state="closed"))
    oldest = int(after) if limits.is_number(after) else 0
    return found[1] if found is not None and found[1].number > oldest else None


def _refuse_another(found: Sequence[_Pull], *, base: str) -> None:
    """GitHub takes one pull request for two branches; somebody else's is theirs, so we neither write nor follow it."""
    for _, remote in found:
        if remote.base_branch == base:
            raise NotProposableError(
                f"a pull request of somebody else is open for this branch (#{remote.number} by {remote.author}): close "
                "it, or go on there by hand",
                field="head",
            )


def _create(desk: Desk, *, head: str, base: str, title: str, body: str) -> RemotePull:
    """Open a draft; where there is nothing to open because people merged an earlier one of ours, that one."""
    text = markers.change_body(title=title, body=body)
    try:
        with desk.calling(write=True):
            thing = desk.session.repo.create_pull(base, head, title=title, body=text, draft=True)
    except InvalidError as error:
        if _NOTHING_NEW not in str(error).lower():
            raise
        # The answer to its creation may have been lost, and a person was quick.
        ended = _ended(desk, head, after="")
        if ended is not None and ended.is_merged:
            return ended
        raise NotProposableError(
            f"{base} has all commits of {head} already, so there is nothing to review", field="head"
        ) from error
    return _update(desk, thing, wire.pull(wire.raw(thing), us=desk.us), title=title, body=body)


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
