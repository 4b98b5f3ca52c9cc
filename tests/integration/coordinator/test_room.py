"""A child's share of its parent's money is cut when there is something to cut it from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from coordinator.launching import dispatch, room, surroundings
from coordinator.models import Agent, Envelope, LedgerEntry, ModelCall, Nudge
from coordinator.money import spending
from coordinator.public_types import Answer, Decision, Source, Usage
from coordinator.rules import budget_rules
from grid import public_api as grid
from grid.models import Execution
from tests.factories import launch_spec, make_agent, make_child, make_git_repository

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "app"))


def hold_money(agent: Agent, usd: int) -> UUID:
    """A model call under way that may cost so much."""
    call = ModelCall(agent=agent, execution_id=uuid4(), provider="anthropic", model="m")
    held = spending.reserve(path=agent.envelope.path_ids, call=call, usd_micros=usd, tokens=0)
    assert not isinstance(held, spending.Shortage), held
    return call.pk


def limit_of(agent: Agent) -> int | None:
    return Envelope.objects.get(pk=agent.envelope_id).usd_limit_micros


def test_while_calls_hold_all_of_a_trees_money_a_child_waits_and_gets_its_share_when_they_are_settled(root):
    child, call = make_child(root), hold_money(root, 20_000_000)
    row = dispatch.nudge(child.pk, source=Source.OPERATOR)
    assert row.decision is not None and row.decision["code"] == "capacity"
    words = "tree: of $20.00, $0.00 are spent and $20.00 are set aside for model calls under way; it gets its share"
    assert row.decision["reason"].startswith(words)
    assert limit_of(child) is None and not Execution.objects.exists()
    assert Nudge.objects.get(agent=child).not_before is not None, "it is looked at again by itself"
    assert spending.settle(call, usd_micros=1_000_000, usage=Usage())
    assert dispatch.decide_again(child.pk).code == "admitted"
    assert limit_of(child) == 9_500_000  # half of what is left now


def test_money_that_is_taken_between_the_decision_and_the_cut_counts(root):
    child = dispatch.locked(make_child(root).pk)
    situation = surroundings.look(child)
    call = hold_money(root, 20_000_000)
    wanted: dict[str, Any] = {"path": situation.path, "execution_id": uuid4(), "by_hand": False}
    assert room.set_aside(child, situation.plan, **wanted) is None and limit_of(child) is None
    spending.settle(call, usd_micros=0, usage=Usage())
    assert room.set_aside(child, situation.plan, **wanted) is not None and limit_of(child) == 10_000_000


def test_a_launch_that_does_not_come_about_leaves_no_cut_and_nothing_reserved(root):
    child = dispatch.locked(make_child(root).pk)
    situation, before = surroundings.look(child), list(Envelope.objects.order_by("pk").values())
    admitted = Decision(answer=Answer.ADMITTED, code="admitted", reason="", mode="work")
    grid.launch(launch_spec(child.subject))  # whoever was faster
    decision, execution_id, notes = dispatch._reserve_and_queue(child, admitted, situation, by_hand=False)
    assert (decision.code, execution_id, notes) == ("running", None, [])
    assert list(Envelope.objects.order_by("pk").values()) == before
    assert not LedgerEntry.objects.exists()


def test_who_gets_no_share_and_who_has_it_already_do_not_wait(root):
    hold_money(root, 20_000_000)
    assert dispatch.nudge(root.pk, source=Source.OPERATOR).decision["code"] == "admitted"
    child = dispatch.locked(make_child(root).pk)
    situation = surroundings.look(child)
    assert room.money_held(child, situation.plan, path=situation.path)
    child.capability = {"tools": []}
    assert not room.money_held(child, situation.plan, path=situation.path)


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "is_held"),
    [
        (None, 5, 99, False),
        (0, 0, 0, False),
        (100, 0, 90, False),
        (100, 0, 91, True),
        (100, 90, 9, False),
        (100, 90, 10, True),
        (100, 100, 0, True),
        (100, 130, 0, True),
    ],
)
def test_a_share_is_cut_from_a_tenth_of_what_is_not_spent_or_more(limit, spent, reserved, is_held):
    for name, other in (("usd", "tokens"), ("tokens", "usd")):
        columns = {
            f"{name}_limit": limit,
            f"{name}_spent": spent,
            f"{name}_reserved": reserved,
            f"{other}_limit": None,
            f"{other}_spent": 0,
            f"{other}_reserved": 0,
        }
        row = SimpleNamespace(
            key="agent:1",
            kind="agent",
            **{(f"{key}_micros" if key.startswith("usd") else key): value for key, value in columns.items()},
        )
        assert bool(budget_rules.held([row])) == is_held
