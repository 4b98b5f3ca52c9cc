"""Pydantic's complaints in words for people. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from pydantic import ValidationError

_MAX_SHOWN = 5


def in_words(error: ValidationError, known: Collection[str]) -> str:
    """The first few complaints, each with its place: `children.0.title: Field required`.

    Never repeats the input, which may be huge or secret.

    Args:
        error: What pydantic raised.
        known: Names to propose for an unknown key.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = []
    for item in found[:_MAX_SHOWN]:
        *path, last = (str(part)[:80] for part in item["loc"] or ("document",))
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(last, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(sorted(known))}"
            place = f"{'.'.join(path)}: " if path else ""
            lines.append(f"{place}unknown key '{last}'; {hint}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(message if not item["loc"] else f"{'.'.join([*path, last])}: {message}")
    if len(found) > _MAX_SHOWN:
        lines.append(f"and {len(found) - _MAX_SHOWN} more")
    return "; ".join(lines)
