"""Tools about locks: take one before you change what others may be changing, give it back, see who has what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from coordinator.agents import integration
from coordinator.contention import conflict_rows
from coordinator.documents import untrusted
from coordinator.rules.conflict_rules import Kind
from coordinator.rules.footprints import LockMode, is_agreed
from coordinator.teamwork import conflicts
from coordinator.teamwork import locking as domain
from coordinator.toolbox.context import Call
from grid import public_locks as locks
from grid.public_paths import Answer, LockView, check_pattern, patterns_overlap

NAMES = frozenset({"acquire_lock", "release_lock", "list_locks"})
DOOR = "locks"
"""In the events of these calls: they are the machinery around other work, and no limit on calls counts them."""
_MOST = 100
_Path = Annotated[
    str,
    Field(
        min_length=1,
        max_length=400,
        description="File, folder (all below it) or pattern (*, ?, [..], ** for folders), relative to the repository's root. "
        "A backslash makes the next character mean itself.",
    ),
]


def acquire_lock(
    call: Call,
    path: _Path,
    mode: Literal["write", "read"] = "write",
    wait: bool = False,  # noqa: FBT001, FBT002 - tools are called by name
    reason: Annotated[str, Field(max_length=300, description="What you want it for; others see it.")] = "",
    minutes: Annotated[int, Field(ge=1, le=1_440, description="When to give it back by itself.")] | None = None,
) -> dict[str, Any]:
    """Take the lock of a path before you change it, so that no other agent changes it meanwhile. You keep it until your run ends.

    When somebody else has it: with `wait` you stand in line and are told when it is yours; go on with something else. Without,
    whoever is above you both is asked to decide. This never blocks.
    """
    agent = call.agent()
    mode_here = domain.mode_of(agent)
    if mode_here == LockMode.OFF:
        check_pattern(path)
        return {"granted": True, "enforced": False, "note": "this repository uses no locks"}
    agreed = {other for other, paths in conflict_rows.apart(agent.pk).items() if is_agreed(path, paths)}

    def ask(*, in_line: bool) -> Answer:
        return locks.acquire(
            call.caller.execution_id,
            fence=call.caller.fence,
            path=path,
            mode=mode,
            wait=in_line,
            reason=untrusted.one_line(reason, 300),
            seconds=minutes * 60 if minutes else None,
        )

    answer = ask(in_line=wait and not agreed)
    enforced = mode_here == LockMode.ENFORCED
    is_apart = bool(agreed) and not answer.granted and domain.are_held_by(answer.blockers, agreed)
    if wait and agreed and not answer.granted and not is_apart:
        answer = ask(in_line=True)
    if answer.granted and answer.lock is not None:
        before = {} if answer.is_new else {"held_before": True}
        return {"granted": True, "enforced": enforced, **before, **_shown(answer.lock)}
    if is_apart:
        note = "it was decided that you and whoever has it both change it; list_conflicts says who merges. Keep your change small"
        return {"granted": True, "enforced": enforced, "fork": True, "note": note}
    told: dict[str, Any] = {"granted": False, "enforced": enforced, "code": answer.code}
    known = domain.holders(answer.blockers)
    told["held_by"] = [_who(view, known) for view in answer.blockers[:10]]
    if answer.ticket is not None:
        told |= {
            "ticket": answer.ticket,
            "advice": "you are in line; go on with something else, you are told when it is yours",
        }
        return told
    kind = Kind.DEADLOCK if answer.code == "deadlock" else Kind.LOCK
    conflict = conflicts.from_lock(agent, answer.blockers, path=path, reason=reason, kind=kind)
    if conflict is not None:
        told |= {"conflict": conflict.pk, "thread": conflict.thread_id}
    if answer.code == "deadlock":
        told["advice"] = (
            "waiting would never end, as they wait for what you hold; release something, or go on without it"
        )
    else:
        told["advice"] = "do not change it now: work on something else, or ask again with wait"
    return told


def release_lock(call: Call, path: _Path) -> dict[str, Any]:
    """Give a lock back, or leave the line for it, exactly as you asked for it. Whoever is next has it at once."""
    return {"released": locks.release(call.caller.execution_id, fence=call.caller.fence, path=path)}


def list_locks(
    call: Call,
    path: Annotated[str, Field(max_length=400, description="Only what has to do with this path or pattern.")] = "",
) -> dict[str, Any]:
    """Who holds which paths of the repository, and who waits; your own first."""
    repository = integration.key(call.agent())
    held, waiting = locks.held(repository=repository), locks.waiting(repository=repository)
    if path:
        held = [view for view in held if patterns_overlap([path], [view.pattern])]
        waiting = [view for view in waiting if patterns_overlap([path], [view.pattern])]
    known = domain.holders([*held, *waiting])
    mine = call.caller.execution_id
    held.sort(key=lambda view: view.execution_id != mine)
    return {
        "locks": [_who(view, known, mine=mine) for view in held[:_MOST]],
        "waiting": [_who(view, known, mine=mine) for view in waiting[:_MOST]],
        "more": max(0, len(held) - _MOST) + max(0, len(waiting) - _MOST),
    }


def _shown(view: LockView) -> dict[str, Any]:
    until = {"until": view.until.isoformat(timespec="seconds")} if view.until is not None else {}
    return {"lock": view.id, "path": view.pattern, "mode": view.mode, "token": view.token, **until}


def _who(view: LockView, known: Any, *, mine: Any = None) -> dict[str, Any]:
    since = {"since": view.since.isoformat(timespec="seconds")} if view.since is not None else {}
    who = "you" if view.execution_id == mine else domain.name_of(view, known)
    reason = {"reason": untrusted.one_line(view.reason, 300)} if view.reason else {}
    return {"path": view.pattern, "mode": view.mode, "by": who, "state": view.state, **since, **reason}
