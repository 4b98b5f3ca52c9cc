"""Money and tokens in words, and sums that people wrote. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from coordinator.documents.money_words import cost, dollars, spent, tokens, tokens_spent

__all__ = ["cost", "dollars", "micros", "spent", "tokens", "tokens_spent"]

MAX_USD = 1_000_000
MAX_TOKENS = 10**12


def micros(text: str) -> int | None:
    """Millionths of a US dollar of what a person wrote (`5`, `$2.50`); None when it is no sum that can be a limit."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 < amount <= MAX_USD:
        return None
    found = amount * 1_000_000
    return int(found) if found == found.to_integral_value() else None
