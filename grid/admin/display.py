"""How words of agents and programs are shown: bounded, with what cannot be seen made visible."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html

BLOCK_CHARACTERS = 1_000_000
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """The text with what cannot be seen (control and direction marks) written as U+202E would be: backslash, u, number."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def line(text: str, limit: int = 160) -> str:
    """For lists: one line, at most `limit` characters."""
    words = " ".join(shown(text[: 4 * limit]).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def block(text: str) -> str:
    """A text as it is, line ends kept."""
    cut = "" if len(text) <= BLOCK_CHARACTERS else f"\n[… {len(text) - BLOCK_CHARACTERS:,} characters left out]"
    return format_html('<pre class="grid-block" tabindex="0">{}{}</pre>', shown(text[:BLOCK_CHARACTERS]), cut)


def json_block(data: Any) -> str:
    """JSON to read."""
    return block(json.dumps(data, indent=2, ensure_ascii=False, default=str)) if data else "-"


def duration(start: datetime | None, end: datetime | None) -> str:
    """From start to end, or to now."""
    if start is None:
        return "-"
    return str(timedelta(seconds=int(((end or timezone.now()) - start).total_seconds())))


def without_values(data: Any) -> Any:
    """A spec in which variables of the environment keep their names only."""
    if not isinstance(data, dict):
        return data
    return {
        key: dict.fromkeys(value, "…") if key == "env" and isinstance(value, dict) else without_values(value)
        for key, value in data.items()
    }
