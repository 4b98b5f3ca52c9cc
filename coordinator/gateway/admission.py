"""Before a call: whose it is, whether it may be made, its cost set aside. Synchronous; one transaction each."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from coordinator.care import days, profiles
from coordinator.conf import conf
from coordinator.gateway import owner, pricing, reaching, wanted
from coordinator.gateway.routes import Refused, Route
from coordinator.gateway.wanted import BadRequestError, Wanted
from coordinator.models import Agent, ModelCall
from coordinator.money import spend_sql, spending
from coordinator.rules import capability
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_toolkit import Tiers
from grid.public_types import Caller

MAX_IN_FLIGHT = 8
"""Calls of one execution at a time."""
MAX_PER_MINUTE = 240
"""Calls of one execution."""
MAX_IN_FLIGHT_PER_TIER = 64
"""Calls of all executions at a time to the models of one tier that says nothing else."""
MAX_REFUSALS = 3
"""Models outside its capability that an execution may ask for before it is stopped."""
_MAX_REFUSED_ROWS = 100
"""Of one execution; further refusals are answered, and not written down."""
DAY_SLOT_SECONDS = 5
"""A divisor of a day: nobody pays from yesterday's budget."""
TIERS_SECONDS = 5
"""After a change of the tiers, until every call feels it."""
OVER_BUDGET, MODEL_REFUSED = "over_budget", "model_refused"
_STOPS = {Refused.BUDGET: (1, OVER_BUDGET), Refused.MODEL: (MAX_REFUSALS, MODEL_REFUSED)}
"""After how many of a kind a run is stopped, and with which reason."""
_COLUMNS = ("capability", "depth", "envelope_id", "issue_id", "parent_id", "profile", "repository_id", "spec")
"""Of an agent, as far as its capability may hang on them; each call reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not passed on, in words for the agent."""

    reason: Refused
    message: str
    scope: str = ""
    """Key of the envelope that has no room, if that is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A call whose cost is set aside."""

    caller: Caller
    call_id: UUID
    provider: str
    wanted: Wanted
    path: tuple[int, ...]
    """Ids of its agent's envelopes, from the fleet down."""


def caller_of(bearer: str) -> Caller | None:
    """Whose bearer token it is; None for a wrong, an old or an ended one."""
    return grid_agents.caller_of(bearer)


