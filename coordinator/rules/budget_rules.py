"""What envelopes allow: room, shares, warnings, days. Pure: it reads the columns of a row, wherever the row came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from coordinator.public_types import ScopeKind
from coordinator.rules.admission_facts import Full

WARNING_PERCENT = 80
"""Of a limit spent: its scope is warned."""
SHARED = ("usd_micros", "tokens", "tool_calls", "executions", "wall_seconds")
"""Dimensions of which a child gets a share of what its parent has left."""
MOST_HELD_PERCENT = 90
"""Of what a level has not spent: while calls under way hold more of it, nobody's share is cut from the rest."""
_DAY = ":day:"


def dollars(micros: int) -> str:
    """`$1.25`."""
    return f"${micros / 1_000_000:,.2f}"


def tokens_in_words(count: int) -> str:
    """`12,000 tokens`."""
    return f"{count:,} tokens"


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something that envelopes count, and the columns that hold it."""

    name: str
    limit: str
    reserved: str
    """Empty: it is spent at once."""
    spent: str
    what: str
    """As reasons name it."""
    words: Callable[[int], str]

    def used(self, row: Any) -> int:
        """Reserved and spent."""
        reserved: int = getattr(row, self.reserved) if self.reserved else 0
        return reserved + int(getattr(row, self.spent))

    def left(self, row: Any) -> int | None:
        """What may still be reserved; None: no limit."""
        limit = getattr(row, self.limit)
        return None if limit is None else max(0, limit - self.used(row))


def _counted(what: str) -> Callable[[int], str]:
    return lambda count: f"{count:,} {what}"


DIMENSIONS: Mapping[str, Dimension] = {
    item.name: item
    for item in (
        Dimension(
            "usd_micros", "usd_limit_micros", "usd_reserved_micros", "usd_spent_micros", "micro-dollars", dollars
        ),
        Dimension("tokens", "tokens_limit", "tokens_reserved", "tokens_spent", "tokens", tokens_in_words),
        Dimension(
            "tool_calls",
            "tool_calls_limit",
            "tool_calls_reserved",
            "tool_calls_spent",
            "tool calls",
            _counted("tool calls"),
        ),
        Dimension(
            "wall_seconds",
            "wall_limit_seconds",
            "wall_reserved_seconds",
            "wall_spent_seconds",
            "wall seconds",
            _counted("wall seconds"),
        ),
        Dimension(
            "executions",
            "executions_limit",
            "executions_reserved",
            "executions_spent",
            "executions",
            _counted("executions"),
        ),
        Dimension("children", "children_limit", "", "children_spent", "children", _counted("children")),
    )
}


def left(rows: Iterable[Any], name: str) -> int | None:
    """The least that any of these levels has left of a dimension; None: none of them limits it."""
    found = (DIMENSIONS[name].left(row) for row in rows)
    return min((amount for amount in found if amount is not None), default=None)


def full(rows: Iterable[Any], needs: Mapping[str, int]) -> tuple[Full, ...]:
    """Which limits of which levels leave no room for one more run, outermost first.

    Args:
        rows: From the fleet down.
        needs: How much of each dimension the run reserves.
    """
    found = []
    for row in rows:
        until = day_end(row.key)
        if row.max_live is not None and row.live >= row.max_live:
            found.append(Full(scope=name_of(row), what="running", used=row.live, limit=row.max_live))
        for name, more in needs.items():
            item = DIMENSIONS[name]
            limit = getattr(row, item.limit)
            if limit is not None and item.used(row) + more > limit:
                found.append(
                    Full(
                        scope=name_of(row),
                        what=item.what,
                        used=item.used(row),
                        limit=limit,
                        until=until,
                        needs=more,
                        remedy=remedy(row, name),
                    )
                )
    return tuple(found)


def spent(rows: Iterable[Any]) -> tuple[Full, ...]:
    """Levels whose money or tokens are spent to the end: no model call fits there, and a run would only be stopped at its first.

    What is set aside for calls under way may come back; a limit of nothing is for runs that call no models.
    """
    found = []
    for row in rows:
        for name in ("usd_micros", "tokens"):
            item = DIMENSIONS[name]
            limit, used = getattr(row, item.limit), getattr(row, item.spent)
            if limit and used >= limit:
                words = f"{dollars(used)} of {dollars(limit)}" if name == "usd_micros" else ""
                scope, until = name_of(row), day_end(row.key)
                found.append(
                    Full(
                        scope=scope,
                        what=item.what,
                        used=used,
                        limit=limit,
                        until=until,
                        words=words,
                        remedy=remedy(row, name),
                    )
                )
    return tuple(found)


def remedy(row: Any, name: str) -> str:
    """The command that raises a level's limit of a dimension."""
    option = {"usd_micros": "usd"}.get(name, name).replace("_", "-")
    return f"manage.py budget raise {row.key} --{option} N"


