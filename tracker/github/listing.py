"""Issues that changed, page by page, without gap or repeat while people go on changing them.

Pages are cut by time, not by number: an issue that changes meanwhile moves to the end and would shift every later page.
GitHub counts in seconds, so the issues of the last second already told are left out of the next page; where a whole
page is of one second, pages are counted within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tracker import limits
from tracker.github import wire
from tracker.github.desk import Desk
from tracker.github.wire import RemoteIssue
from tracker.public_errors import InvalidError

_PAGE_ROWS = 100
_CURSOR_MAX_CHARS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a listing has come."""

    since: datetime
    page: int = 1
    """Among the pages from `since` on."""
    told: frozenset[str] = frozenset()
    """Keys of issues of the second `since` that were on an earlier page."""


def parse(cursor: str | None, *, since: datetime) -> Place:
    """Where a cursor says to go on.

    Raises:
        InvalidError: The cursor is not one of ours.
    """
    if cursor is None:
        return Place(since=since.astimezone(UTC))
    moment, _, rest = cursor[:_CURSOR_MAX_CHARS].partition(" ")
    page, _, keys = rest.partition(" ")
    told = frozenset(keys.split(",")) - {""}
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        parsed = None
    is_ours = limits.is_number(page) and len(page) < 6 and all(limits.is_number(key) for key in told)
    if parsed is None or parsed.tzinfo is None or not is_ours:
        raise InvalidError(f"{cursor[:60]!r} is no cursor of this listing; start without one.", field="cursor")
    return Place(since=parsed, page=int(page), told=told)


def read(desk: Desk, place: Place) -> tuple[list[RemoteIssue], str | None]:
    """Issues of one page, pull requests left out, and the cursor of the next."""
    with desk.calling():
        listing = desk.session.repo.get_issues(state="all", sort="updated", direction="asc", since=place.since)
        page = [wire.issue(wire.raw(thing), us=desk.us) for thing in listing.get_page(place.page - 1)]
    found = [remote for remote in page if not remote.is_pull and remote.key not in place.told]
    if len(page) < _PAGE_ROWS:
        return found, None
    last = page[-1].updated_at
    if page[0].updated_at == last:
        # A second with more issues than a page holds: count pages within it.
        return found, _cursor(place.since, place.page + 1, place.told)
    told = frozenset(remote.key for remote in page if remote.updated_at == last)
    return found, _cursor(last, 1, told)


def _cursor(since: datetime, page: int, told: frozenset[str]) -> str:
    return f"{since.isoformat()} {page} {','.join(sorted(told))}".rstrip()
