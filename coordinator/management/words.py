"""Events in words, one or more lines each. Pure; what agents said is passed on raw, the output makes it harmless."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from grid.public_types import EventView

_DETAILS = frozenset(
    {
        "agent.output",
        "agent.message",
        "tool.requested",
        "tool.result",
        "tool.trace",
        "llm.requested",
        "llm.result",
        "budget.told",
        "budget.reserved",
        "budget.settled",
        "budget.progress",
        "budget.lowered",
        "budget.limits",
        "budget.opened",
        "budget.carried",
        "message.delivered",
        "message.seen",
        "message.waits",
        "message.woke",
    }
)
"""What an agent says and does: shown when following, left out of a timeline."""
_REPEATS = frozenset({"task.started", "task.state-changed", "nudge.admitted"})
"""Said by another event of the same moment as well."""
_MAX_CHARACTERS = 2_000


def is_milestone(event: EventView) -> bool:
    """Whether the event belongs in a timeline of what became of the work."""
    return event.kind not in _DETAILS and event.kind not in _REPEATS and not event.kind.startswith("shim.")


def style(event: EventView) -> str:
    """How much attention the event deserves."""
    body = event.body
    if event.kind == "agent.error" or body.get("to") in ("failed", "blocked", "lost", "quarantined", "timed_out"):
        return "red"
    if body.get("to") in ("done", "succeeded"):
        return "green"
    if event.kind in ("nudge.deferred", "nudge.refused"):
        return "yellow"
    return "dim" if event.kind in _DETAILS or event.kind in _REPEATS else ""


def lines(event: EventView) -> list[str]:
    """What happened, for people; unknown kinds are shown with their facts."""
    body = event.body
    if event.kind == "agent.output":
        mark = "! " if body.get("stream") == "err" else "| "
        texts = body.get("lines") if isinstance(body.get("lines"), list) else [body.get("text", "")]
        return [mark + row for item in texts or [] for row in _rows(item)] + _cut(body)
    if event.kind in _SAID:
        return _SAID[event.kind](body)
    facts = " ".join(f"{name}={_short(value)}" for name, value in body.items())
    return [f"{event.kind} {facts}".rstrip()]


def _created(body: Mapping[str, Any]) -> list[str]:
    return [f"taken on: {body.get('issue', '')}"]


def _moved(body: Mapping[str, Any]) -> list[str]:
    return [f"{body.get('to', '?')}{_because(body)}"]


def _not_now(body: Mapping[str, Any]) -> list[str]:
    return [f"not now: {_short(body.get('reason', ''))}"]


def _no(body: Mapping[str, Any]) -> list[str]:
    return [f"refused: {_short(body.get('reason', ''))}"]


def _yes(body: Mapping[str, Any]) -> list[str]:
    return [f"may run ({body.get('mode') or 'work'}): {_short(body.get('reason', ''))}"]


def _execution(body: Mapping[str, Any]) -> list[str]:
    return [f"execution {body.get('to', '?')}{_because(body)}"]


def _spawned(body: Mapping[str, Any]) -> list[str]:
    return [f"{phase(body.get('phase'))} started"]


def _exited(body: Mapping[str, Any]) -> list[str]:
    return [f"{phase(body.get('phase'))} ended: {body.get('end', '?')} after {_seconds(body.get('seconds'))}"]


def _message(body: Mapping[str, Any]) -> list[str]:
    text = body.get("text")
    return [f"> {row}" for row in _rows(text)] + _cut(body) if text else [f"> {_short(dict(body))}"]


def _error(body: Mapping[str, Any]) -> list[str]:
    return [f"error: {row}" for row in _rows(body.get("text") or dict(body))]


def _tool(body: Mapping[str, Any]) -> list[str]:
    return [f"uses {_short(body.get('name', 'a tool'))} {_short(body.get('args', ''))}".rstrip()]


def _tool_result(body: Mapping[str, Any]) -> list[str]:
    said = _rows(body.get("text", ""))
    how = "failed" if body.get("ok") is False else "answered"
    return [f"{_short(body.get('name', 'tool'))} {how}: {said[0] if said else ''}".rstrip(": ")]


def _model(body: Mapping[str, Any]) -> list[str]:
    usage = body.get("usage")
    counts = ", ".join(f"{name} {value}" for name, value in usage.items()) if isinstance(usage, Mapping) else ""
    return [f"model {_short(body.get('model', ''))} answered{': ' + counts if counts else ''}"]


def _refused_model(body: Mapping[str, Any]) -> list[str]:
    return [f"model call refused: {_short(body.get('reason', ''))}"]


def _nearly_spent(body: Mapping[str, Any]) -> list[str]:
    return [f"budget nearly used up: {_short(body.get('percent', '?'))} %, {_short(body.get('used', ''))}"]


def _set_aside(body: Mapping[str, Any]) -> list[str]:
    return [f"set aside for a run: {_short(body.get('wall_seconds'))} s, {_short(body.get('tool_calls'))} tool calls"]


def _used(body: Mapping[str, Any]) -> list[str]:
    return [f"the run used {_short(body.get('wall_seconds'))} s, {_short(body.get('tool_calls'))} tool calls"]


def _raised(body: Mapping[str, Any]) -> list[str]:
    limits = ", ".join(f"{name} {_short(value)}" for name, value in body.items() if name != "scope")
    return [f"limits of {_short(body.get('scope', ''))} are now {limits}"]


def _breaker(body: Mapping[str, Any]) -> list[str]:
    return [
        f"{'nothing more starts' if body.get('is_open') else 'runs may start again'}: {_short(body.get('why', ''))}"
    ]


def _told(body: Mapping[str, Any]) -> list[str]:
    where = f" in thread {_short(body['thread'])}" if body.get("thread") else ""
    kind = f" [{_short(body['kind'])}]" if body.get("kind") not in (None, "chat") else ""
    return [f"{_short(body.get('sender', 'somebody'))} says{where}{kind}: {_short(body.get('text', ''))}".rstrip(": ")]


def _opened(body: Mapping[str, Any]) -> list[str]:
    return [
        f"thread {_short(body.get('thread', '?'))} opened by {_short(body.get('by', '?'))}: {_short(body.get('subject', ''))}"
    ]


def _closed(body: Mapping[str, Any]) -> list[str]:
    return [f"thread {_short(body.get('thread', '?'))} closed by {_short(body.get('by', '?'))}{_because(body)}"]


def _in_and_out(what: str) -> Callable[[Mapping[str, Any]], list[str]]:
    return lambda body: [f"{_short(body.get('who', '?'))} {what} thread {_short(body.get('thread', '?'))}"]


def _approved(body: Mapping[str, Any]) -> list[str]:
    return [f"text approved by {_short(body.get('by') or 'an operator')}"]


_SAID: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "agent.created": _created,
    "agent.state-changed": _moved,
    "agent.approved": _approved,
    "nudge.deferred": _not_now,
    "nudge.refused": _no,
    "nudge.admitted": _yes,
    "task.state-changed": _execution,
    "task.started": _execution,
    "task.ended": _execution,
    "agent.spawned": _spawned,
    "agent.done": _exited,
    "agent.message": _message,
    "agent.error": _error,
    "tool.requested": _tool,
    "tool.result": _tool_result,
    "llm.result": _model,
    "llm.refused": _refused_model,
    "budget.warned": _nearly_spent,
    "message.told": _told,
    "thread.posted": _told,
    "thread.opened": _opened,
    "thread.closed": _closed,
    "thread.joined": _in_and_out("joined"),
    "thread.left": _in_and_out("left"),
    "budget.reserved": _set_aside,
    "budget.settled": _used,
    "budget.raised": _raised,
    "budget.breaker": _breaker,
}


def phase(name: object) -> str:
    """A phase of an execution for people: `verify-2` is the second acceptance command."""
    kind, _, number = str(name or "").rpartition("-")
    known = {"setup": "set-up command", "verify-setup": "set-up command of the check", "verify": "acceptance command"}
    return f"{known[kind]} {number}" if kind in known else str(name or "a phase")


def _because(body: Mapping[str, Any]) -> str:
    reason = _short(body.get("reason", ""))
    return f": {reason}" if reason else ""


def _seconds(value: object) -> str:
    return f"{value:.1f} s" if isinstance(value, int | float) else "? s"


def _rows(value: object) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return [row[:_MAX_CHARACTERS] for row in text.splitlines()] or [""]


def _cut(body: Mapping[str, Any]) -> list[str]:
    return ["[… cut]"] if body.get("truncated") else []


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:299] + "…"
