"""Of each run either the gateway's figures count or the agent's own word, never both; what has no price is visible."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.management import money
from coordinator.money import costs
from coordinator.public_types import Cost, EnvelopeView, ScopeKind
from grid.public_types import EventView

_ids = itertools.count(1)


def result(stream: str, tokens: int, **body: Any) -> EventView:
    usage = {"input_tokens": tokens, "output_tokens": 0}
    number = next(_ids)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    kind = body.pop("kind", "llm.result")
    return EventView(
        id=number, stream=stream, seq=number, root="tree:1", kind=kind, at=at, body={"usage": usage, **body}
    )


def test_one_message_told_of_twice_counts_once_and_a_sum_counts_instead_of_its_parts():
    told = costs.told(
        [
            result("a", 10, message="m1"),
            result("a", 12, message="m1"),
            result("a", 5),
            result("a", 5),
            result("b", 7, message="m1"),
            result("b", 100, final=True, cost_usd=0.25),
            result("b", 50, final=True, cost_usd=0.05),
            result("c", 9, metered=True, usd_micros=4),
            result("d", 9, kind="llm.requested"),
        ]
    )
    assert told == {
        "a": Cost(tokens=22, unpriced_tokens=22, is_metered=False),
        "b": Cost(usd_micros=300_000, tokens=150, is_metered=False),
    }


def test_the_gateways_figures_count_for_a_run_that_has_any():
    metered = {"a": Cost(usd_micros=70, tokens=30)}
    told = {
        "a": Cost(usd_micros=90, tokens=30, is_metered=False),
        "b": Cost(tokens=5, unpriced_tokens=5, is_metered=False),
    }
    assert costs.of_runs({"a": metered["a"]}, {"a": told["a"]}) == metered["a"]
    both = costs.of_runs(metered, told)
    assert both == Cost(usd_micros=70, tokens=35, unpriced_tokens=5, is_metered=False)


@pytest.mark.parametrize("usd", ["0.5", True, -1, float("nan"), float("inf"), 1e9, None])
def test_an_amount_that_is_none_counts_as_unknown(usd):
    assert costs.told([result("a", 3, cost_usd=usd)])["a"].unpriced_tokens == 3


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(usd_micros=420_000, tokens=20_000, unpriced_tokens=12_345), "$0.42 + 12k tokens at unknown price"),
        (Cost(usd_micros=420_000, tokens=9, is_metered=False), "$0.42 by its own word"),
        (Cost(tokens=950, unpriced_tokens=950), "950 tokens at unknown price"),
        (Cost(usd_micros=120), "$0.0001"),
        (Cost(), "$0.00"),
    ],
)
def test_costs_in_words(cost, words):
    assert money.cost(cost) == words


def envelope(**figures: int | None) -> EnvelopeView:
    none: dict[str, Any] = dict.fromkeys(
        ("paused_at", "rest_until", "max_live", "executions_limit", "wall_limit_seconds")
    )
    zero = dict.fromkeys(
        ("live", "executions_reserved", "executions_spent", "wall_reserved_seconds", "wall_spent_seconds"), 0
    )
    return EnvelopeView(key="tree:1", kind=ScopeKind.TREE, **none, **zero, **figures)


def test_a_scope_says_what_its_models_used():
    used = envelope(
        usd_limit_micros=20_000_000,
        usd_spent_micros=1_500_000,
        usd_reserved_micros=250_000,
        tokens_limit=50_000_000,
        tokens_spent=12_000,
        tokens_reserved=900,
        unpriced_tokens=12_000,
    )
    assert money.spent(used) == "$1.50 + 12k tokens at unknown price + $0.25 reserved of $20.00"
    assert money.tokens_spent(used) == "12k + 900 reserved of 50.0M"
    assert (money.spent(envelope()), money.tokens_spent(envelope())) == ("", "")


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        *[("5", 5_000_000), ("$2.50", 2_500_000), ("0.000001", 1)],
        *[(text, None) for text in ("0", "-1", "1e9", "nan", "five", "0.0000001", "", "Infinity")],
    ],
)
def test_a_sum_is_read_exactly_or_not_at_all(text, micros):
    assert money.micros(text) == micros
