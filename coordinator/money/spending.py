"""Money and tokens for models: set aside before a call on the whole path of envelopes, settled once when its cost is known.

What is set aside is the most a call can cost. Near a limit that does not fit any more; then one call may have all that is
left, alone on that level, if what it is likely to cost fits. So the real cost passes a limit by at most one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now
from django.utils import timezone

from coordinator.models import Agent, Envelope, GatewayProcess, ModelCall, SpendEntry
from coordinator.money import ledger_sql, soft_limits, spend_sql
from coordinator.money.ledger_sql import Row, Standing
from coordinator.money.spend_sql import Level
from coordinator.public_types import Usage
from coordinator.rules.budget_rules import WARNING_PERCENT, dollars, tokens_in_words
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid import public_events as grid_events

MAX_CALL_SECONDS = 1800
"""The gateway gives a call up after this time; one that is held longer has lost its gateway."""
_ORPHAN_GRACE = timedelta(seconds=30)
"""For the gateway to settle what it carries when an execution has ended."""
GATEWAY_SILENT = timedelta(seconds=20)
"""A gateway that has not said for so long that it lives is taken for dead; it says so every few seconds."""
_SWEEP_LIMIT = 500
WARNED, TOLD, RELEASED = "budget.warned", "budget.told", "budget.released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Why nothing could be set aside."""

    scope: str
    """Key of the envelope."""
    words: str
    is_final: bool
    """Waiting does not help: what is spent already leaves no room."""
    is_pause: bool = False


def reserve(
    *,
    path: Sequence[int],
    call: ModelCall,
    usd_micros: int | None,
    tokens: int,
    likely_usd_micros: int | None = None,
    likely_tokens: int | None = None,
) -> Shortage | list[Row]:
    """Set a call's cost aside on every level and store the call, or do nothing.

    Args:
        path: Ids of the envelopes, days included.
        call: A new row; its state, its time and what is reserved are set here.
        usd_micros: The most it can cost, in millionths of a US dollar; None: nobody knows the model's price.
        tokens: The most it can read and write.
        likely_usd_micros: What must fit at least; None: as much as `usd_micros`.
        likely_tokens: The same for tokens.

    Returns:
        Rows for the event that tells it, when it is set aside; else which level has no room.
    """
    most, most_tokens = usd_micros or 0, tokens
    likely = most if likely_usd_micros is None else min(most, likely_usd_micros)
    likely_t = most_tokens if likely_tokens is None else min(most_tokens, likely_tokens)
    with transaction.atomic(savepoint=False):
        # Locked in one order, as every other taker of envelopes does.
        rows = spend_sql.lock_levels(path)
        capped = any(row.tokens_limit is not None for row in rows)
        by_amount: dict[tuple[int, int], list[int]] = {}
        for row in rows:
            if row.is_paused:
                return Shortage(scope=row.key, words=f"{row.key} is paused", is_final=False, is_pause=True)
            if usd_micros is None and row.usd_limit_micros is not None and not capped:
                words = (
                    f"nobody knows this model's price, and no limit of tokens stands in for {row.key}'s limit of money"
                )
                return Shortage(scope=row.key, words=words, is_final=True)
            usd = _share(row.usd_limit_micros, row.usd_spent_micros, row.usd_reserved_micros, most, likely)
            amount = _share(row.tokens_limit, row.tokens_spent, row.tokens_reserved, most_tokens, likely_t)
            if usd is None or amount is None:
                return _shortage(row, usd=usd is None, likely=likely, likely_tokens=likely_t)
            by_amount.setdefault((usd, amount), []).append(row.pk)
        call.state = ModelCall.State.RESERVED
        call.reserved_usd_micros = min(usd for usd, _ in by_amount)
        call.reserved_tokens = min(amount for _, amount in by_amount)
        call.started_at = timezone.now()
        spend_sql.insert_call(call)
        for (usd, amount), pks in by_amount.items():
            # The condition again: it is what keeps the law where a database has no row locks.
            if not spend_sql.take(pks, usd_micros=usd, tokens=amount):
                transaction.set_rollback(True)
                return Shortage(scope=rows[-1].key, words="its limits changed at this moment", is_final=False)
        entries = [(pk, usd, amount) for (usd, amount), pks in by_amount.items() for pk in pks]
        told = spend_sql.insert_spend(call.pk, SpendEntry.Kind.RESERVE.value, entries, at=call.started_at)
    return [grid_events.row(call), *told]


