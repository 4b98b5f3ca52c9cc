"""Text and JSON of unknown origin, cut down to what the event table takes. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_EVENT_BYTES = 16 * 1024
"""Size of one event's body as ASCII JSON."""
MAX_LINE_CHARS = 1 << 20
"""Longer lines are never parsed; the shim cuts lines at this length too."""

_STEPS = ((12_000, 200), (4_000, 100), (1_000, 50), (200, 20), (40, 8))
"""Characters of a string and items of a container, from generous to tight."""
_MAX_DEPTH = 8
_MAX_INT = 1 << 63


_ENTRY_BYTES = 32
"""More than any number, mark or comma takes as JSON."""
_PLAIN_BYTES, _OTHER_BYTES = 6, 12
"""At most, of one character as ASCII JSON: `\\u0001`, and two of that kind beyond the basic plane."""
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
"""Made once: `json.loads` would make one for every line."""


def clean(text: str) -> str:
    """The text without what a database refuses: NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:  # nearly always, and the rest takes ten times as long
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_json(value: Any) -> Any:
    """`clean` for every string of a JSON value, keys too."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_json(item) for key, item in value.items()}
    return value


def read_json_line(line: str) -> dict[str, Any] | None:
    """The JSON object on this line; None when it is anything else."""
    if not line.startswith("{") or len(line) > MAX_LINE_CHARS:
        return None
    try:
        value = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bounded(body: dict[str, Any]) -> dict[str, Any]:
    """A copy of at most MAX_EVENT_BYTES that any JSON column takes; `truncated: true` marks a copy that lost something."""
    for chars, items in _STEPS:
        cutter = _Cutter(chars, items)
        copy = cutter.cut(body)
        if cutter.has_cut:
            copy["truncated"] = True
        # Small ones need no second look: writing them out once more is a quarter of what an agent's line costs.
        if cutter.at_most <= MAX_EVENT_BYTES or len(json.dumps(copy)) <= MAX_EVENT_BYTES:
            return dict(copy)
    return {"truncated": True}


class _Cutter:
    """One pass over a value with given limits, remembering whether it had to cut, and an upper bound of the copy's size."""

    def __init__(self, chars: int, items: int) -> None:
        self._chars, self._items, self.has_cut = chars, items, False
        self.at_most = _ENTRY_BYTES
        """Bytes of the copy as ASCII JSON, room for `truncated` included."""

    def cut(self, value: Any, depth: int = 0) -> Any:
        self.at_most += _ENTRY_BYTES
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return value if abs(value) < _MAX_INT else self._lost("number too large")
        if isinstance(value, float):
            return value if math.isfinite(value) else self._lost(None)
        if depth >= _MAX_DEPTH:
            return self._lost("nested too deeply")
        if isinstance(value, dict):
            self.has_cut |= len(value) > self._items
            pairs = list(value.items())[: self._items]
            return {self._text(str(key)): self.cut(item, depth + 1) for key, item in pairs}
        if isinstance(value, list | tuple):
            self.has_cut |= len(value) > self._items
            return [self.cut(item, depth + 1) for item in value[: self._items]]
        return self._lost("not JSON")

    def _text(self, text: str) -> str:
        kept = clean(text[: self._chars])
        if len(text) > self._chars:
            self.has_cut = True
            kept = f"{kept}… [{len(text) - self._chars} characters cut]"
        self.at_most += _ENTRY_BYTES + len(kept) * (_PLAIN_BYTES if kept.isascii() else _OTHER_BYTES)
        return kept

    def _lost(self, mark: str | None) -> str | None:
        self.has_cut = True
        return mark
