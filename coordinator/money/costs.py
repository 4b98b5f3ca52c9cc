"""What models cost an agent: by the gateway's meter, or by the agent's own word where nothing went through the gateway.

Both tell of the same calls, so of each run only one of them counts: the gateway's figures when there are any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import F, Q, Sum

from coordinator.models import Agent, ModelCall
from coordinator.public_types import Cost
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import EventView

_MAX_EVENTS = 20_000
"""Of one tree that are looked at, the latest ones."""
_MAX_USD = 1_000_000.0
_MAX_TOKENS = 10**12


def total(costs: Iterable[Cost]) -> Cost:
    """All of them together; an agent's word makes the whole one."""
    every = list(costs)
    return Cost(
        usd_micros=sum(cost.usd_micros for cost in every),
        tokens=sum(cost.tokens for cost in every),
        unpriced_tokens=sum(cost.unpriced_tokens for cost in every),
        is_metered=all(cost.is_metered for cost in every),
    )


def of_runs(metered: Mapping[str, Cost], told: Mapping[str, Cost]) -> Cost:
    """The cost of several runs, by stream: of each the gateway's figures when there are any, else the agent's own."""
    return total(metered[stream] if stream in metered else told[stream] for stream in sorted({*metered, *told}))


def told(events: Iterable[EventView]) -> dict[str, Cost]:
    """What agents said that their models cost, by stream; events of the gateway are none of them.

    A program that ends with a sum has counted its single messages in it; one message may be told of several times.
    """
    sums: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    singles: dict[str, dict[object, Mapping[str, Any]]] = defaultdict(dict)
    for event in events:
        if event.kind != "llm.result" or event.body.get("metered"):
            continue
        if event.body.get("final") is True:
            sums[event.stream].append(event.body)
        else:
            message = event.body.get("message")
            singles[event.stream][str(message) if message else event.seq] = event.body
    found = {stream: total(map(_said, by_message.values())) for stream, by_message in singles.items()}
    return found | {stream: total(map(_said, bodies)) for stream, bodies in sums.items()}


def of_agents(agents: Iterable[Agent]) -> dict[int, Cost]:
    """What each agent's models cost so far; a number of queries that depends on the number of trees alone."""
    rows = list(agents)
    metered: dict[int, dict[str, Cost]] = defaultdict(dict)
    calls = ModelCall.objects.filter(agent_id__in=[row.pk for row in rows], state=ModelCall.State.SETTLED)
    tokens = F("input_tokens") + F("output_tokens")
    sums = calls.values("agent_id", "execution_id").annotate(
        usd=Sum("usd_micros"), tokens=Sum(tokens), unpriced=Sum(tokens, filter=Q(usd_micros=None))
    )
    for one in sums.order_by("agent_id"):
        metered[one["agent_id"]][f"execution:{one['execution_id']}"] = Cost(
            usd_micros=one["usd"] or 0, tokens=one["tokens"] or 0, unpriced_tokens=one["unpriced"] or 0
        )
    said: dict[str, Cost] = {}
    for root in sorted({row.root_key for row in rows}):
        said |= told(grid_events.latest_events(root=root, kinds=("llm.result",), limit=_MAX_EVENTS))
    owners = _owners(rows, said)
    found = {}
    for row in rows:
        cost = of_runs(metered[row.pk], {stream: one for stream, one in said.items() if owners.get(stream) == row.pk})
        if cost.tokens or cost.usd_micros:
            found[row.pk] = cost
    return found


def _owners(rows: Iterable[Agent], streams: Iterable[str]) -> dict[str, int]:
    ids = [UUID(stream.removeprefix("execution:")) for stream in streams]
    agents = {row.subject: row.pk for row in rows}
    runs = grid.find_executions(ids=ids, limit=len(ids)) if ids else []
    return {f"execution:{run.id}": agents[run.subject] for run in runs if run.subject in agents}


def _said(body: Mapping[str, Any]) -> Cost:
    usage = body.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    tokens = _count(counts.get("input_tokens")) + _count(counts.get("output_tokens"))
    usd = body.get("cost_usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < _MAX_USD:
        return Cost(tokens=tokens, unpriced_tokens=tokens, is_metered=False)
    return Cost(usd_micros=round(usd * 1_000_000), tokens=tokens, is_metered=False)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value < _MAX_TOKENS else 0