def admit(caller: Caller, route: Route, *, raw: bytes, encoding: str, betas: str = "") -> Admitted | Refusal:
    """Read a request, look whether its agent may make it, and set its cost aside.

    Args:
        caller: Whose token came with it.
        route: Where it goes; one that is billed.
        raw: The body as sent.
        encoding: Its content encoding.
        betas: What its headers switch on.
    """
    agent = _agent(caller)
    if agent is None:
        return Refusal(reason=Refused.TOKEN, message="this run belongs to no agent that may call models")
    try:
        asked = wanted.read(route, wanted.unpack(raw, encoding), betas=betas)
    except BadRequestError as error:
        return _refuse(caller, agent, route.provider, "", error.reason, str(error))
    tiers = _tiers(int(time.monotonic() // TIERS_SECONDS))
    why = _outside(agent, route.provider, asked, tiers)
    if why:
        return _refuse(caller, agent, route.provider, asked.model, Refused.MODEL, why)
    away = reaching.refused(asked.reaches, allowed=conf().gateway_may_reach)
    if away:
        return _refuse(caller, agent, route.provider, asked.model, Refused.REQUEST, away)
    taken = _take(caller, agent, route.provider, asked, tiers)
    if isinstance(taken, Refusal):
        return _refuse(caller, agent, route.provider, asked.model, taken.reason, taken.message, scope=taken.scope)
    return taken


def refuse(caller: Caller, provider: str, reason: Refused, message: str) -> Refusal:
    """Refuse what was not even read."""
    agent = _agent(caller)
    if agent is None:
        return Refusal(reason=reason, message=message)
    return _refuse(caller, agent, provider, "", reason, message)


def _agent(caller: Caller) -> Agent | None:
    kind, _, number = caller.subject.partition(":")
    if kind != "issue" or not number.isdecimal():
        return None
    return Agent.objects.only(*_COLUMNS).filter(issue_id=int(number)).first()


@functools.lru_cache(maxsize=10_000)
def _path(envelope_id: int, repository_id: int, slot: int) -> tuple[int, ...]:
    """Ids of the levels above an agent's envelope, today's days, and its own; read once in each slot of time."""
    return days.ids(envelope_id, repository_id=repository_id, at=timezone.now())


@functools.lru_cache(maxsize=1)
def _tiers(slot: int) -> Tiers:
    """The table of tiers, read once in each slot of time: it changes by an operator's hand, calls come by the second."""
    return profiles.fleet_tiers()


def forget() -> None:
    """Read again what calls remember: for a database that was put in the place of another."""
    _path.cache_clear()
    _tiers.cache_clear()


def _outside(agent: Agent, provider: str, asked: Wanted, tiers: Tiers) -> str:
    """Why a request's models are none for this agent; empty when all are."""
    allowed = profiles.capability_of(agent)
    for name in (asked.model, *asked.other_models):
        why = capability.why_not(allowed, f"{provider}:{name}", tiers)
        if why:
            return (
                f"this agent may not use {provider}:{name}: {why}. Do not try another one: ask with `request_upgrade`"
            )
    return ""


def _take(caller: Caller, agent: Agent, provider: str, asked: Wanted, tiers: Tiers) -> Admitted | Refusal:
    """Set a call's cost aside and record that it is made."""
    guess = pricing.estimate(provider, asked, conf().gateway_prices)
    path = _path(agent.envelope_id, agent.repository_id, int(timezone.now().timestamp() // DAY_SLOT_SECONDS))
    call = ModelCall(
        agent=agent, execution_id=caller.execution_id, owner=owner.here(), provider=provider, model=asked.model
    )
    with transaction.atomic():
        taken = spending.reserve(
            path=path,
            call=call,
            usd_micros=guess.usd_micros,
            tokens=guess.tokens,
            likely_usd_micros=guess.likely_usd_micros,
            likely_tokens=guess.likely_tokens,
        )
        if isinstance(taken, spending.Shortage):
            return _short(taken, f"{provider}:{asked.model}" if guess.is_guess else "")
        # Counted while the reservation holds the envelopes: nobody else can add one in between.
        busy = _too_many(caller, f"{provider}:{asked.model}", tiers)
        if busy:
            transaction.set_rollback(True)
            return Refusal(reason=Refused.BUSY, message=busy)
        if not grid_agents.record_call(
            caller.execution_id,
            fence=caller.fence,
            events=[("llm.requested", {**_requested(call, asked), "rows": taken})],
        ):
            transaction.set_rollback(True)
            return Refusal(reason=Refused.TOKEN, message="this run has ended")
    return Admitted(caller=caller, call_id=call.pk, provider=provider, wanted=asked, path=path)


def _short(short: spending.Shortage, unknown: str) -> Refusal:
    why = short.words
    if unknown and not short.is_pause:
        why += f" (nobody knows the price of {unknown}, so the dearest of its provider counts; GATEWAY_PRICES sets it)"
    if not short.is_final:
        reason = Refused.PAUSED if short.is_pause else Refused.BUSY
        return Refusal(reason=reason, message=f"{why}; try again later", scope=short.scope)
    message = f"the budget for models is used up: {why}. This run is stopped; commits made so far are kept"
    return Refusal(reason=Refused.BUDGET, message=message, scope=short.scope)


def _too_many(caller: Caller, model: str, tiers: Tiers) -> str:
    """Which limit of rate or concurrency a call passes that is in the table by now; empty for none."""
    lately = timezone.now() - timedelta(minutes=1)
    under_way, recent = spend_sql.calls_under_way(caller.execution_id, since=lately)
    if sum(is_mine for is_mine, _ in under_way) > MAX_IN_FLIGHT:
        return f"this run has {MAX_IN_FLIGHT} model calls under way, and may have no more"
    if recent > MAX_PER_MINUTE:
        return f"this run has made {MAX_PER_MINUTE} model calls within a minute, and may make no more"
    rank = capability.rank_of(model, tiers)
    tier = next((one for one in tiers.all if one.rank == rank), None)
    most = (tier.in_flight if tier is not None else None) or MAX_IN_FLIGHT_PER_TIER
    if len(under_way) > most and sum(capability.rank_of(name, tiers) == rank for _, name in under_way) > most:
        name = capability.tier_name(rank, tiers)
        return f"{most} calls of models of the tier {name} are under way in the whole fleet"
    if tier is not None and tier.per_minute is not None:
        calls = spend_sql.calls_begun(since=lately)
        if sum(count for name, count in calls.items() if capability.rank_of(name, tiers) == rank) > tier.per_minute:
            return f"models of the tier {tier.name} are called {tier.per_minute} times a minute at most, in the whole fleet"
    return ""


def _refuse(
    caller: Caller, agent: Agent, provider: str, model: str, reason: Refused, message: str, *, scope: str = ""
) -> Refusal:
    """Write a refusal down, and stop a run that will not take it."""
    refused = ModelCall.objects.filter(execution_id=caller.execution_id, state=ModelCall.State.REFUSED)
    most, stop = _STOPS.get(reason, (0, ""))
    with transaction.atomic():
        same = refused.filter(reason__startswith=f"{reason}:").count() if most else 0
        # What stops the run is written whatever else was: the end of the run asks for which scope's sake that was.
        if same < most or refused.count() < _MAX_REFUSED_ROWS:
            row = ModelCall.objects.create(
                agent=agent,
                execution_id=caller.execution_id,
                provider=provider,
                model=model[:200],
                state=ModelCall.State.REFUSED,
                reason=f"{reason}: {message}"[:300],
                ended_at=timezone.now(),
            )
            body = {
                "provider": provider,
                "model": model[:200],
                "code": str(reason),
                "reason": message[:300],
                "scope": scope,
            }
            rows = [grid_events.row(row)]
            told = {**body, "metered": True, "rows": rows}
            if not grid_agents.record_call(caller.execution_id, fence=caller.fence, events=[("llm.refused", told)]):
                spending.tell(row, "refused when its run was over", rows)
        if most and same + 1 >= most:
            grid.request_stop([caller.execution_id], reason=stop)
    return Refusal(reason=reason, message=message)


def _requested(call: ModelCall, asked: Wanted) -> dict[str, Any]:
    return {
        "call": str(call.pk),
        "provider": call.provider,
        "model": call.model,
        "streams": asked.streams,
        "reserved_usd_micros": call.reserved_usd_micros,
        "reserved_tokens": call.reserved_tokens,
        "metered": True,
    }
