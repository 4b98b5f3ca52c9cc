"""Labels, states and closing. Never the whole list of labels at once: that would lose one that a person just put on."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from django.core.cache import cache

from tracker import labels, limits
from tracker.github import mirror, parts, written
from tracker.github.desk import Desk
from tracker.public_errors import ConflictError, InvalidError, NotFoundError
from tracker.public_types import AgentState, CloseReason, Ref

COLOURS = {
    "agent:ready": ("0e8a16", "The grid takes this issue on"),
    "agent:running": ("1d76db", "An agent is at work"),
    "agent:waiting": ("fbca04", "Waits for sub-issues or blockers"),
    "agent:review": ("5319e7", "A pull request waits for review"),
    "agent:blocked": ("d93f0b", "Needs a person; the status comment says why"),
    "agent:failed": ("b60205", "All attempts are spent"),
    labels.HOLD: ("000000", "Keeps the grid away; for people to put on and take off"),
}
"""Colour and description of the labels that mean something to us."""
_KNOWN_SECONDS = 24 * 3_600


def set_state(desk: Desk, ref: Ref, state: AgentState) -> None:
    """Show exactly this state label; none on a closed issue. The new one comes before the old ones go."""
    remote, row = desk.issue(ref), mirror.find(desk.repository, ref.key)
    wanted = state if remote.is_open else AgentState.NONE
    believed = labels.of_state(AgentState(row.agent_state)) if row else ()
    # What our rows believe counts as well: a read may lag behind our last write.
    shown = _states({*remote.label_names, *believed})
    target = labels.of_state(wanted)
    if target and {name.casefold() for name in shown} != set(target):
        ensure_label(desk, target[0])
        shown = {*_states(_add(desk, ref, target[0])), *_states(believed)}
    _remove_all(desk, ref, {name for name in shown if name.casefold() not in target})
    if row:
        written.state(row, wanted)


def set_label(desk: Desk, ref: Ref, name: str, *, present: bool) -> None:
    """Put a label that shows no state on, or take it off.

    Raises:
        InvalidError: No name for a label, a state label, or too many labels.
    """
    (name,) = limits.labels([name])
    if labels.state_of(name) is not None:
        raise InvalidError(f"{name} shows a state; use set_state.", field="name")
    remote = desk.issue(ref)
    found = {label for label in remote.label_names if label.casefold() == name.casefold()}
    if present and not found:
        limits.labels([*remote.label_names, name])
        if name in COLOURS:
            ensure_label(desk, name)
        _add(desk, ref, name)
    elif not present:
        _remove_all(desk, ref, found)
    if row := mirror.find(desk.repository, ref.key):
        written.label(row, name, present=present)


def close(desk: Desk, ref: Ref, reason: CloseReason) -> None:
    """Close the issue and take its state labels away; one that is closed keeps its reason."""
    remote, row = desk.issue(ref), mirror.find(desk.repository, ref.key)
    if remote.is_open:
        handle = desk.handle(ref.key)
        with desk.calling(write=True):
            handle.edit(state="closed", state_reason=reason.value)
            closed_at = handle.closed_at
    else:
        reason, closed_at = remote.close_reason or reason, remote.closed_at or remote.updated_at
    believed = labels.of_state(AgentState(row.agent_state)) if row else ()
    _remove_all(desk, ref, _states({*remote.label_names, *believed}))
    if row:
        written.closed(row, reason=reason, at=closed_at)


def reopen(desk: Desk, ref: Ref) -> None:
    """Open the issue again; does nothing when it is open."""
    if not desk.issue(ref).is_open:
        with desk.calling(write=True):
            desk.handle(ref.key).edit(state="open")
    if row := mirror.find(desk.repository, ref.key):
        written.reopened(row)


def ensure_label(desk: Desk, name: str) -> bool:
    """Give the repository a label of ours with its colour, unless it has it; True when it was missing.

    GitHub would make it by itself, in grey and without a word. Remembered for a day.
    """
    key = f"tracker-github-label:{desk.repository.pk}:{name}"
    if cache.get(key):
        return False
    try:
        with desk.calling():
            _ = desk.session.repo.get_label(name).raw_data  # lazy: asked for here
        was_missing = False
    except NotFoundError:
        colour, description = COLOURS.get(name, ("ededed", ""))
        try:
            with desk.calling(write=True):
                desk.session.repo.create_label(name, colour, description)
        except ConflictError:
            pass  # somebody was faster, or our answer was lost
        was_missing = True
    cache.set(key, 1, timeout=_KNOWN_SECONDS)
    return was_missing


def _states(names: Iterable[str]) -> set[str]:
    return {name for name in names if labels.state_of(name) is not None}


def _add(desk: Desk, ref: Ref, name: str) -> tuple[str, ...]:
    """Put a label on; all labels of the issue afterwards. PyGithub throws that list away, which alone cannot lag."""
    with desk.calling(write=True):
        _, _, data = desk.session.json("POST", f"{desk.issue_url(ref.key)}/labels", {"labels": [name]})
    return parts.label_names(data)


def _remove_all(desk: Desk, ref: Ref, names: Iterable[str]) -> None:
    for name in sorted(names):
        try:
            with desk.calling(write=True):
                desk.session.json("DELETE", f"{desk.issue_url(ref.key)}/labels/{quote(name, safe='')}")
        except NotFoundError:
            pass  # a person or an earlier try was faster
