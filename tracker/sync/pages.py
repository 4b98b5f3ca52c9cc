"""Listings page by page, each page asked for only when the one before has been used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.utils import timezone

from tracker.github import errors, parts
from tracker.github.calls import Calls

type Json = dict[str, Any]
PER_PAGE = 100
_SAME_SECOND_PAGES = 100
_LINK = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?(next|last)"?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of GitHub's."""

    status: int
    body: Any
    etag: str
    at: datetime
    """By GitHub's clock."""
    next_url: str
    last_url: str

    @property
    def is_unchanged(self) -> bool:
        """The body is what it was when the ETag was handed out."""
        return self.status == 304

    @property
    def items(self) -> list[Json]:
        """The objects of a listing; anything else in it is left out."""
        return [item for item in self.body if isinstance(item, dict)] if isinstance(self.body, list) else []


def get(calls: Calls, path: str, *, etag: str = "") -> Answer:
    """Read once; with an ETag the answer may be `is_unchanged`, which costs no quota.

    Raises:
        TrackerError: As `Calls.calling` maps it.
    """
    status, headers, body = calls.json("GET", path, headers={"If-None-Match": etag} if etag else None)
    links = {rel: url for url, rel in _LINK.findall(headers.get("link", ""))}
    return Answer(
        status=status,
        body=body,
        etag=headers.get("etag", ""),
        at=errors.http_date(headers.get("date", "")) or timezone.now(),
        next_url=links.get("next", ""),
        last_url=links.get("last", ""),
    )


def each(calls: Calls, path: str, *, most: int) -> Iterator[Answer]:
    """The pages of a listing in order, at most `most` of them."""
    url = path
    for _ in range(most):
        answer = get(calls, url)
        yield answer
        if not answer.next_url:
            return
        url = answer.next_url


def changed_since(calls: Calls, path: str, *, since: datetime, most: int) -> Iterator[Answer]:
    """Pages of what changed at or after `since`, the longest unchanged first.

    What changes while we read moves to the end and shifts all behind it by one place, so that a page number would skip
    things. Each page therefore starts at the time where the one before ended; things of that very second come twice.

    Args:
        path: With its query; takes `since`, `sort=updated` and `direction=asc`.
        most: Pages read at most; a second so full that it takes many pages is read to its end all the same.
    """
    start, page, read = since, 1, 0
    while read < most or 1 < page <= _SAME_SECOND_PAGES:
        read += 1
        separator = "&" if "?" in path else "?"
        query = f"sort=updated&direction=asc&since={stamp(start)}&per_page={PER_PAGE}&page={page}"
        answer = get(calls, f"{path}{separator}{query}")
        yield answer
        if not answer.next_url or not answer.items:
            return
        last = parts.moment(answer.items[-1], "updated_at")
        start, page = (last, 1) if last > start else (start, page + 1)


def page_number(url: str) -> int:
    """Which page an address is; 1 where it does not say."""
    digits = (parse_qs(urlsplit(url).query).get("page") or [""])[0]
    return int(digits) if digits.isdecimal() and len(digits) < 9 else 1


def about_how_many(calls: Calls, path: str) -> int | None:
    """How many things a listing has; None where GitHub does not count its pages."""
    answer = get(calls, f"{path}{'&' if '?' in path else '?'}per_page=1")
    return page_number(answer.last_url) if answer.last_url else None if answer.next_url else len(answer.items)


def stamp(at: datetime) -> str:
    """A time as the API takes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