def settle(
    call_id: UUID,
    *,
    usd_micros: int | None,
    usage: Usage | None,
    is_guess: bool = False,
    status_code: int | None = None,
    reason: str = "",
) -> list[Row]:
    """Replace what was set aside by what a call cost, exactly once, on every level; in the caller's transaction, if any.

    Args:
        usd_micros: What it cost; None: nobody knows the model's price.
        usage: What the provider metered; None: it told nothing, and the call counts as what was set aside for it.
        is_guess: The money is one, although the usage is known.
        status_code: The provider's; None when it did not answer.
        reason: What went wrong, if anything.

    Returns:
        Rows for the event that tells it; none when it is settled already, or never was set aside.
    """
    with transaction.atomic(savepoint=False):
        call = ModelCall.objects.select_for_update().filter(pk=call_id, state=ModelCall.State.RESERVED).first()
        if call is None:
            return []
        is_estimated = usage is None or is_guess
        if usage is None:
            usage = Usage(input_tokens=call.reserved_tokens)
            usd_micros = call.reserved_usd_micros or None
        tokens, now = usage.input_tokens + usage.output_tokens, timezone.now()
        fields: dict[str, Any] = {
            "state": ModelCall.State.SETTLED.value,
            "usd_micros": usd_micros,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "is_estimated": is_estimated,
            "status_code": status_code,
            "reason": reason[:300],
            "ended_at": now,
        }
        if not ModelCall.objects.filter(pk=call_id, state=ModelCall.State.RESERVED).update(**fields):
            return []
        entries = list(SpendEntry.objects.filter(call_id=call_id, kind=SpendEntry.Kind.RESERVE).order_by("envelope_id"))
        ledger_sql.lock(entry.envelope_id for entry in entries)
        amounts = [(entry.envelope_id, usd_micros or 0, tokens) for entry in entries]
        rows = spend_sql.insert_spend(call_id, SpendEntry.Kind.SETTLE.value, amounts, at=now) if amounts else []
        by_amount: dict[tuple[int, int], list[int]] = {}
        for entry in entries:
            by_amount.setdefault((entry.usd_micros, entry.tokens), []).append(entry.envelope_id)
        standings: list[Standing] = []
        for (held_usd, held_tokens), pks in by_amount.items():
            standings += spend_sql.settle_call(
                pks, held_usd=held_usd, held_tokens=held_tokens, usd_micros=usd_micros, tokens=tokens
            )
        soft_limits.look(standings)
    return [grid_events.changed_row("coordinator_modelcall", call_id, **fields), *rows]


def settle_orphans(now: datetime) -> int:
    """Settle calls whose execution has ended, or whose gateway died; returns how many."""
    held = ModelCall.objects.filter(state=ModelCall.State.RESERVED)
    lost = dict.fromkeys(_of_dead_gateways(), "its gateway is dead")
    waiting = held.filter(started_at__lt=now - _ORPHAN_GRACE).exclude(pk__in=lost)
    calls = list(waiting.order_by("started_at").values_list("pk", "execution_id", "started_at")[:_SWEEP_LIMIT])
    live = {run.id for run in grid.find_executions(ids={run for _, run, _ in calls}) if run.is_live} if calls else set()
    oldest = now - timedelta(seconds=MAX_CALL_SECONDS) - _ORPHAN_GRACE
    for call, execution_id, at in calls:
        if execution_id not in live or at < oldest:
            lost[call] = "its caller or its gateway has gone"
    return sum(_release(call, why) for call, why in lost.items())


def _of_dead_gateways() -> list[UUID]:
    """Calls under way whose gateway says no more that it lives, by the database's clock."""
    held = ModelCall.objects.filter(state=ModelCall.State.RESERVED, owner__isnull=False)
    if not held.exists():
        return []
    recently = ExpressionWrapper(Now() - GATEWAY_SILENT, output_field=DateTimeField())
    alive = GatewayProcess.objects.filter(heartbeat_at__gt=recently).values("pk")
    return list(held.exclude(owner__in=alive).order_by("started_at").values_list("pk", flat=True)[:_SWEEP_LIMIT])


def _release(call_id: UUID, why: str) -> bool:
    """Settle a call that nobody carries any more at what was set aside for it, with an event on its agent's stream."""
    with transaction.atomic():
        hold_agent_of(call_id)
        rows = settle(call_id, usd_micros=None, usage=None, reason=why)
        if rows:
            tell(ModelCall.objects.select_related("agent").get(pk=call_id), why, rows)
    return bool(rows)


