"""What a model call costs, by the public list prices of `genai_prices`. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import genai_prices

from coordinator.gateway.wanted import LIKELY_OUTPUT_TOKENS, MOST_OUTPUT_TOKENS, Wanted
from coordinator.public_types import Usage

_PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google"}
_MOST_CONTEXT = 1_000_000
"""Of a model whose window nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Usage as a provider told it, with what only the price needs."""

    usage: Usage
    cache_write_1h_tokens: int = 0
    """Of those written to the cache, those kept for an hour."""
    web_searches: int = 0
    context: Mapping[str, str] | None = None
    """What changed the price, where the answer says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a call can cost, before it is made."""

    usd_micros: int | None
    """At most; None: nobody knows the price."""
    tokens: int
    likely_usd_micros: int | None
    likely_tokens: int


def cost(provider: str, model: str, metered: Metered, context: Mapping[str, str]) -> int | None:
    """Millionths of a US dollar, rounded up; None when nobody knows the model's price."""
    used, plain = (
        metered.usage,
        {"input_tokens": metered.usage.input_tokens, "output_tokens": metered.usage.output_tokens},
    )
    cached = {
        "cache_read_tokens": used.cache_read_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "cache_write_1h_tokens": metered.cache_write_1h_tokens,
        "web_searches": metered.web_searches,
    }
    known = {name: count for name, count in cached.items() if count}
    where = {**context, **(metered.context or {})}
    price = _price(provider, model, {**plain, **known}, where)
    # Figures that contradict each other, or a unit this model has no price for: dearer without the discount of a cache.
    return _price(provider, model, plain, where) if price is None and known else price


def estimate(provider: str, wanted: Wanted) -> Estimate:
    """What a request can cost at most, and what it is likely to."""
    inputs = wanted.input_tokens or _window(provider, wanted.model)
    outputs = wanted.output_tokens or MOST_OUTPUT_TOKENS * wanted.choices
    likely_outputs = min(outputs, LIKELY_OUTPUT_TOKENS * wanted.choices)
    return Estimate(
        usd_micros=_most(provider, wanted, inputs, outputs),
        tokens=inputs + outputs,
        likely_usd_micros=_most(provider, wanted, inputs, likely_outputs),
        likely_tokens=inputs + likely_outputs,
    )


def _most(provider: str, wanted: Wanted, inputs: int, outputs: int) -> int | None:
    written = inputs if wanted.cache_writes else 0
    usage = Usage(input_tokens=inputs, output_tokens=outputs, cache_write_tokens=written)
    hour = written if wanted.cache_writes == "1h" else 0
    dearest = [
        cost(provider, model, Metered(usage=usage, cache_write_1h_tokens=hour), wanted.price_context)
        for model in (wanted.model, *wanted.other_models)
    ]
    return None if None in dearest else max(price for price in dearest if price is not None)


def _price(provider: str, model: str, counts: Mapping[str, int], context: Mapping[str, str]) -> int | None:
    known = _PROVIDERS.get(provider)
    if known is None:
        return None
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**counts), model, provider_id=known, price_context=dict(context) or None
        )
    except (LookupError, ValueError, ArithmeticError):
        return None
    return int((price.total_price * Decimal(1_000_000)).to_integral_value(rounding=ROUND_CEILING))


@functools.lru_cache(maxsize=256)
def _window(provider: str, model: str) -> int:
    """How many tokens a model reads at most."""
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1), model, provider_id=_PROVIDERS.get(provider, "")
        )
    except (LookupError, ValueError):
        return _MOST_CONTEXT
    return found.model.context_window or _MOST_CONTEXT
