"""What the ledgers must add up to: the queries of law 2, for `doctor` and tests, and for rows that were filled from a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, Max, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from coordinator.models import Envelope, LedgerEntry, ModelCall, SpendEntry
from coordinator.money.spending import MAX_CALL_SECONDS
from coordinator.public_types import ScopeKind
from coordinator.rules.budget_rules import DIMENSIONS, Dimension

COUNTERS = (
    *("live", "executions_reserved", "executions_spent", "wall_reserved_seconds", "wall_spent_seconds"),
    *("tool_calls_reserved", "tool_calls_spent", "usd_reserved_micros", "usd_spent_micros"),
    *("tokens_reserved", "tokens_spent", "unpriced_tokens", "children_spent"),
)
"""Columns of an envelope that follow from other rows."""
_RUN = {"executions": "executions", "wall_seconds": "wall_seconds", "tool_calls": "tool_calls"}
_CALL = {"usd_micros": "usd_micros", "tokens": "tokens"}


def expected() -> dict[int, dict[str, int]]:
    """By envelope: what the ledgers say its counters must be. The number of queries does not depend on how many there are."""
    found = {pk: dict.fromkeys(COUNTERS, 0) for pk in Envelope.objects.values_list("pk", flat=True)}
    for entries, sums, key in (
        (LedgerEntry.objects.all(), _RUN, "execution_id"),
        (SpendEntry.objects.all(), _CALL, "call_id"),
    ):
        for pk, values in _sums(_held(entries, key), sums):
            found[pk].update({DIMENSIONS[name].reserved: value for name, value in values.items()})
        for pk, values in _sums(entries.filter(kind="settle"), sums):
            found[pk].update({DIMENSIONS[name].spent: value for name, value in values.items()})
    unpriced = ModelCall.objects.filter(state=ModelCall.State.SETTLED, usd_micros=None).values("pk")
    for pk, values in _sums(SpendEntry.objects.filter(kind="settle", call_id__in=unpriced), {"tokens": "tokens"}):
        found[pk]["unpriced_tokens"] = values["tokens"]
    children: Counter[int] = Counter()
    for row in Envelope.objects.filter(kind=ScopeKind.AGENT, is_counted=True).only("ancestors"):
        children.update(row.path_ids[:-1])
    for pk, values in found.items():
        values["live"], values["children_spent"] = values["executions_reserved"], children[pk]
    return found


def overspent() -> list[tuple[Envelope, str]]:
    """Envelopes beyond a limit, with the figures in words.

    Money, tokens and tool calls may pass theirs by what one call or run took beyond what was set aside for it.
    """
    found: list[tuple[Envelope, str]] = []
    for item in DIMENSIONS.values():
        used = F(item.spent) + F(item.reserved) if item.reserved else F(item.spent)
        for row in Envelope.objects.filter(**{f"{item.limit}__lt": used}):
            have, most = item.used(row), getattr(row, item.limit)
            if have - most > _largest_excess(row, item):
                words = f"{item.words(have)} spent and reserved of {item.words(most)}"
                found.append((row, f"{words}, which is more than one call too many" if item.name in _CALL else words))
    return found


def stale_calls(before: datetime) -> list[ModelCall]:
    """Calls that have been in flight for longer than any may be."""
    oldest = before - timedelta(seconds=MAX_CALL_SECONDS)
    return list(ModelCall.objects.filter(state=ModelCall.State.RESERVED, started_at__lt=oldest)[:100])


def _held(entries: QuerySet[Any], key: str) -> QuerySet[Any]:
    """Reservations that are not settled."""
    done = entries.filter(kind="settle", envelope_id=OuterRef("envelope_id"), **{key: OuterRef(key)})
    return entries.filter(~Exists(done), kind="reserve")


def _sums(entries: QuerySet[Any], columns: Mapping[str, str]) -> list[tuple[int, dict[str, int]]]:
    rows = entries.order_by().values("envelope_id").annotate(**{f"sum_{name}": Sum(name) for name in columns})
    return [(row["envelope_id"], {name: row[f"sum_{name}"] or 0 for name in columns}) for row in rows]


def _largest_excess(row: Envelope, item: Dimension) -> int:
    """By how much one run or call of this envelope took more than was set aside for it, at most."""
    if item.name not in (*_CALL, "tool_calls"):
        return 0
    entries, key = (
        (SpendEntry.objects.all(), "call_id") if item.name in _CALL else (LedgerEntry.objects.all(), "execution_id")
    )
    held = entries.filter(envelope=row, kind="reserve", **{key: OuterRef(key)}).values(item.name)[:1]
    settled = entries.filter(envelope=row, kind="settle").annotate(excess=F(item.name) - Coalesce(Subquery(held), 0))
    return max(0, settled.aggregate(most=Max("excess"))["most"] or 0)
