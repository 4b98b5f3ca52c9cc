"""How `up` shows its processes: lines for people, or one JSON object per event for programs."""

from __future__ import annotations

import json
import re
import signal
from datetime import datetime
from typing import Any

from agentgrid.supervisor import Event

_COLOURS = {"web": 36, "control": 35, "executions": 32, "beat": 33}
_LEVELS = {"WARNING": 33, "ERROR": 31, "CRITICAL": 31}
# Everything a terminal could take for a command: an agent's words may come along in a log line.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LOG_BASICS = ("ts", "level", "logger", "message", "exception", "stack")


def as_json(event: Event, *, now: datetime) -> str:
    """One line: `{"ts", "event", "process", …facts}`."""
    return json.dumps(
        {"ts": now.isoformat(timespec="milliseconds"), "event": event.kind, "process": event.process, **event.facts}
    )


def as_text(event: Event, *, now: datetime, colour: bool) -> str:
    """One or more lines for people, each with the time and the process's name in front."""
    name = f"{event.process or 'up':<10}"
    front = f"{now:%H:%M:%S} {_paint(name, _COLOURS.get(event.process, 1), colour=colour)} │ "
    return "\n".join(front + line for line in _words(event, colour=colour))


def _words(event: Event, *, colour: bool) -> list[str]:
    facts = event.facts
    match event.kind:
        case "output":
            return _log_line(str(facts["line"]), colour=colour)
        case "started":
            return [f"started, pid {facts['pid']}"]
        case "exited":
            return [_paint(f"ended {_ending(event)}", 31, colour=colour)]
        case "restarting":
            return [f"starts again in {facts['seconds']:.0f} s"]
        case "stopping":
            return [f"stopping ({facts['reason']}), at most {facts['seconds']:.0f} s; once more: at once"]
        case "killed":
            return [_paint(f"did not stop in time, killed pid {facts['pid']}", 31, colour=colour)]
        case "address":
            return [f"admin at {facts['url']}"]
        case "admin_created":
            return [f"first run: sign in as {facts['user']} with the password {facts['password']} (shown only now)"]
        case _:
            return [event.kind]


def _ending(event: Event) -> str:
    if "signal" in event.facts:
        return f"by {signal.Signals(event.facts['signal']).name}"
    if "error" in event.facts:
        return f"before it began: {event.facts['error']}"
    return f"with exit code {event.facts['code']}"


def _log_line(line: str, *, colour: bool) -> list[str]:
    """A JSON log line of ours in words; any other line as it is, made harmless."""
    try:
        entry = json.loads(line) if line.startswith("{") else None
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "message" not in entry:
        return [_harmless(line)]
    level = str(entry.get("level", ""))
    extras = " ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in _LOG_BASICS)
    head = f"{_paint(f'{level:<7}', _LEVELS.get(level, 2), colour=colour)} {_harmless(str(entry['message']))}"
    if extras:
        head += "  " + _paint(_harmless(extras), 2, colour=colour)
    return [head, *(_harmless(row) for row in str(entry.get("exception", "")).splitlines())]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _harmless(text: str) -> str:
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _paint(text: str, code: int, *, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
