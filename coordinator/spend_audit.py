"""What the ledger of money and tokens must add up to: the queries of law 2, for `doctor` and tests."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from coordinator.models import Envelope, ModelCall, SpendEntry
from coordinator.spending import MAX_CALL_SECONDS, dollars, tokens_in_words


def totals(envelope: Envelope) -> dict[str, int]:
    """What the ledger says the envelope's columns of money and tokens must be."""
    entries = SpendEntry.objects.filter(envelope=envelope)
    settled = entries.filter(kind=SpendEntry.Kind.SETTLE)
    held = entries.filter(kind=SpendEntry.Kind.RESERVE).exclude(call_id__in=settled.values("call_id"))
    spent = settled.aggregate(usd=Sum("usd_micros"), tokens=Sum("tokens"))
    reserved = held.aggregate(usd=Sum("usd_micros"), tokens=Sum("tokens"))
    unpriced = ModelCall.objects.filter(
        state=ModelCall.State.SETTLED, usd_micros=None, pk__in=settled.values("call_id")
    ).aggregate(tokens=Sum(F("input_tokens") + F("output_tokens")))
    return {
        "usd_reserved_micros": reserved["usd"] or 0,
        "usd_spent_micros": spent["usd"] or 0,
        "tokens_reserved": reserved["tokens"] or 0,
        "tokens_spent": spent["tokens"] or 0,
        "unpriced_tokens": unpriced["tokens"] or 0,
    }


def overspent() -> list[tuple[Envelope, str]]:
    """Envelopes beyond a limit by more than one call cost beyond what was set aside for it, with the figures in words."""
    found: list[tuple[Envelope, str]] = []
    for column, entry, words in (("usd", "usd_micros", dollars), ("tokens", "tokens", tokens_in_words)):
        used, limit = _columns(column)
        for row in Envelope.objects.filter(**{f"{limit}__lt": F(used[0]) + F(used[1])}):
            have, most = sum(getattr(row, name) for name in used), getattr(row, limit)
            if have - most > _largest_excess(row, entry):
                found.append((row, f"{words(have)} spent and reserved of {words(most)}"))
    return found


def stale_calls(before: datetime) -> list[ModelCall]:
    """Calls that have been in flight for longer than any may be."""
    oldest = before - timedelta(seconds=MAX_CALL_SECONDS)
    return list(ModelCall.objects.filter(state=ModelCall.State.RESERVED, started_at__lt=oldest)[:100])


def _columns(column: str) -> tuple[tuple[str, str], str]:
    if column == "usd":
        return ("usd_spent_micros", "usd_reserved_micros"), "usd_limit_micros"
    return ("tokens_spent", "tokens_reserved"), "tokens_limit"


def _largest_excess(row: Envelope, column: str) -> int:
    """By how much one call of this envelope cost more than was set aside for it, at most."""
    held = SpendEntry.objects.filter(envelope=row, call_id=OuterRef("call_id"), kind=SpendEntry.Kind.RESERVE)
    settled = SpendEntry.objects.filter(envelope=row, kind=SpendEntry.Kind.SETTLE)
    excess = settled.annotate(excess=F(column) - Coalesce(Subquery(held.values(column)[:1]), 0))
    return max(0, excess.order_by("-excess").values_list("excess", flat=True).first() or 0)
