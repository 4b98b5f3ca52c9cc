"""Envelopes: pause, concurrency, executions, wall time and tool calls, reserved and settled along a whole path.

The path of an agent is fleet → repository → tree → root agent → … → its own, and beside it the days of fleet and repository.
Rows are always locked in the order of their ids, so two launches cannot deadlock, and all gates of all levels are one
conditional UPDATE: a reader's figures may be stale, this is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from coordinator.models import Agent, Envelope, LedgerEntry
from coordinator.money import ledger_sql, scopes, soft_limits
from coordinator.public_types import ScopeKind
from coordinator.rules import budget_rules
from coordinator.rules.admission_facts import Full
from grid import public_events as grid_events
from grid.public_sql import Prepared, given

FLEET = scopes.FLEET
ensure, rename, lower, get, below = scopes.ensure, scopes.rename, scopes.lower, scopes.get, scopes.below
follow_setting = scopes.follow_setting
path_of, paused_by, view, now = scopes.path_of, scopes.paused_by, scopes.view, scopes.now
pause, unpause, rest, set_limits = scopes.pause, scopes.unpause, scopes.rest, scopes.set_limits

type Draft = tuple[str, dict[str, Any]]
RESERVED, SETTLED = "budget.reserved", "budget.settled"
_PLACE = Prepared(
    lambda: Envelope.objects.filter(pk=given("envelope")).order_by().values_list("ancestors", "parent_id")
)
_PAUSED = Prepared(
    lambda: (
        Envelope.objects.filter(entries__execution_id=given("execution"), entries__kind=LedgerEntry.Kind.RESERVE)
        .filter(paused_at__isnull=False)
        .order_by()
        .values_list("pk", flat=True)[:1]
    )
)


def reserve(*, path: Sequence[Envelope], execution_id: UUID, wall_seconds: int, tool_calls: int = 0) -> Draft | None:
    """Set one execution, its wall time and its tool calls aside on every level, or on none; call it in the launch's transaction.

    Args:
        path: From the fleet down, days included; see `path_of` and `coordinator.care.days`.
        wall_seconds: Upper bound of the run, as the shim's limits allow it.
        tool_calls: The run's cap.

    Returns:
        The event that tells it, for the agent's stream; None when a level is paused, full or spent. Nothing is written then.
    """
    ids = sorted(envelope.pk for envelope in path)
    with transaction.atomic(savepoint=False):
        rows = ledger_sql.take(execution_id, ids, wall_seconds=wall_seconds, tool_calls=tool_calls, at=timezone.now())
    if not rows:
        return None
    body = {"execution": str(execution_id), "wall_seconds": wall_seconds, "tool_calls": tool_calls}
    return RESERVED, {**body, "rows": rows}


def settle(
    *, execution_id: UUID, executions: int, wall_seconds: int, tool_calls: int = 0, agent: Agent | None = None
) -> bool:
    """Replace a reservation by what was really used, exactly once, on every level that holds it.

    Args:
        executions: 1, or 0 for a run that never started or was interrupted by us.
        wall_seconds: From claim to end; no more than was set aside is counted.
        tool_calls: As counted; an overshoot of the run's cap is told as it is.
        agent: Whose run it was, for the event; None for one that nobody knows.

    Returns:
        False when there was nothing to settle.
    """
    with transaction.atomic():
        # It was killed when its time was over; what is beyond is the time until somebody noticed.
        used = {"executions": executions, "wall_seconds": wall_seconds, "tool_calls": tool_calls}
        rows, standings = ledger_sql.settle(execution_id, **used, at=timezone.now())
        if not rows:
            return False
        used["wall_seconds"] = rows[0]["set"]["wall_seconds"]  # the same on every level
        if agent is not None:
            body = {"execution": str(execution_id), **used, "rows": rows}
            grid_events.append_events(stream=agent.stream, root=agent.root_key, events=[(SETTLED, body)])
        soft_limits.look(standings)
    return True


def carve(
    envelope: Envelope, *, share: int, limits: Mapping[str, int], least: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Give a child's envelope its limits, carved from what its parent has left at this moment; they are only ever lowered.

    Where others may launch below it at this moment, hold its path (`hold`): a limit must not come out below what is used.

    Limits of several children may add up to more than their parent's: the reservation along the path keeps the law.

    Args:
        envelope: The child's own.
        share: Percent of what is left above that it may have; 100 sets no limit of its own.
        limits: Its own budget by dimension (`usd_micros`, `tokens`, `tool_calls`, `wall_seconds`, `executions`, `children`).
        least: What one run needs, by dimension; a share is never less.

    Returns:
        The limits that changed, by column.
    """
    *path, own = path_of(envelope)
    found = budget_rules.carved(_parents(path), own=own, share=share, limits=limits, least=least or {})
    return lower(envelope, **budget_rules.columns(found)) if found else {}


def money_held(path: Sequence[Envelope]) -> str:
    """Why a child's share cannot be cut from what its parent has at this moment, in words; empty when it can.

    Args:
        path: From the fleet down to the child's own.
    """
    return budget_rules.held(_parents(path[:-1]))


def _parents(path: Iterable[Envelope]) -> list[Envelope]:
    """The levels of which a child's limits are a part."""
    return [row for row in path if row.kind in (ScopeKind.TREE, ScopeKind.AGENT)]


