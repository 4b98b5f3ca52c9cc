"""How words of people and agents are shown: bounded, without what cannot be seen."""

from __future__ import annotations

import json
from typing import Any

from django.utils.html import format_html

from coordinator.documents import untrusted

BLOCK_CHARACTERS = 1_000_000


def line(text: str, limit: int = 160) -> str:
    """For lists: one line, at most `limit` characters, without what cannot be seen."""
    words = " ".join(untrusted.printable(text[: 4 * limit]).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def block(text: str) -> str:
    """A text with its line ends, without what cannot be seen."""
    words = untrusted.head(untrusted.printable(text), BLOCK_CHARACTERS)
    return format_html('<pre class="grid-block" tabindex="0">{}</pre>', words)


def json_block(data: Any) -> str:
    """JSON to read."""
    return block(json.dumps(data, indent=2, ensure_ascii=False, default=str)) if data else "-"
