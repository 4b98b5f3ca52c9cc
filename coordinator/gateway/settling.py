"""After a call: what it cost, in place of what was set aside for it. Synchronous; one transaction each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from coordinator.conf import conf
from coordinator.gateway import pricing
from coordinator.gateway.admission import Admitted
from coordinator.gateway.pricing import Metered
from coordinator.models import ModelCall
from coordinator.money import spending
from coordinator.public_types import Usage
from grid import public_agents as grid_agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a call ended."""

    status: int | None
    """Of the provider; None: it did not answer."""
    metered: Metered | None = None
    is_charged: bool = True
    """False: the provider refused it, or never got it."""
    reason: str = ""
    first_byte_ms: float | None = None
    total_ms: float = 0.0


def settle(admitted: Admitted, ended: Ended) -> None:
    """Settle a call and record what it cost; harmless when somebody has done so."""
    if not _settle(admitted, ended):
        _settle(admitted, ended, is_late=True)


def _settle(admitted: Admitted, ended: Ended, *, is_late: bool = False) -> bool:
    """The same; False when the run's stream is closed, and nothing was done. With `is_late` the agent's takes its place."""
    metered, usd, is_guess = ended.metered, None, False
    asked = admitted.wanted
    if not ended.is_charged:
        metered, usd = Metered(usage=Usage()), 0
    elif metered is not None:
        price = pricing.cost(admitted.provider, asked.model, metered, asked.price_context, conf().gateway_prices)
        if price is not None:
            usd, is_guess = price.usd_micros, price.is_guess
    with transaction.atomic():
        if is_late:
            spending.hold_agent_of(admitted.call_id)
        rows = spending.settle(
            admitted.call_id,
            usd_micros=usd,
            usage=metered.usage if metered else None,
            is_guess=is_guess,
            status_code=ended.status,
            reason=ended.reason,
        )
        if not rows:
            return True
        caller = admitted.caller
        row = ModelCall.objects.get(pk=admitted.call_id)
        told = {**_result(row, ended), "rows": rows}
        if not grid_agents.record_call(caller.execution_id, fence=caller.fence, events=[("llm.result", told)]):
            if not is_late:
                transaction.set_rollback(True)
                return False
            spending.tell(row, "its run ended before it did", rows)
        spending.note_warning(admitted.path, execution_id=caller.execution_id, fence=caller.fence)
    return True


def _result(row: ModelCall, ended: Ended) -> dict[str, Any]:
    usage = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    return {
        "call": str(row.pk),
        "provider": row.provider,
        "model": row.model,
        "usage": {name: getattr(row, name) for name in usage},
        "usd_micros": row.usd_micros,
        "is_estimated": row.is_estimated,
        # Nothing, unless the bound was none, or the call had only what was left of a budget.
        "over_reserved_usd_micros": max(0, (row.usd_micros or 0) - row.reserved_usd_micros),
        "status": ended.status,
        "reason": row.reason,
        "first_byte_ms": None if ended.first_byte_ms is None else round(ended.first_byte_ms, 1),
        "total_ms": round(ended.total_ms, 1),
        "metered": True,
    }
