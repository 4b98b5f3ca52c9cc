"""Sub-issues and dependencies, in GitHub's own relations and within its limits."""

from __future__ import annotations

import re
from collections.abc import Collection

from tracker import limits
from tracker.github import mirror, parts, wire, written
from tracker.github.desk import Desk, raws
from tracker.github.wire import RemoteIssue
from tracker.models import Dependency, Issue
from tracker.public_errors import InvalidError, NotFoundError, TrackerError, UnavailableError
from tracker.public_types import Ref

# GitHub's words: "Sub-issue may only have one parent", "Target issue has already been taken".
_HAS_PARENT = re.compile(r"one parent|already", re.IGNORECASE)
_HELD_ALREADY = re.compile(r"already", re.IGNORECASE)
_LINKS_MAX = 1_000
"""Read from one listing; GitHub allows a tenth."""


def children(desk: Desk, ref: Ref) -> list[RemoteIssue]:
    """Sub-issues in their order, those of other repositories too. Counted from the list: GitHub's summaries lag."""
    with desk.calling():
        found = raws(desk.handle(ref.key).get_sub_issues(), most=_LINKS_MAX)
    return [wire.issue(data, us=desk.us) for data in found]


def blockers(desk: Desk, ref: Ref) -> list[RemoteIssue]:
    """Issues that this one waits for, those of other repositories too."""
    with desk.calling():
        found = raws(desk.handle(ref.key).get_blocked_by(), most=_LINKS_MAX)
    return [wire.issue(data, us=desk.us) for data in found]


def parent(desk: Desk, ref: Ref) -> RemoteIssue | None:
    """The issue that this one is a part of; PyGithub has no call for it."""
    try:
        with desk.calling():
            _, _, data = desk.session.json("GET", f"{desk.issue_url(ref.key)}/parent")
    except NotFoundError:
        return None
    return wire.issue(parts.item(data), us=desk.us)


# --- children ------------------------------------------------------------------------------------------------------


def link_child(desk: Desk, parent_ref: Ref, child_ref: Ref, after_ref: Ref | None, *, replaces: bool = False) -> None:
    """Make a child the last one of its parent, or the one next to its sibling.

    Raises:
        InvalidError: See `tracker.base.Tracker.link_child`.
    """
    row, child = desk.row(parent_ref), desk.row(child_ref)
    present = children(desk, parent_ref)
    order = [remote.id for remote in present]
    child_id, after_id = child.remote_id or 0, _sibling(parent_ref, child_ref, after_ref, present)
    if child_id not in order:
        _add_child(desk, parent_ref, child_ref, child_id, siblings=len(order), replaces=replaces)
        order.append(child_id)
    place = order.index(child_id)
    if after_id is not None and (place == 0 or order[place - 1] != after_id):
        with desk.calling(write=True):
            desk.handle(parent_ref.key).prioritize_sub_issue(child_id, after_id)
        order.remove(child_id)
        order.insert(order.index(after_id) + 1, child_id)
    written.children(row, order)


def _sibling(parent_ref: Ref, child_ref: Ref, after_ref: Ref | None, present: list[RemoteIssue]) -> int | None:
    """GitHub's id of the sibling that the child goes next to."""
    if after_ref is None:
        return None
    found = next((remote.id for remote in present if remote.key == after_ref.key), None)
    if found is None or after_ref == child_ref:
        raise InvalidError(f"{after_ref} is no other child of {parent_ref}; name a sibling.", field="after")
    return found


def _add_child(desk: Desk, parent_ref: Ref, child_ref: Ref, child_id: int, *, siblings: int, replaces: bool) -> None:
    if siblings >= limits.CHILDREN_MAX:
        raise InvalidError(
            f"{parent_ref} has {siblings} sub-issues of {limits.CHILDREN_MAX}, closed ones included; group them.",
            field="parent",
        )
    try:
        with desk.calling(write=True):
            # PyGithub's own call knows nothing of `replace_parent`.
            wish = {"sub_issue_id": child_id, **({"replace_parent": True} if replaces else {})}
            desk.session.json("POST", f"{desk.issue_url(parent_ref.key)}/sub_issues", wish)
    except InvalidError as refusal:
        found = parent(desk, child_ref)
        if found is None and _HAS_PARENT.search(str(refusal)):
            message = f"GitHub says that {child_ref} has a parent, and does not show it yet."
            raise UnavailableError(message, maybe_applied=True) from refusal
        if found is None:
            raise InvalidError(f"{refusal}", field="parent") from refusal
        if found.ref != parent_ref:
            message = f"{child_ref} has another parent, {found.ref}; unlink it there first. {refusal}"
            raise InvalidError(message, field="child") from refusal
        # It is linked already, and the listing lagged behind.


