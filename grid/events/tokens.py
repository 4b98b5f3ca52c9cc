"""Bearer tokens of ours in what is written down: an agent may write its own anywhere, and no event is to hold one. Pure."""

from __future__ import annotations

import re
from typing import Any

PREFIX = "agx_"
_TOKEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{20,}")


def blotted(text: str) -> str:
    """A text, or JSON, with every bearer token in it blotted out."""
    return _TOKEN.sub(f"{PREFIX}…", text) if PREFIX in text else text


def without_tokens(value: Any) -> Any:
    """The same for every text of a JSON value, keys too."""
    if isinstance(value, str):
        return blotted(value)
    if isinstance(value, list):
        return [without_tokens(item) for item in value]
    if isinstance(value, dict):
        return {without_tokens(key): without_tokens(item) for key, item in value.items()}
    return value