def nearly_spent(row: Any) -> tuple[int, str]:
    """The limit of which most is spent, in percent and in words (`$17.00 of $20.00`); empty words when none is near."""
    found = [(0, "")]
    for item in DIMENSIONS.values():
        limit = getattr(row, item.limit)
        if limit is not None and (spent := getattr(row, item.spent)) * 100 >= limit * WARNING_PERCENT:
            # A limit of nothing was chosen so; there is nothing to be warned of.
            found.append((spent * 100 // limit, f"{item.words(spent)} of {item.words(limit)}") if limit else (0, ""))
    return max(found, key=lambda one: one[0])


def held(rows: Iterable[Any]) -> str:
    """Why no share of these levels' money and tokens can be cut now, in words; empty when it can.

    A share is cut once and for all: what calls under way hold comes back, most of it, and a share of the rest would be next to nothing.
    """
    for row in rows:
        for name in ("usd_micros", "tokens"):
            item = DIMENSIONS[name]
            limit, reserved, used = getattr(row, item.limit), getattr(row, item.reserved), getattr(row, item.spent)
            # A limit of nothing is for those that call no models.
            if limit and (used >= limit or reserved * 100 > (limit - used) * MOST_HELD_PERCENT):
                words = f"{item.words(reserved)} are set aside for model calls under way"
                return f"{name_of(row)}: of {item.words(limit)}, {item.words(used)} are spent and {words}"
    return ""


def carved(
    above: Sequence[Any], *, own: Any, share: int, limits: Mapping[str, int], least: Mapping[str, int]
) -> dict[str, int]:
    """Limits of a new child, by dimension: its own budget, or its share of what is left above it, whichever is lower.

    Args:
        above: Its parent's levels, from the tree's down to the parent's own.
        own: Its own level: what its children have used before its first run stays allowed, and its share comes on top.
        share: Percent of what the parent has left; 100 carves nothing off, as the path bounds it anyway.
        limits: Its own budget by dimension, whatever it names.
        least: What a single run of it needs: less than that would be no budget. A limit above wins over it.
    """
    found: dict[str, int] = {}
    for name, item in DIMENSIONS.items():
        rest, used = left(above, name), item.used(own)
        part = used + -(-rest * share // 100) if rest is not None and share < 100 and name in SHARED else None
        wishes = [wish for wish in (limits.get(name), part) if wish is not None]
        if not wishes:
            continue
        caps = [cap for row in above if (cap := getattr(row, item.limit)) is not None]
        found[name] = max(used, min([max(min(wishes), used + least.get(name, 0)), *caps]))
    return found


def columns(limits: Mapping[str, int]) -> dict[str, int]:
    """Limits by the names of their columns."""
    return {DIMENSIONS[name].limit: value for name, value in limits.items()}


# --- days -------------------------------------------------------------------------------------------------------------


def day_key(scope: str, day: date) -> str:
    """Key of the envelope of one day of the fleet or a repository: `fleet:day:2026-11-28`."""
    return f"{scope}{_DAY}{day.isoformat()}"


def day_of(key: str) -> tuple[str, date] | None:
    """Scope and date of a day's key; None for any other key."""
    scope, found, text = key.partition(_DAY)
    if not found:
        return None
    try:
        return scope, date.fromisoformat(text)
    except ValueError:
        return None


def day_end(key: str) -> datetime | None:
    """When the day of a day's key is over, in UTC; None for any other key."""
    found = day_of(key)
    return None if found is None else datetime.combine(found[1] + timedelta(days=1), time(), UTC)


def name_of(row: Any) -> str:
    """What reasons call a level: `fleet`, `tree`, `agent:12`, `fleet on 2026-11-28`."""
    found = day_of(row.key)
    if found is not None:
        return f"{found[0].partition(':')[0]} on {found[1].isoformat()}"
    return str(row.key) if row.kind == ScopeKind.AGENT else str(row.kind)
