"""Operators see what models cost, and raise what they may."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from coordinator import public_api
from coordinator.models import Agent, AuditEntry, Envelope, ModelCall
from coordinator.money import budgets, spending
from coordinator.public_types import Cost, Usage
from grid import public_agents as grid_agents
from grid.models import Execution
from tests.factories import make_agent, make_child, make_execution, make_git_repository


@pytest.fixture
def agent(db: None, tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "repo"))


def manage(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, no_color=True)
    return out.getvalue()


def pay(agent: Agent, usd: int | None, tokens: int) -> None:
    """One settled call of the gateway."""
    call = ModelCall(agent=agent, execution_id=uuid4(), provider="anthropic", model="m")
    path = [row.pk for row in budgets.path_of(agent.envelope)]
    assert not isinstance(spending.reserve(path=path, call=call, usd_micros=usd, tokens=tokens), spending.Shortage)
    assert spending.settle(call.pk, usd_micros=usd, usage=Usage(input_tokens=tokens))


def told(agent: Agent, **body: Any) -> None:
    """A run that says itself what it cost."""
    run = make_execution(agent.subject, root=agent.root_key)
    usage = {"input_tokens": 1_000, "output_tokens": 0}
    event = ("llm.result", {"usage": usage, "final": True, **body})
    running = {"state": "running", "token": 1, "host": "h", "lease_until": timezone.now()}
    Execution.objects.filter(pk=run.pk).update(**running)
    assert grid_agents.record_call(run.pk, fence=1, events=[event])


def test_tree_explain_and_status_show_the_cost_of_each_agent(agent):
    pay(agent, 420_000, 5_000)
    pay(agent, None, 12_345)
    child = make_child(agent)
    told(child, cost_usd=0.5)
    tree = manage("tree", agent.issue.key)
    assert "$0.42 + 12k tokens at unknown price" in tree
    assert "$0.50 by its own word" in tree
    assert "all together $0.92 + 12k tokens at unknown price by its own word" in tree
    assert "$0.42 + 12k tokens at unknown price" in manage("explain", agent.issue.key)
    shown = json.loads(manage("tree", agent.issue.key, "--json"))
    assert shown["costs"][str(child.pk)]["usd_micros"] == 500_000
    found = public_api.costs([public_api.get_agent(agent.pk)])
    assert found == {agent.pk: Cost(usd_micros=420_000, tokens=17_345, unpriced_tokens=12_345)}


def test_budget_shows_and_raises_money_and_tokens(agent):
    pay(agent, 3_000_000, 5_000)
    key = agent.issue.key
    assert "$3.00 of $20.00" in manage("budget", "show", "--tree", key)
    said = manage("budget", "raise", "--tree", key, "--usd", "25.50", "--tokens", "60000000")
    assert "$3.00 of $25.50" in said
    row = Envelope.objects.get(kind="tree")
    assert (row.usd_limit_micros, row.tokens_limit) == (25_500_000, 60_000_000)
    detail = AuditEntry.objects.get(action="raise_limit").detail
    assert (detail["before"]["usd_micros"], detail["after"]["usd_micros"]) == (20_000_000, 25_500_000)
    with pytest.raises(CommandError, match=r"\$3\.00"):
        manage("budget", "raise", "--tree", key, "--usd", "2.99")
    with pytest.raises(CommandError, match="no sum in US dollars"):
        manage("budget", "raise", "--tree", key, "--usd", "much")
    with pytest.raises(CommandError, match="budget raise"):
        manage("budget", "show", "--usd", "5")
