"""What a scope has used of a day before that day had a row: a limit that is set at noon holds for the morning as well.

The day gets one pair of entries for all of it. What is under way at that moment counts as what was set aside for it: to be
settled on the day as well, it would have to be found by settlements that have begun already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from coordinator.models import Envelope, LedgerEntry, SpendEntry
from coordinator.money import ledger_sql, scopes
from coordinator.rules.budget_rules import DIMENSIONS, day_of
from grid import public_events as grid_events

CARRIED = "budget.carried"
_MARGIN = timedelta(minutes=10)
"""Ids follow the order of inserts, times that of their transactions' beginnings: the two differ by less than this."""
_RUN = ("executions", "wall_seconds", "tool_calls")
_CALL = ("usd_micros", "tokens")


def used(scope: Envelope, key: str) -> dict[str, int]:
    """What was used of a day by its key, by dimension; call it with the scope locked, so that nothing moves meanwhile.

    Reads the newest entries of all, back to the beginning of the day: right after midnight, that is next to none.
    """
    ledger_sql.lock(scope.path_ids)
    found = day_of(key)
    if found is None:
        raise ValueError(f"{key} is no day")
    start = datetime.combine(found[1], time(), UTC)
    runs = LedgerEntry.objects.order_by("-pk").values_list("pk", "at", "envelope_id", "kind", "execution_id", *_RUN)
    calls = SpendEntry.objects.order_by("-pk").values_list("pk", "at", "envelope_id", "kind", "call_id", *_CALL)
    return {
        **_sums(runs.iterator(), _RUN, scope=scope.pk, start=start),
        **_sums(calls.iterator(), _CALL, scope=scope.pk, start=start),
    }


def _sums(entries: Iterator[Any], names: tuple[str, ...], *, scope: int, start: datetime) -> dict[str, int]:
    """Sums of what was set aside on that day, each as far as it is settled as what it came to."""
    sums, settled, end = dict.fromkeys(names, 0), dict[UUID, Any](), start + timedelta(days=1)
    for _, at, envelope_id, kind, of, *amounts in entries:
        if at < start - _MARGIN:
            break
        if envelope_id != scope:
            continue
        if kind == "settle":
            settled[of] = amounts
        elif start <= at < end:
            for name, amount in zip(names, settled.pop(of, amounts), strict=True):
                sums[name] += amount
    return sums


def carry_over(day: Envelope, amounts: Mapping[str, int]) -> None:
    """Write what `used` found to a day that was just made, in the caller's transaction."""
    if not any(amounts.values()):
        return
    now, rows = timezone.now(), list[Any]()
    run, call = {name: amounts[name] for name in _RUN}, {name: amounts[name] for name in _CALL}
    whole_run, whole_call = uuid4(), uuid4()
    for kind in ("reserve", "settle"):
        if any(run.values()):
            rows.append(LedgerEntry.objects.create(envelope=day, execution_id=whole_run, kind=kind, at=now, **run))
        if any(call.values()):
            rows.append(SpendEntry.objects.create(envelope=day, call_id=whole_call, kind=kind, at=now, **call))
    Envelope.objects.filter(pk=day.pk).update(**{DIMENSIONS[name].spent: amounts[name] for name in (*_RUN, *_CALL)})
    day.refresh_from_db()
    told = [grid_events.row(row) for row in rows]
    scopes.record(day, CARRIED, {"scope": day.key, **amounts}, rows=told)