def hold(envelope: Envelope, *, beside: Sequence[Envelope] = ()) -> bool:
    """Hold an envelope and all above it until the transaction ends, and read where it hangs now.

    Args:
        envelope: As it was read once; moved since, it gets its new place.
        beside: Further levels to hold, such as days.

    Returns:
        Whether it was moved meanwhile.
    """
    before = envelope.ancestors
    # All paths begin at the fleet, which whoever moves an envelope holds: what is read behind this stays as it is.
    ledger_sql.lock({*envelope.path_ids, *(row.pk for row in beside)})
    envelope.ancestors, envelope.parent_id = _PLACE.get(envelope=envelope.pk)
    return envelope.ancestors != before


def take_child(envelope: Envelope) -> bool:
    """Count a new agent among the children of every level above it, or of none when one of them is full.

    A level that is full leaves the agent uncounted, and what is not counted is never launched.
    """
    above = envelope.path_ids[:-1]
    room = Q(children_limit=None) | Q(children_limit__gt=F("children_spent"))
    with transaction.atomic(savepoint=False):
        ledger_sql.lock(above)
        has_room = Envelope.objects.filter(room, pk__in=above).count() == len(above)
        if has_room:
            taken = Envelope.objects.filter(room, pk__in=above).update(children_spent=F("children_spent") + 1)
            if taken != len(above):
                raise RuntimeError(f"the levels above {envelope.key} changed under their lock")
            soft_limits.look(Envelope.objects.filter(pk__in=above))
        if has_room != envelope.is_counted:
            Envelope.objects.filter(pk=envelope.pk).update(is_counted=has_room)
            envelope.is_counted = has_room
            if has_room:  # later than at its making, which tells its first state
                rows = [grid_events.row(envelope, "is_counted")]
                scopes.record(envelope, "budget.counted", {"scope": envelope.key}, rows=rows)
    return has_room


def move_below(envelope: Envelope, parent: Envelope) -> str:
    """Hang an agent's envelope, and all below it, under another agent's; call it in a transaction.

    What was used stays with whoever was above then, and what is reserved is settled there: the ledger is not rewritten. Agents
    are counted where they are.

    Returns:
        Why it cannot be: a level above has no room for so many agents; empty when it is done.

    Raises:
        ValueError: The new parent is the envelope itself, or below it.
        NotAllowedError: Something would be deeper than a row can say.
    """
    if envelope.pk in parent.path_ids:
        raise ValueError(f"{parent.key} is below {envelope.key}")
    old, new = set(envelope.path_ids[:-1]), set(parent.path_ids)
    ledger_sql.lock(old | new)
    inside = [envelope, *Envelope.objects.filter(ancestors__startswith=envelope.lineage).order_by("pk")]
    count = sum(row.is_counted for row in inside if row.kind == ScopeKind.AGENT)
    room = Q(children_limit=None) | Q(children_limit__gte=F("children_spent") + count)
    full = Envelope.objects.exclude(room).filter(pk__in=new - old).order_by("pk").first()
    if full is not None:
        return child_room(full, count)
    Envelope.objects.filter(pk__in=old - new).update(children_spent=F("children_spent") - count)
    Envelope.objects.filter(pk__in=new - old).update(children_spent=F("children_spent") + count)
    before, after = envelope.lineage, f"{parent.lineage}{envelope.pk}/"
    for row in inside:
        moved = parent.lineage if row.pk == envelope.pk else after + row.ancestors.removeprefix(before)
        row.ancestors = scopes.fitting(moved)
        row.parent_id = parent.pk if row.pk == envelope.pk else row.parent_id
        Envelope.objects.filter(pk=row.pk).update(ancestors=row.ancestors, parent_id=row.parent_id)
    envelope.refresh_from_db()
    rows = [grid_events.row(row, "ancestors", "parent") for row in inside]
    scopes.record(envelope, "budget.moved", {"scope": envelope.key, "below": parent.key}, rows=rows)
    return ""


def child_room(envelope: Envelope, count: int, *, asked: Mapping[int, int] | None = None) -> str:
    """Why so many more agents cannot be taken on below an envelope, or empty.

    Args:
        asked: By the id of an envelope: agents that were asked for below it before and are none yet. They count on their own levels.
    """
    before = asked or {}
    for row in path_of(envelope):
        left, waiting = budget_rules.left([row], "children"), before.get(row.pk, 0)
        if left is not None and left < count + waiting:
            beside = f" beside {waiting} that are being made" if waiting else ""
            return (
                f"{budget_rules.name_of(row)}: {row.children_spent} of {row.children_limit} children are taken on, and "
                f"{count} more{beside} do not fit; raise it with `manage.py budget raise {row.key} --children N`"
            )
    return ""


def full(path: Sequence[Envelope], *, wall_seconds: int, tool_calls: int = 0) -> tuple[Full, ...]:
    """Which limits of which levels leave no room for one more execution, outermost first."""
    needs = {"executions": 1, "wall_seconds": wall_seconds, "tool_calls": tool_calls}
    found = budget_rules.full(path, needs)
    if path and not path[-1].is_counted:
        found = (*found, *budget_rules.full(path[:-1], {"children": 1}))
    return found


def tool_calls_for(path: Sequence[Envelope], *, cap: int | None) -> int | None:
    """How many tool calls one run may have here: its cap, or what is left where that is less; None: any number."""
    amounts = [amount for amount in (cap, budget_rules.left(path, "tool_calls")) if amount is not None]
    return min(amounts, default=None)


def paused_scope(path: Sequence[Envelope]) -> str:
    """The outermost paused level, or empty."""
    return next((str(envelope.kind) for envelope in path if envelope.paused_at), "")


def is_paused(execution_id: UUID) -> bool:
    """Whether a level is paused on which this execution has its reservation, settled by now or not."""
    return _PAUSED.exists(execution=execution_id)