# --- dependencies --------------------------------------------------------------------------------------------------


def set_blockers(desk: Desk, ref: Ref, wanted_refs: Collection[Ref]) -> None:
    """Make exactly these the issues that one waits for. Blockers in other repositories are people's and stay.

    Raises:
        InvalidError: See `tracker.base.Tracker.set_blockers`; nothing is changed then.
    """
    if len(set(wanted_refs)) > limits.BLOCKERS_MAX:
        raise InvalidError(f"{len(set(wanted_refs))} blockers; an issue holds {limits.BLOCKERS_MAX}.", field="blockers")
    if ref in wanted_refs:
        raise InvalidError(f"{ref} cannot wait for itself.", field="blockers")
    issue = desk.row(ref)
    rows = [desk.row(wanted) for wanted in sorted(set(wanted_refs), key=lambda one: (len(one.key), one.key))]
    wanted = {row.remote_id or 0: row.key for row in rows}
    present = {remote.id: remote.key for remote in mirror.same_repository(desk.repository, blockers(desk, ref))}
    _check_no_waiting_circle(issue, rows)
    held = dict(present)
    missing = [blocker for blocker in wanted if blocker not in present]
    surplus = [blocker for blocker in present if blocker not in wanted]
    try:
        # Adding comes first: no moment may come in which the issue looks ready. Unless that breaks the limit.
        while missing or surplus:
            if missing and (not surplus or len(held) < limits.BLOCKERS_MAX):
                _add_blocker(desk, ref, blocker := missing.pop(0), wanted[blocker])
                held[blocker] = wanted[blocker]
            else:
                _remove_blocker(desk, ref, blocker := surplus.pop(0), present[blocker])
                del held[blocker]
    except InvalidError as refusal:
        _undo(desk, ref, held=held, before=present)
        raise InvalidError(f"{refusal}", field="blockers") from refusal
    finally:
        written.blockers(issue, list(held))


def _add_blocker(desk: Desk, ref: Ref, blocker_id: int, key: str) -> None:
    try:
        with desk.calling(write=True):
            desk.handle(ref.key).add_blocked_by(desk.handle(key, issue_id=blocker_id))
    except InvalidError as refusal:
        if not _HELD_ALREADY.search(str(refusal)):
            raise
        # A repeated POST, and the listing lagged behind.


def _remove_blocker(desk: Desk, ref: Ref, blocker_id: int, key: str) -> None:
    try:
        with desk.calling(write=True):
            desk.handle(ref.key).remove_blocked_by(desk.handle(key, issue_id=blocker_id))
    except NotFoundError:
        pass  # a repeated DELETE: it is gone


def _undo(desk: Desk, ref: Ref, *, held: dict[int, str], before: dict[int, str]) -> None:
    """Back to what was there when GitHub refused midway, as far as it lets us."""
    try:
        for blocker in [blocker for blocker in held if blocker not in before]:
            _remove_blocker(desk, ref, blocker, held[blocker])
            del held[blocker]
        for blocker in [blocker for blocker in before if blocker not in held]:
            _add_blocker(desk, ref, blocker, before[blocker])
            held[blocker] = before[blocker]
    except TrackerError:
        return  # the refusal is the news; the wish fails for ever and people see both


def _check_no_waiting_circle(issue: Issue, rows: Collection[Issue]) -> None:
    """Refuse a cycle before anything is written, as far as our rows know the edges; GitHub refuses the rest."""
    seen = {row.pk for row in rows}
    level = seen
    while level:
        level = set(Dependency.objects.filter(issue_id__in=level).values_list("blocker_id", flat=True)) - seen
        if issue.pk in level:
            raise InvalidError(f"One of these issues waits for #{issue.key} already: a cycle.", field="blockers")
        seen |= level
