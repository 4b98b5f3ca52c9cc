"""The laws as queries: each returns the rows that break it, with the remedy. `doctor`, tests and pages share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from coordinator.invariants.locks import locks_have_one_writer
from coordinator.invariants.money import (
    budgets_add_up,
    envelopes_nest,
    model_calls_are_settled,
    reservations_are_settled,
)
from coordinator.invariants.runs import events_have_no_gap, no_expired_lease, one_live_execution, terminal_is_final
from coordinator.invariants.trees import capabilities_only_shrink, tree_is_sound
from coordinator.invariants.waiting import (
    conflicts_end,
    deliveries_are_processed,
    messages_come_to_an_end,
    no_stuck_row,
    nudges_are_answered,
    writes_are_carried_out,
)
from coordinator.public_types import Violation

__all__ = [
    "LAWS",
    "budgets_add_up",
    "capabilities_only_shrink",
    "conflicts_end",
    "deliveries_are_processed",
    "envelopes_nest",
    "events_have_no_gap",
    "locks_have_one_writer",
    "messages_come_to_an_end",
    "model_calls_are_settled",
    "no_expired_lease",
    "no_stuck_row",
    "nudges_are_answered",
    "one_live_execution",
    "reservations_are_settled",
    "terminal_is_final",
    "tree_is_sound",
    "violations",
    "writes_are_carried_out",
]

LAWS: tuple[Callable[[], Iterator[Violation]], ...] = (
    one_live_execution,
    budgets_add_up,
    envelopes_nest,
    reservations_are_settled,
    model_calls_are_settled,
    locks_have_one_writer,
    tree_is_sound,
    capabilities_only_shrink,
    no_expired_lease,
    events_have_no_gap,
    terminal_is_final,
    nudges_are_answered,
    conflicts_end,
    deliveries_are_processed,
    writes_are_carried_out,
    no_stuck_row,
    messages_come_to_an_end,
)


def violations() -> list[Violation]:
    """Every row that breaks a law, in the order of the laws."""
    return [violation for law in LAWS for violation in law()]
