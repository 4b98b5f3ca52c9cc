"""The kinds of events that the grid itself writes."""

from __future__ import annotations

from typing import Any

from grid.events.catalogue import Kind, Maybe, register

_RUN = ("grid_execution",)
_LOCK = ("grid_filelock", "grid_lockspace")
_OF_A_LOCK = {"lock": int, "path": str, "mode": str, "token": int}
_ENDED = {
    "path": str,
    "count": Maybe(int),
    "reason": str,
    "locks": Maybe(list[dict[str, Any]]),
    "by": Maybe(str),
    "to": Maybe(str),
    "circle": Maybe(list[str]),
}
_REFUSED = {"path": str, "mode": Maybe(str), "reason": str, "blockers": Maybe(list[dict[str, Any]])}


def _run(name: str, meaning: str, /, **parts: Any) -> Kind:
    return Kind(name=name, stream="execution", meaning=meaning, parts=parts, tables=_RUN)


def _lock(name: str, meaning: str, /, **parts: Any) -> Kind:
    return Kind(name=name, stream="execution", meaning=meaning, parts=parts, tables=_LOCK)


def _said(name: str, meaning: str, /, **parts: Any) -> Kind:
    """What a program said: anything may be in it, as it chose; rows of ours are not."""
    return Kind(name=name, stream="execution", meaning=meaning, parts=parts, is_open=True)


_MOVED = {"to": str, "reason": str, "subject": str, "token": Maybe(int), "host": Maybe(str)}


def register_all() -> None:
    """Put them into the catalogue."""
    register(
        # --- executions ---------------------------------------------------------------------------------------------------
        _run(
            "task.state-changed", "An execution was queued (`to`), or moved on the way to its start or end.", **_MOVED
        ),
        _run("task.started", "Its first process runs.", **_MOVED),
        _run("task.ended", "It is over; `to` says how.", **_MOVED),
        _run("task.stop-requested", "Somebody wants it to end; its host delivers that.", reason=str),
        _run("task.stop-taken-back", "It was done when its money ended, so that its work is checked all the same."),
        _run("task.held", "A pause keeps it from being claimed."),
        _run("task.let-go", "It may be claimed again."),
        _run("agent.connected", "Its agent reached the grid's tools for the first time."),
        _run("agent.reported", "Its agent reported its outcome by the tool `finish`."),
        # --- locks --------------------------------------------------------------------------------------------------------
        _lock("lock.granted", "It holds a lock on a path.", **_OF_A_LOCK, reason=Maybe(str)),
        _lock("lock.handed-over", "It holds the lock that it waited for.", **_OF_A_LOCK, reason=Maybe(str)),
        _lock("lock.waiting", "It stands in line for one.", **_OF_A_LOCK, reason=str, blockers=list[dict[str, Any]]),
        _lock("lock.refused", "It does not get one, and does not wait.", **_REFUSED),
        _lock("lock.deadlock", "It does not wait, as that would never end.", **{**_REFUSED, **_ENDED}),
        _lock("lock.released", "Its locks are given back.", **_ENDED),
        _lock("lock.expired", "Its locks' time, or its lease, was over.", **_ENDED),
        _lock("lock.broken", "Its locks were taken away.", **_ENDED),
        _lock("lock.pruned", "Locks of it that were over long ago are off the record.", count=int),
        # --- processes ----------------------------------------------------------------------------------------------------
        Kind(
            name="agent.spawned",
            stream="execution",
            meaning="A process of one of its phases was started: the agent, a set-up or a check.",
            parts={"phase": str, "pid": int | None, "shim": int | None},
        ),
        Kind(
            name="agent.resumed",
            stream="execution",
            meaning="Its program takes up the conversation of an earlier, stopped run.",
            parts={"from": str, "session": str},
        ),
        Kind(
            name="agent.done",
            stream="execution",
            meaning="That process is over: how, and after how many seconds.",
            parts={
                "phase": str,
                "end": str,
                "seconds": float | int,
                "max_rss_kib": Maybe(int | None),
                "swept": Maybe(Any),
            },
        ),
        _said("agent.message", "What the agent said, planned or thought, or which model and session it has."),
        _said("agent.error", "What went wrong by the agent's own account."),
        _said(
            "agent.output", "Plain lines of a process: `stream` is `out` or `err`, `text` or `lines` what was in it."
        ),
        _said("agent.inbox", "The agent's program says what became of a message (`id`, `state`)."),
        _said(
            "tool.requested",
            "A tool is called: by the agent on its own machine, or through our `door`.",
            name=Maybe(Any),
        ),
        _said("tool.result", "What it answered; `ok` tells whether it did what was asked.", name=Maybe(Any)),
        _said("tool.trace", "How long a call of the built-in agent's tool took, and through which mixins it went."),
        Kind(
            name="tool.refused",
            stream="execution",
            meaning="So many calls of the grid's tools were refused, because they came too fast.",
            parts={"text": str, "refused": int},
        ),
        _said("shim.limit", "A limit of time, silence, output or memory was reached.", limit=str),
        _said("shim.signal", "The shim ends the agent, for this reason.", reason=str),
        _said("shim.truncated", "The agent wrote more than is kept; the rest is lost."),
        _said("shim.control", "The shim was told something by its host, or refused to be."),
        Kind(
            name="sandbox.refused",
            stream="execution",
            meaning="The egress proxy did not make a connection.",
            parts={"host": str, "why": str, "last": Maybe(str)},
        ),
        Kind(
            name="message.taken",
            stream="execution",
            meaning="The pipe of the agent's program has a message.",
            parts={"id": str},
        ),
        Kind(
            name="message.refused",
            stream="execution",
            meaning="The agent's program took a message not at all.",
            parts={"id": str},
        ),
    )
