"""Money and tokens of models in words. Pure."""

from __future__ import annotations

from coordinator.public_types import Cost, EnvelopeView


def dollars(micros: int) -> str:
    """`$0.42`; what is less than a cent, and not nothing, with four places."""
    if 0 < abs(micros) < 10_000:
        return f"${micros / 1_000_000:.4f}"
    return f"${micros / 1_000_000:,.2f}"


def tokens(count: int) -> str:
    """`950`, `12k`, `3.4M`."""
    if count < 10_000:
        return f"{count:,}"
    if count < 1_000_000:
        return f"{count // 1000:,}k"
    return f"{count / 1_000_000:,.1f}M"


def cost(known: Cost) -> str:
    """`$0.42 + 12k tokens at unknown price`; an agent's own word is marked as such."""
    parts = []
    if known.usd_micros or not known.unpriced_tokens:
        parts.append(dollars(known.usd_micros))
    if known.unpriced_tokens:
        parts.append(f"{tokens(known.unpriced_tokens)} tokens at unknown price")
    return " + ".join(parts) + ("" if known.is_metered else " by its own word")


def spent(view: EnvelopeView) -> str:
    """What of a scope's money is spent, reserved and allowed, with tokens that have no price; empty for none at all."""
    if view.usd_limit_micros is None and not (
        view.usd_spent_micros or view.usd_reserved_micros or view.unpriced_tokens
    ):
        return ""
    words = dollars(view.usd_spent_micros)
    if view.unpriced_tokens:
        words += f" + {tokens(view.unpriced_tokens)} tokens at unknown price"
    if view.usd_reserved_micros:
        words += f" + {dollars(view.usd_reserved_micros)} reserved"
    return words if view.usd_limit_micros is None else f"{words} of {dollars(view.usd_limit_micros)}"


def tokens_spent(view: EnvelopeView) -> str:
    """The same of its tokens."""
    if view.tokens_limit is None and not (view.tokens_spent or view.tokens_reserved):
        return ""
    words = tokens(view.tokens_spent)
    if view.tokens_reserved:
        words += f" + {tokens(view.tokens_reserved)} reserved"
    return words if view.tokens_limit is None else f"{words} of {tokens(view.tokens_limit)}"
