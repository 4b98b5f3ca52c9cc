"""Stored decisions in words."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html

from coordinator.admin.display import line
from grid.public_admin import pill


def decision_in_words(stored: Any) -> str:
    """Answer, reason, and when it is looked at again, of a stored decision."""
    if not isinstance(stored, dict):
        return "never asked"
    until, mode = str(stored.get("until") or "")[:19].replace("T", " "), str(stored.get("mode") or "")
    return format_html(
        "{} {}{}{}",
        pill(line(str(stored.get("answer") or "open"), 20)),
        line(str(stored.get("reason") or ""), 300),
        f" ({line(mode, 20)})" if mode else "",
        f"; again at {until} UTC" if until else "",
    )
