"""What a model call costs: by the operator's price, else by the public list prices of `genai_prices`. Pure.

A model that a paid provider serves and no list knows is not free: it is taken for the dearest one that the list has of this
provider, and its cost is marked as an estimate, until an operator names its price.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import genai_prices
from genai_prices import data_snapshot

from coordinator.gateway.wanted import LIKELY_OUTPUT_TOKENS, MOST_OUTPUT_TOKENS, Wanted
from coordinator.public_types import TokenPrice, Usage

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
    """At most; None: the model has no price."""
    tokens: int
    likely_usd_micros: int | None
    likely_tokens: int
    is_guess: bool = False
    """The dearest price of the provider stands in for one that nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one call."""

    usd_micros: int
    """Millionths of a US dollar, rounded up."""
    is_guess: bool = False
    """As in `Estimate`."""


type Prices = Mapping[str, TokenPrice]
"""The operator's, by `provider:model` or the beginning of one with a `*` at its end."""


def cost(provider: str, model: str, metered: Metered, context: Mapping[str, str], prices: Prices) -> Price | None:
    """What a call costs; None for a model without a price: of a provider that takes no money."""
    used = metered.usage
    own = _own(f"{provider}:{model}", prices)
    if own is not None:
        return Price(usd_micros=_at(own, used))
    plain = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens}
    extras = {
        "cache_read_tokens": used.cache_read_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "cache_write_1h_tokens": metered.cache_write_1h_tokens,
        "web_searches": metered.web_searches,
    }
    known = {name: count for name, count in extras.items() if count}
    where = {**context, **(metered.context or {})}
    price = _listed(provider, model, {**plain, **known}, where)
    if price is None and known:
        # Figures that contradict each other, or a unit this model has no price for: dearer without the discount of a cache.
        price = _listed(provider, model, plain, where)
    if price is not None:
        return Price(usd_micros=price)
    dearest = _dearest(provider)
    return None if dearest is None else Price(usd_micros=_at(dearest, used), is_guess=True)


def estimate(provider: str, wanted: Wanted, prices: Prices) -> Estimate:
    """What a request can cost at most, and what it is likely to."""
    asked = wanted.input
    window = max(_window(provider, model) for model in (wanted.model, *wanted.other_models))
    if wanted.is_long:
        window = max(window, _MOST_CONTEXT)
    inputs = window * asked.reads if asked.is_open else min(asked.most_tokens, window)
    likely_inputs = window if asked.is_elsewhere else min(asked.likely_tokens, inputs)
    outputs = wanted.output_tokens or MOST_OUTPUT_TOKENS * wanted.choices
    likely_outputs = min(outputs, LIKELY_OUTPUT_TOKENS * wanted.choices)
    most = _most(provider, wanted, inputs, outputs, prices)
    likely = _most(provider, wanted, likely_inputs, likely_outputs, prices)
    return Estimate(
        usd_micros=None if most is None else most.usd_micros,
        tokens=inputs + outputs,
        likely_usd_micros=None if likely is None else likely.usd_micros,
        likely_tokens=likely_inputs + likely_outputs,
        is_guess=most is not None and most.is_guess,
    )


def _most(provider: str, wanted: Wanted, inputs: int, outputs: int, prices: Prices) -> Price | None:
    written = inputs if wanted.cache_writes else 0
    usage = Usage(input_tokens=inputs, output_tokens=outputs, cache_write_tokens=written)
    hour = written if wanted.cache_writes == "1h" else 0
    metered = Metered(usage=usage, cache_write_1h_tokens=hour, web_searches=wanted.input.searches)
    dearest: Price | None = None
    for model in (wanted.model, *wanted.other_models):
        price = cost(provider, model, metered, wanted.price_context, prices)
        if price is None:
            return None
        if dearest is None or price.usd_micros > dearest.usd_micros:
            dearest = price
    return dearest


def _own(model: str, prices: Prices) -> TokenPrice | None:
    """The operator's price with the longest name that fits."""
    fits = [
        name for name in prices if name == model or (name.endswith("*") and model.startswith(name.removesuffix("*")))
    ]
    return prices[max(fits, key=lambda name: (name == model, len(name)))] if fits else None


def _at(price: TokenPrice, used: Usage) -> int:
    per_million = used.input_tokens * price.input_micros + used.output_tokens * price.output_micros
    return -(-per_million // 1_000_000)


def _listed(provider: str, model: str, counts: Mapping[str, int], context: Mapping[str, str]) -> int | None:
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


@functools.cache
def _dearest(provider: str) -> TokenPrice | None:
    """The highest prices of a paid provider's models, long contexts included; None for a provider that takes no money."""
    known = _PROVIDERS.get(provider)
    if known is None:
        return None
    models = [model.id for one in data_snapshot.get_snapshot().providers if one.id == known for model in one.models]
    full = (
        [_listed(provider, name, {unit: 1_000_000}, {}) or 0 for name in models]
        for unit in ("input_tokens", "output_tokens")
    )
    inputs, outputs = (max(prices, default=0) for prices in full)
    return TokenPrice(input_micros=inputs, output_micros=outputs)


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
