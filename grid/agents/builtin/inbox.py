"""Messages to the running agent: JSON lines on standard input, after the prompt.

    {"type": "message", "id": "m1", "text": "The API changed, see docs/api.md.", "from": "agent 4"}

Whoever writes them is the grid; the text is somebody else's, so the model is told whose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_LINE_BYTES = 128 * 1024
MAX_TEXT = 16_000
MAX_WAITING = 100
_MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message for the model."""

    id: str
    text: str
    sender: str = ""

    def in_words(self) -> str:
        """As the model reads it."""
        return f"Message from {self.sender or 'the grid'}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A line that cannot be shown, with the id as far as it is known."""

    id: str
    reason: str


class Inbox:
    """Collects what arrives in pieces; the loop takes it out before each request."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self._known: set[str] = set()
        self.waiting: list[Message] = []

    def feed(self, data: bytes) -> list[Refused]:
        """Take bytes as they come; returns the lines that were refused. Other lines than messages are ignored."""
        refused: list[Refused] = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif problem := self._take(line):
                refused.append(problem)
        if len(self._rest) > MAX_LINE_BYTES:
            if not self._skipping:
                refused.append(Refused(id="", reason=f"a line of more than {MAX_LINE_BYTES} bytes"))
            self._rest, self._skipping = b"", True
        return refused

    def take(self) -> list[Message]:
        """All messages that wait, and no longer do."""
        taken, self.waiting = self.waiting, []
        return taken

    def _take(self, line: bytes) -> Refused | None:
        value = _object(line)
        if value is None or value.get("type") != "message":
            return None
        given, text, sender = value.get("id"), value.get("text"), value.get("from", "")
        name = given[:_MAX_NAME] if isinstance(given, str) else ""
        if not name:
            return Refused(id="", reason="a message needs 'id', a text")
        if not isinstance(text, str) or not text.strip() or not isinstance(sender, str):
            return Refused(id=name, reason="a message needs 'text', and 'from' is a text")
        if name in self._known:
            return None
        if len(self.waiting) >= MAX_WAITING:
            return Refused(id=name, reason=f"{MAX_WAITING} messages wait already")
        self._known.add(name)
        cut = f"{text[:MAX_TEXT]}… [{len(text) - MAX_TEXT} characters cut]" if len(text) > MAX_TEXT else text
        self.waiting.append(Message(id=name, text=cut, sender=" ".join(sender[:_MAX_NAME].split())))
        return None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
