"""What people set on an agent's children stays, whatever the agent plans; people change it as they like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator import sweeps
from coordinator.care import repositories
from coordinator.documents.plan_schema import PlanError
from coordinator.launching.briefing import plan_for
from coordinator.models import Agent, AppliedPlan
from coordinator.operating import control, plans
from coordinator.rules import plan_origins
from coordinator.trees.plan_limits import Reach
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, running
from tests.integration.coordinator.plan_here import CLI, violations

pytestmark = pytest.mark.django_db(transaction=True)

SET = "goal: A part\n      acceptance: [pytest -q]\n      files: [a.py]\n      budget: {share: 40, usd: 5}\n      footprint: [src]"


@pytest.fixture
def run(tmp_path: Path) -> Running:
    return running(make_agent(make_git_repository(tmp_path / "app"), title="Top"))


@pytest.fixture
def child(run: Running) -> Agent:
    """One on which a person has set everything."""
    made = make_child(run.agent, title="A part")
    by_person(run, "goal: A part", SET)
    made.refresh_from_db()
    return made


def by_person(run: Running, old: str, new: str) -> None:
    text = plans.export(run.agent_id).text
    assert old in text, text
    assert plans.apply(run.agent_id, text.replace(old, new), actor=CLI).changes


def by_agent(run: Running, old: str, new: str) -> plans.Preview:
    text = plans.export(run.agent_id, for_agent=True).text
    assert old in text, text
    reach = Reach(
        agent_id=run.agent_id, execution_id=run.execution_id, fence=run.fence, children=9, levels=9, share=100
    )
    return plans.apply(run.agent_id, text.replace(old, new), actor=f"agent:{run.agent_id}", reach=reach)


def refused(run: Running, old: str, new: str) -> str:
    count = AppliedPlan.objects.count()
    with pytest.raises(PlanError) as caught:
        by_agent(run, old, new)
    assert AppliedPlan.objects.count() == count
    return str(caught.value)


TAKEN = (
    ("      acceptance:\n        - pytest -q\n", "", "'pytest -q' of the acceptance commands of a{} was set by a person (cli:test)"),
    ("- pytest -q", "- pytest -q || true", "'pytest -q' of the acceptance commands"),
    ("- a.py", "- b.py", "'a.py' of the required files"),
    ("- src", "- src/a", "'src' of the footprint"),
    ("usd: 5.0", "usd: 6", "$5 of budget for a{} was set by a person (cli:test), and the plan asks for $6"),
    ("        usd: 5.0\n", "", "and the plan leaves that out"),
    ("share: 40", "share: 41", "40 % of budget"),
)  # fmt: skip


def test_an_agent_takes_nothing_of_it_away(run, child):
    for old, new, said in TAKEN:
        found = refused(run, old, new)
        assert said.format(child.pk) in found and "send_message" in found and "line " in found


def test_an_agent_adds_and_tightens_and_people_change_it_all(run, child):
    by_agent(run, "- pytest -q", "- mypy .\n        - pytest -q")
    by_agent(run, "usd: 5.0", "usd: 3")
    by_agent(run, "- src", "- src\n        - docs")
    child.refresh_from_db()
    assert child.spec["acceptance"] == ["mypy .", "pytest -q"] and child.envelope.usd_limit_micros == 3_000_000
    refused(run, "usd: 3.0", "usd: 5.5")
    by_agent(run, "usd: 3.0", "usd: 5")
    by_agent(run, "        - mypy .\n", "")
    refused(run, "- pytest -q", "- mypy .")
    by_person(run, "- pytest -q", "- make check")
    by_person(run, "      budget:\n        share: 40\n        usd: 5.0\n", "")
    by_agent(run, "- make check", "- make check\n        - 'true'")
    refused(run, "- make check", "- make lint")
    by_agent(run, "footprint:", "budget: {usd: 9}\n      footprint:")
    assert violations() == []


def test_an_agent_does_not_get_rid_of_it_by_taking_the_node_out_and_making_another(run, child):
    text = plans.export(run.agent_id).text
    head, _, rest = text.partition(f"    - id: a{child.pk}")
    tail = rest[rest.index("\nseen:") :]
    said = refused(run, text[len(head) : -len(tail)], "    - new: mine\n      goal: A part")
    assert f"a{child.pk} cannot be taken out by an agent: a person (cli:test) set its acceptance commands" in said
    text = plans.export(run.agent_id).text
    plans.apply(run.agent_id, text.replace(f"    - id: a{child.pk}{rest[: -len(tail)]}", "    []"), actor=CLI)
    child.refresh_from_db()
    assert child.state == "abandoned"


def test_what_a_persons_plan_makes_is_the_persons_and_what_an_agents_makes_the_agents(run):
    mine, theirs = (f"    - new: {name}\n      goal: {name}\n      acceptance: ['true']\n" for name in "xy")
    by_person(run, "seen:", f"  children:\n{mine}seen:")
    by_agent(run, "seen:", f"{theirs}seen:")
    sweeps.sweep()
    x, y = Agent.objects.filter(parent_id=run.agent_id).order_by("pk")
    assert x.spec[plan_origins.KEY] == {"acceptance": {"true": CLI}} and plan_origins.KEY not in y.spec
    lines = plans.export(run.agent_id).text
    assert lines.count("- 'true'") == 2
    assert "was set by a person" in refused(run, "goal: x\n      acceptance:\n        - 'true'\n", "goal: x\n")
    by_agent(run, "goal: y\n      acceptance:\n        - 'true'\n", "goal: y\n")


def test_money_that_a_person_gave_by_hand_is_not_passed_by_a_plan(run):
    child = make_child(run.agent, title="A part")
    control.raise_limit(run.agent.stream, actor="admin:ann", usd_micros=10_000_000)
    control.raise_limit(child.stream, actor="admin:ann", usd_micros=2_000_000)
    said = refused(run, "goal: A part", "goal: A part\n      budget: {usd: 4}")
    assert f"a{child.pk} was given $2 by a person (admin:ann), and the plan comes to $4" in said
    assert "given $2" in refused(run, "goal: A part", "goal: A part\n      budget: {share: 50}")
    by_agent(run, "goal: A part", "goal: A part\n      budget: {usd: 1}")
    control.raise_limit(child.stream, actor="admin:ann", executions=50)  # no word about money
    refused(run, "usd: 1.0", "usd: 3")
    by_agent(run, "usd: 1.0", "usd: 2")
    control.raise_limit(child.stream, actor="admin:ann", usd_micros=7_000_000)
    by_agent(run, "usd: 2.0", "usd: 6")
    assert violations() == []


def test_what_people_require_is_checked_before_what_an_agent_adds(run, child):
    by_agent(run, "- pytest -q", "- touch a.py\n        - pytest -q")
    child.refresh_from_db()
    found: Any = plan_for(child, repositories.policy_of(child.repository_id)).acceptance
    assert found[-3:] == ("pytest -q", "test -e ./a.py", "touch a.py")
