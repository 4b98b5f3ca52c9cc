"""Webhooks that did not reach us are asked for again: GitHub never does so by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tracker.github import parts
from tracker.github.calls import Calls
from tracker.models import Delivery, Repository
from tracker.public_errors import ForbiddenError, InvalidError, NotFoundError
from tracker.sync import hooks, pages

logger = logging.getLogger(__name__)
WINDOW = timedelta(days=3)
"""GitHub keeps deliveries for 30 days by its documentation, for 3 by others' experience."""
MAX_ATTEMPTS = 20
SECONDS = 15.0
"""So many are asked for in one call, and none after so long; the next one goes on."""
MAX_REDELIVERIES = 2
"""Of one delivery: what was refused so often is refused for a reason, and the sweep finds what it was about."""
_MAX_PAGES = 10


@dataclass(slots=True)
class _Told:
    """The attempts of one delivery."""

    latest: int = 0
    is_delivered: bool = False
    redeliveries: int = 0
    repositories: set[int] = field(default_factory=set)


def redeliver(now: datetime) -> int:
    """Ask for the deliveries of the last days that failed, each at most twice; returns how many were asked for.

    Raises:
        RateLimitedError, UnavailableError: What was not asked for is found by the next call.
    """
    # In another order each time: where not all fit into one call, none is always left out.
    rows = list(Repository.objects.filter(tracker=Repository.Kind.GITHUB, is_active=True).order_by("?"))
    care = {row.remote_id for row in rows} - {None}
    asked, deadline = 0, time.monotonic() + SECONDS
    for calls, path in hooks.each(rows) if rows else ():
        if asked >= MAX_ATTEMPTS or time.monotonic() > deadline:
            break
        try:
            for guid, delivery_id in _wanted(calls, path, care, since=now - WINDOW):
                if asked >= MAX_ATTEMPTS or time.monotonic() > deadline:
                    break
                asked += _ask(calls, path, guid, delivery_id)
        except (ForbiddenError, NotFoundError) as error:
            facts = {"action": "redeliver", "hook": path, "error": str(error)[:300]}
            logger.info("this hook's deliveries are not ours to see", extra=facts)
    return asked


def _wanted(calls: Calls, path: str, care: set[int | None], *, since: datetime) -> Iterator[tuple[str, int]]:
    """GUID and id of the latest attempt of each delivery that should be tried again."""
    for guid, told in _told(calls, path, since=since).items():
        # An App is told of repositories that are not under care; those deliveries are refused on purpose.
        is_elsewhere = bool(told.repositories) and not told.repositories & care
        if told.is_delivered or is_elsewhere or told.redeliveries >= MAX_REDELIVERIES:
            continue
        if not Delivery.objects.filter(guid=guid).exists():
            yield guid, told.latest


def _ask(calls: Calls, path: str, guid: str, delivery_id: int) -> bool:
    try:
        calls.json("POST", f"{path}/deliveries/{delivery_id}/attempts")
    except (InvalidError, NotFoundError):  # too old by now
        return False
    logger.info("a failed delivery is asked for again", extra={"action": "redeliver", "guid": guid})
    return True


def _told(calls: Calls, path: str, *, since: datetime) -> dict[str, _Told]:
    """Deliveries by GUID, the latest first; those that came in at any attempt are marked."""
    found: dict[str, _Told] = {}
    for answer in pages.each(calls, f"{path}/deliveries?per_page={pages.PER_PAGE}", most=_MAX_PAGES):
        for item in answer.items:
            told = found.setdefault(parts.text(item.get("guid"), longest=100), _Told())
            told.latest = told.latest or parts.number(item, "id")
            told.is_delivered |= hooks.came_in(item)
            told.redeliveries += item.get("redelivery") is True
            if isinstance(item.get("repository_id"), int):
                told.repositories.add(item["repository_id"])
        if answer.items and (parts.optional_moment(answer.items[-1].get("delivered_at")) or since) < since:
            break
    return found
