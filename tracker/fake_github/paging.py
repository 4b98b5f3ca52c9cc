"""Lists in pages."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracker.fake_github.errors import Json

_PAGE, _PAGE_MAX = 30, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list to be paged; `key` wraps it in an object with `total_count`."""

    items: Sequence[Any]
    render: Callable[[Any], Json] | None = None
    """Makes an answer of one item; of those on the page only, for long lists are asked for often."""
    key: str | None = None
    extra: Json = field(default_factory=dict)
    by_cursor: bool = False
    """Page by `cursor` (the last id seen) instead of by number."""


def page(url: str, query: Mapping[str, str], listing: Listing) -> tuple[Any, dict[str, str]]:
    """The page that a query asks for, and its `Link` header.

    Args:
        url: The list's address, without a query.
    """
    size = min(max(_number(query.get("per_page"), _PAGE), 1), _PAGE_MAX)
    if listing.by_cursor:
        ids = [str(item["id"]) for item in listing.items]
        start = ids.index(query["cursor"]) + 1 if query.get("cursor") in ids else 0
        shown = list(listing.items[start : start + size])
        links = {"next": {"cursor": ids[start + size - 1]}} if start + size < len(ids) else {}
    else:
        number = max(_number(query.get("page"), 1), 1)
        last = max(1, -(-len(listing.items) // size))
        shown = list(listing.items[(number - 1) * size : number * size])
        numbers = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
        wanted = ("next", "last") if number == 1 else ("prev", "first") if number >= last else tuple(numbers)
        links = {name: {"page": str(numbers[name])} for name in wanted} if last > 1 else {}
    if listing.render is not None:
        shown = [listing.render(item) for item in shown]
    headers = {}
    if links:
        headers["Link"] = ", ".join(
            f'<{url}?{urllib.parse.urlencode({**query, **change})}>; rel="{name}"' for name, change in links.items()
        )
    if listing.key is None:
        return shown, headers
    return {"total_count": len(listing.items), listing.key: shown, **listing.extra}, headers


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else default