def hold_agent_of(call_id: UUID) -> None:
    """Hold a call's agent, before its envelopes, for who will `tell`: the end of its run takes them in this order as well."""
    whose = ModelCall.objects.filter(pk=call_id).values("agent_id")
    list(Agent.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=whose).values_list("pk", flat=True))


def tell(call: ModelCall, why: str, rows: list[Row]) -> None:
    """Tell on its agent's stream what its run's can tell no more: that a call is settled."""
    body = {"call": str(call.pk), "why": why, "rows": rows}
    grid_events.append_events(stream=call.agent.stream, root=call.agent.root_key, events=[(RELEASED, body)])


def forget_gateways() -> int:
    """Forget processes that are long dead; returns how many."""
    old = ExpressionWrapper(Now() - timedelta(days=1), output_field=DateTimeField())
    return GatewayProcess.objects.filter(heartbeat_at__lt=old).delete()[0]


def used_percent(path: Sequence[Envelope]) -> tuple[int, str]:
    """How much of its narrowest limit of money or tokens a path has spent, and in words which one that is."""
    found = [(0, "")]
    for row in path:
        for spent, limit, words in (
            (row.usd_spent_micros, row.usd_limit_micros, dollars),
            (row.tokens_spent, row.tokens_limit, tokens_in_words),
        ):
            if limit is not None:
                percent = 100 if limit == 0 else spent * 100 // limit
                found.append((percent, f"{words(spent)} of {words(limit)} in {row.key}"))
    return max(found, key=lambda one: one[0])


def note_warning(path: Sequence[int], *, execution_id: UUID, fence: int) -> bool:
    """Record `budget.warned` once for an execution that has spent most of a limit; returns whether this call did.

    Call it in the transaction that settled: that one holds the envelopes, so two cannot warn at once.
    """
    rows = list(Envelope.objects.filter(pk__in=path).order_by("pk"))
    percent, words = used_percent(rows)
    if percent < WARNING_PERCENT or _has_event(execution_id, WARNED):
        return False
    return grid_agents.record_call(execution_id, fence=fence, events=[(WARNED, {"percent": percent, "used": words})])


def warning_for(agent: Agent) -> str:
    """What an agent is to be told of its budget with its next tool result: once for each execution, else empty."""
    if agent.execution_id is None or not _has_event(agent.execution_id, WARNED, unless=TOLD):
        return ""
    with transaction.atomic():
        list(Envelope.objects.select_for_update().filter(pk=agent.envelope_id).values_list("pk", flat=True))
        warned = grid_events.latest_events(stream=f"execution:{agent.execution_id}", kinds=(WARNED, TOLD), limit=2)
        if len(warned) != 1:
            return ""
        body = warned[0].body
        words = (
            f"Budget: {body.get('percent')} % is used ({body.get('used')}). At 100 % this run is stopped: commit what is "
            "good now, report your outcome with `finish`, and start nothing large."
        )
        fence = grid.get_execution(agent.execution_id).token
        told = grid_agents.record_call(
            agent.execution_id, fence=fence, events=[(TOLD, {"percent": body.get("percent")})]
        )
        return words if told else ""


def _share(limit: int | None, spent: int, reserved: int, most: int, likely: int) -> int | None:
    """How much to set aside of one limit; None when there is no room."""
    if limit is None or spent + reserved + most <= limit:
        return most
    return limit - spent if reserved == 0 and spent + likely <= limit else None


def _shortage(row: Level, *, usd: bool, likely: int, likely_tokens: int) -> Shortage:
    spent, limit, needs, words = (
        (row.usd_spent_micros, row.usd_limit_micros or 0, likely, dollars)
        if usd
        else (row.tokens_spent, row.tokens_limit or 0, likely_tokens, tokens_in_words)
    )
    if spent + needs > limit:
        text = f"{words(spent)} of {words(limit)} in {row.key} are spent, and this call needs {words(needs)}"
        return Shortage(scope=row.key, words=text, is_final=True)
    text = f"what is left of {words(limit)} in {row.key} is set aside for calls under way"
    return Shortage(scope=row.key, words=text, is_final=False)


def _has_event(execution_id: UUID, kind: str, *, unless: str = "") -> bool:
    kinds = [
        event.kind
        for event in grid_events.latest_events(stream=f"execution:{execution_id}", kinds=(WARNED, TOLD), limit=2)
    ]
    return kind in kinds and unless not in kinds
