"""How much we may still ask of GitHub: one row per account, shared by every process, changed by conditional UPDATEs.

Reads slow down smoothly when less than a fifth of the hour's quota is left and stop at a fiftieth. Writes are spaced
and counted, because GitHub allows 80 a minute and 500 an hour, whatever the quota:
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Q

from tracker.github.errors import reset_at
from tracker.models import Quota
from tracker.public_errors import RateLimitedError

SLOW_BELOW = 0.20
"""Share of the quota below which reads slow down."""
STOP_BELOW = 0.02
"""Share of the quota that is kept for people and other programs of the account."""
LONGEST_PAUSE_SECONDS = 1.5
"""A worker sleeps no longer than this before a call; what has to wait longer is refused."""
WRITES_A_MINUTE = 60
WRITES_AN_HOUR = 400
_HOUR = timedelta(hours=1)
_RACES_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What is left of an account's hourly quota."""

    limit: int
    remaining: int
    reset_at: datetime | None
    """By our clock; None: never heard of."""
    blocked_until: datetime | None = None
    """GitHub named a limit: nothing is sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSlot:
    """Counters after one more write, and when that write may start."""

    starts_at: datetime
    minute_at: datetime
    minute_writes: int
    hour_at: datetime
    hour_writes: int


# --- decisions -----------------------------------------------------------------------------------------------------


def pause_seconds(headroom: Headroom, *, now: datetime) -> float:
    """How long to wait before the next read.

    Raises:
        RateLimitedError: Nothing may be sent now.
    """
    if headroom.blocked_until and headroom.blocked_until > now:
        raise RateLimitedError("GitHub asked us to wait; nothing was sent.", retry_at=headroom.blocked_until)
    if headroom.reset_at is None or headroom.reset_at <= now or headroom.limit <= 0:
        return 0.0
    share = headroom.remaining / headroom.limit
    if share < STOP_BELOW:
        message = (
            f"{headroom.remaining} of {headroom.limit} requests are left of GitHub's hourly quota; the rest is kept. "
            f"Work goes on at {headroom.reset_at:%H:%M:%S} UTC."
        )
        raise RateLimitedError(message, retry_at=headroom.reset_at)
    if share >= SLOW_BELOW:
        return 0.0
    # From no pause at a fifth to an even spread of what is left over the time that is left.
    even = (headroom.reset_at - now).total_seconds() / max(1, headroom.remaining)
    return min(LONGEST_PAUSE_SECONDS, even * (SLOW_BELOW - share) / (SLOW_BELOW - STOP_BELOW))


def next_write(row: Quota, *, now: datetime, gap_seconds: float) -> WriteSlot:
    """The slot of the account's next write: one gap after the one before, `minute_at` being when the run began.

    A gap of 0 (a double of GitHub) switches our own limits off.

    Raises:
        RateLimitedError: The hour's writes are used up.
    """
    gap = timedelta(seconds=max(gap_seconds, 60 / WRITES_A_MINUTE) if gap_seconds > 0 else 0)
    hour_at, hour_writes = row.hour_at, row.hour_writes
    if hour_at is None or hour_at + _HOUR <= now:
        hour_at, hour_writes = now, 0
    if gap and hour_writes >= WRITES_AN_HOUR:
        message = f"{hour_writes} writes within an hour; GitHub allows little more. They go on at {hour_at + _HOUR:%H:%M} UTC."
        raise RateLimitedError(message, retry_at=hour_at + _HOUR)
    minute_at, minute_writes = row.minute_at, row.minute_writes
    if minute_at is None or minute_at + gap * minute_writes <= now:
        minute_at, minute_writes = now, 0
    return WriteSlot(
        starts_at=minute_at + gap * minute_writes,
        minute_at=minute_at,
        minute_writes=minute_writes + 1,
        hour_at=hour_at,
        hour_writes=hour_writes + 1,
    )


def said(headers: Mapping[str, str], *, now: datetime) -> Headroom | None:
    """What an answer's headers (keys in lower case) say of the quota; None for other quotas (GraphQL, search)."""
    if headers.get("x-ratelimit-resource", "core") != "core":
        return None
    try:
        limit = int(float(headers["x-ratelimit-limit"]))
        remaining = int(float(headers["x-ratelimit-remaining"]))
    except (KeyError, ValueError, OverflowError):
        return None
    if not (0 < limit < 10**9 and 0 <= remaining <= limit):
        return None
    return Headroom(limit=limit, remaining=remaining, reset_at=reset_at(headers, now=now))


def blocked(known: Headroom, *, until: datetime) -> Headroom:
    """The same quota, but nothing is to be sent before `until`."""
    return replace(known, blocked_until=until)


# --- rows ----------------------------------------------------------------------------------------------------------


def headroom(account: str, *, now: datetime) -> Headroom:
    """What the account's row says; a full quota when there is no row yet."""
    row = Quota.objects.filter(account=account).first()
    if row is None:
        row = Quota.objects.get_or_create(account=account, defaults={"updated_at": now})[0]
    return Headroom(limit=row.limit, remaining=row.remaining, reset_at=row.reset_at, blocked_until=row.blocked_until)


def reserve_write(account: str, *, now: datetime, gap_seconds: float, longest_wait_seconds: float) -> datetime:
    """Take the account's next slot for a write; returns when it starts.

    Raises:
        RateLimitedError: It starts later than `longest_wait_seconds` from now, or the hour's writes are used up.
            Nothing is taken then.
    """
    for _ in range(_RACES_MAX):
        row = Quota.objects.get_or_create(account=account, defaults={"updated_at": now})[0]
        slot = next_write(row, now=now, gap_seconds=gap_seconds)
        if (slot.starts_at - now).total_seconds() > longest_wait_seconds:
            raise RateLimitedError("GitHub asks for pauses between writes; nothing was sent.", retry_at=slot.starts_at)
        unchanged = Quota.objects.filter(
            pk=row.pk,
            minute_at=row.minute_at,
            minute_writes=row.minute_writes,
            hour_at=row.hour_at,
            hour_writes=row.hour_writes,
        )
        if unchanged.update(
            minute_at=slot.minute_at,
            minute_writes=slot.minute_writes,
            hour_at=slot.hour_at,
            hour_writes=slot.hour_writes,
            updated_at=now,
        ):
            return slot.starts_at
    raise RateLimitedError("Too many processes write at once; nothing was sent.", retry_at=now + timedelta(seconds=1))


def write_down(account: str, heard: Headroom, *, now: datetime) -> None:
    """Store what the last answer said; an older answer of the same hour, stored late, changes nothing."""
    row = Quota.objects.filter(account=account)
    if heard.blocked_until:
        later = Q(blocked_until=None) | Q(blocked_until__lt=heard.blocked_until)
        row.filter(later).update(blocked_until=heard.blocked_until, updated_at=now)
    if heard.reset_at is None:
        return
    # The reset is told in whole seconds against a clock in whole seconds: one hour's quota may seem to move a little.
    same_hour = timedelta(seconds=5)
    new_hour = Q(reset_at=None) | Q(reset_at__lt=heard.reset_at - same_hour)
    fresh = {"limit": heard.limit, "remaining": heard.remaining, "reset_at": heard.reset_at, "updated_at": now}
    if not row.filter(new_hour).update(**fresh):
        known = row.filter(reset_at__lte=heard.reset_at + same_hour)
        known.filter(Q(remaining__gt=heard.remaining) | ~Q(limit=heard.limit)).update(
            limit=heard.limit, remaining=heard.remaining, updated_at=now
        )
