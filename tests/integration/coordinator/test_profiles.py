"""What an agent is launched with: its profile, cut down to what its parent, its profile and its depth leave it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from coordinator import invariants
from coordinator.care import definitions, profiles, repositories
from coordinator.launching import dispatch
from coordinator.models import Agent, Envelope, RepositoryPolicy
from coordinator.public_types import Answer, Source
from coordinator.reading import explanations
from coordinator.rules import capability as capabilities
from coordinator.rules.capability import EVERYTHING, SPLITTING, allows_model, from_json, is_within
from grid import public_events as grid_events
from grid.models import Execution
from grid.specs import load_spec
from tests.factories import git, make_agent, make_child
from tests.integration.coordinator.command_rows import run

pytestmark = pytest.mark.django_db
OPUS, SONNET, HAIKU = "anthropic:claude-opus-4-5", "anthropic:claude-sonnet-4-5", "anthropic:claude-haiku-4-5"


def policy(repository: Path, text: str) -> None:
    (repository / ".agentgrid.yml").write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Policy")


def launched(agent: Agent) -> Any:
    """Nudge the agent and return what the grid got, a LaunchSpec."""
    row = dispatch.nudge(agent.pk, source=Source.OPERATOR)
    agent.refresh_from_db()
    assert row.answer == Answer.ADMITTED and row.execution_id is not None, row.decision
    run = Execution.objects.get(pk=row.execution_id)
    return load_spec(run.spec, run.prompt)


def uses(agent: Agent, model: str) -> Agent:
    """The built-in agent with a model, an operator's word where the agent is a root."""
    agent.spec = {"adapter": "builtin", "options": {"model": model}, "acceptance": []}
    Agent.objects.filter(pk=agent.pk).update(spec=agent.spec)
    return agent


def held(agent: Agent) -> capabilities.Capability:
    return from_json(Agent.objects.get(pk=agent.pk).capability)


def test_without_a_profile_an_agent_is_launched_as_it_was_asked_for(repository: Path) -> None:
    agent = make_agent(repository, command="make fix")
    spec = launched(agent)
    assert spec.agent.adapter == "command"
    assert spec.agent.options == {"command": "make fix"}
    assert spec.profile["name"] == "orchestrator"
    assert "tools" not in spec.profile  # not restricted
    assert "model" not in spec.profile
    assert spec.limits.wall_seconds == 1800
    assert spec.prompt.startswith("# agent-grid work: 1 Do it")
    assert spec.profile["prompt_from"] == "work"
    assert spec.profile["origin"]["profile"] == "depth 0"
    assert spec.capability == agent.capability
    assert allows_model(held(agent), OPUS, profiles.fleet_tiers())


def test_down_the_tree_less_is_held_and_the_deepest_may_not_split(repository: Path) -> None:
    line = [make_agent(repository)]
    launched(line[0])
    for _ in range(3):
        line.append(make_child(line[-1]))
        launched(line[-1])
    for above, below in itertools.pairwise(line):
        assert is_within(held(below), held(above))
        assert held(below).depth == held(above).depth - 1
    assert [bool(held(agent).tools & SPLITTING) for agent in line] == [True, True, True, False]
    assert held(line[-1]).children == 0
    assert "# agent-grid work" in launched_prompt(line[-1]) and '"split"' not in launched_prompt(line[-1])
    assert '"split"' in launched_prompt(line[0])
    assert invariants.violations() == []


def launched_prompt(agent: Agent) -> str:
    return Execution.objects.filter(subject=agent.subject).latest("created_at").prompt


def test_a_child_that_nobody_gave_a_profile_keeps_the_model_of_its_parent(repository: Path) -> None:
    root = uses(make_agent(repository), OPUS)
    launched(root)
    child = make_child(root)
    spec = launched(child)
    assert spec.agent.options == {"model": OPUS}
    assert spec.profile["model"] == OPUS
    tiers = profiles.fleet_tiers()
    assert allows_model(held(child), OPUS, tiers) and not allows_model(held(child), "anthropic:claude-opus-5", tiers)


def test_a_chosen_profile_cuts_the_inherited_model_and_explain_says_so(repository: Path) -> None:
    root = uses(make_agent(repository), OPUS)
    launched(root)
    child = make_child(root)
    Agent.objects.filter(pk=child.pk).update(profile="micro")
    row = dispatch.nudge(child.pk, source=Source.OPERATOR)
    assert row.decision is not None
    assert (row.answer, row.decision["code"]) == (Answer.DEFERRED, "capability")
    assert (
        f"its model {OPUS} is not within its capability: it is of the tier large, above small" in row.decision["reason"]
    )
    assert explanations.explain(child.pk).now.code == "capability"
    assert not Execution.objects.filter(subject=child.subject).exists()


def test_the_next_allowed_model_of_the_profile_is_taken(repository: Path) -> None:
    policy(
        repository,
        f"""
        profiles:
          thrifty: {{extends: worker, tier: small, fallback_models: ["openai:gpt-5-mini", "{HAIKU}"]}}
        """,
    )
    root = uses(make_agent(repository), OPUS)
    launched(root)
    child = make_child(root)
    Agent.objects.filter(pk=child.pk).update(profile="thrifty")
    spec = launched(child)
    assert spec.agent.options == {}  # the inherited model is gone
    assert spec.profile["model"] == "openai:gpt-5-mini"
    assert spec.profile["fallback_models"] == [HAIKU]
    assert spec.profile["tier"] == "small"


def test_an_operators_model_counts_for_a_root_whatever_its_profile_says(repository: Path) -> None:
    root = uses(make_agent(repository), OPUS)
    Agent.objects.filter(pk=root.pk).update(profile="worker")
    spec = launched(root)
    assert spec.agent.options == {"model": OPUS}
    assert allows_model(held(root), OPUS, profiles.fleet_tiers())


def test_a_repositorys_model_must_fit_the_profile_that_it_chooses(repository: Path) -> None:
    policy(repository, f"agent: {{profile: worker, options: {{model: '{OPUS}'}}}}")
    agent = make_agent(repository)
    Agent.objects.filter(pk=agent.pk).update(spec={"acceptance": []})
    row = dispatch.nudge(agent.pk, source=Source.OPERATOR)
    assert row.decision is not None and row.decision["code"] == "capability"
    policy(repository, f"agent: {{profile: worker, options: {{model: '{SONNET}'}}}}")
    repositories.refresh(agent.repository_id)
    spec = launched(agent)
    assert spec.profile["name"] == "worker" and spec.profile["origin"]["profile"] == ".agentgrid.yml"
    assert spec.profile["model"] == SONNET


def test_a_repository_narrows_a_profile_of_the_fleet_and_never_widens_it(repository: Path) -> None:
    policy(
        repository,
        """
        profiles:
          worker: {extends: worker, tier: large, add_tools: [spawn_agents], budget_share: 100, sandbox: process}
          micro: {extends: micro, remove_tools: [edit_file]}
        """,
    )
    root = make_agent(repository)
    Agent.objects.filter(pk=root.pk).update(profile="worker")
    spec = launched(root)
    assert held(root).tier == profiles.fleet_tiers().rank("medium")
    assert "spawn_agents" not in held(root).tools and "spawn_agents" not in spec.profile["grid_tools"]
    assert held(root).share == 50
    assert spec.sandbox == ""  # the host's, not none
    other = make_agent(repository, title="Other")
    Agent.objects.filter(pk=other.pk).update(profile="micro")
    assert "edit_file" not in launched(other).profile["tools"]


def test_what_a_profile_of_the_fleet_is_made_of_is_not_widened_either(repository: Path) -> None:
    definitions.save(
        kind="profile",
        name="worker",
        body="{extends: worker, sandbox: bwrap, limits: {requests: 9}, budget: {usd: 1}}",
        actor="cli:me",
    )
    policy(
        repository,
        """
        toolsets: {worker: {extends: [worker], add: [spawn_agents]}}
        profiles:
          base: {extends: base, budget_share: 100}
          worker: {extends: worker, sandbox: auto, limits: {requests: 900, tool_calls: 7}, budget: {usd: 100}}
        """,
    )
    root = make_agent(repository)
    Agent.objects.filter(pk=root.pk).update(profile="worker")
    spec = launched(root)
    assert "spawn_agents" not in held(root).tools and "spawn_agents" not in spec.profile["grid_tools"]
    assert spec.sandbox == "bwrap"
    assert spec.profile["limits"] == {"requests": 9, "tool_calls": 7}
    assert spec.profile["budget"] == {"usd_micros": 1_000_000}
    assert Envelope.objects.get(pk=root.envelope_id).usd_limit_micros == 1_000_000


def test_a_toolset_of_a_repository_widens_no_profile_of_the_fleet(repository: Path) -> None:
    policy(repository, "toolsets: {worker: {extends: [worker], add: [spawn_agents]}}")
    root = make_agent(repository)
    Agent.objects.filter(pk=root.pk).update(profile="worker")
    assert "spawn_agents" not in launched(root).profile["grid_tools"]
    assert "spawn_agents" not in held(root).tools


def test_broken_definitions_of_a_repository_are_told_and_the_last_good_policy_stays(repository: Path) -> None:
    policy(repository, "acceptance: [make]\nprofiles: {mine: {extends: worker}}")
    agent = make_agent(repository)
    row = RepositoryPolicy.objects.get()
    assert row.error == ""
    for text, said in (
        ("profiles: {mine: {extends: nobody}}", "there is no profile 'nobody'"),
        ("profiles: {mine: {extends: other}, other: {extends: mine}}", "goes in a circle"),
        ("profiles: {mine: {tier: huge}}", "unknown tier 'huge'"),
        ("toolsets: {mine: {add: [rm]}}", "unknown tool 'rm'"),
        ("depth_rule: [{tier: huge}]", "unknown tier 'huge'"),
        ("profiles: {'Not a name': {}}", "must be lower-case letters"),
    ):
        policy(repository, text)
        row = repositories.refresh(agent.repository_id)
        assert said in row.error, row.error
        assert "the last good version is in force" in row.error
    assert repositories.effective_policy(row).acceptance == ("make",)


def test_an_unknown_profile_of_a_child_is_the_default_with_a_note(repository: Path) -> None:
    root = make_agent(repository)
    launched(root)
    child = make_child(root)
    Agent.objects.filter(pk=child.pk).update(profile="no-such-thing")
    assert launched(child).profile["name"] == "worker"
    (event,) = grid_events.latest_events(stream=child.stream, kinds=["agent.wish-not-met"], limit=5)
    assert "no profile 'no-such-thing'" in event.body["why"]
    assert "no profile 'no-such-thing'" in explanations.explain(child.pk).wishes_not_met[0]


def test_the_rule_for_depths_takes_tiers_and_tools_away(repository: Path, settings: Any) -> None:
    settings.COORDINATOR_TIERS_BY_DEPTH = ["large", "medium"]
    policy(repository, "depth_rule: [{tier: medium}, {}, {without: [run_command]}]")
    line = [uses(make_agent(repository), SONNET)]
    launched(line[0])
    for _ in range(2):
        line.append(make_child(line[-1]))
        launched(line[-1])
    ranks = [profiles.fleet_tiers().rank("medium")] * 3
    assert [held(agent).tier for agent in line] == ranks
    assert ["run_command" in held(agent).tools for agent in line] == [True, True, False]


def test_the_rule_cuts_even_the_model_that_nobody_chose(repository: Path, settings: Any) -> None:
    settings.COORDINATOR_TIERS_BY_DEPTH = ["large", "small"]
    root = uses(make_agent(repository), OPUS)
    launched(root)
    row = dispatch.nudge(make_child(root).pk, source=Source.OPERATOR)
    assert row.decision is not None and row.decision["code"] == "capability"


def test_what_a_policy_narrows_is_narrowed_below_as_well(repository: Path) -> None:
    root = make_agent(repository)
    launched(root)
    child = make_child(root)
    launched(child)
    grandchild = make_child(child)
    launched(grandchild)
    policy(repository, "limits: {children: 2}\ndepth_rule: [{without: [nudge, run_command]}]")
    repositories.refresh(root.repository_id)
    Execution.objects.update(state="failed")
    Agent.objects.filter(pk=root.pk).update(is_applied=True)
    launched(root)
    for agent in (root, child, grandchild):
        assert held(agent).children <= 2 and "run_command" not in held(agent).tools
    assert list(invariants.capabilities_only_shrink()) == []


def test_doctor_finds_an_agent_that_holds_more_than_its_parent(repository: Path) -> None:
    root = make_agent(repository)
    launched(root)
    child = make_child(root)
    launched(child)
    Agent.objects.filter(pk=child.pk).update(capability=capabilities.as_json(EVERYTHING))
    (found,) = [violation for violation in invariants.violations() if violation.law.startswith("4")]
    assert found.subject == f"agent {child.pk}"
    assert "children 1000" in found.detail
    Agent.objects.filter(pk=child.pk).update(capability={"tier": "all of them"})
    (found,) = [violation for violation in invariants.violations() if violation.law.startswith("4")]
    assert "cannot be read" in found.detail


def test_a_capability_that_cannot_be_read_is_worked_out_anew(repository: Path) -> None:
    agent = make_agent(repository)
    launched(agent)
    before = held(agent)
    Agent.objects.filter(pk=agent.pk).update(capability={"tier": -1, "x": []})
    assert profiles.capability_of(Agent.objects.get(pk=agent.pk)) == before


def test_a_share_of_the_parents_money_is_the_childs_limit(repository: Path) -> None:
    policy(repository, "profiles: {frugal: {extends: worker, budget: {usd: 3, tokens: 1000}, budget_share: 50}}")
    root = make_agent(repository)
    launched(root)
    assert root.envelope.usd_limit_micros is None
    Envelope.objects.filter(key=root.root_key).update(usd_limit_micros=8_000_000, tokens_limit=None)
    child, other = make_child(root), make_child(root)
    Agent.objects.filter(pk=other.pk).update(profile="frugal")
    launched(child)
    launched(other)
    limits = {row.key: (row.usd_limit_micros, row.tokens_limit) for row in Envelope.objects.filter(kind="agent")}
    assert limits[child.stream] == (4_000_000, None)
    assert limits[other.stream] == (3_000_000, 1000)
    grandchild = make_child(Agent.objects.get(pk=child.pk))
    launched(grandchild)
    assert Envelope.objects.get(key=grandchild.stream).usd_limit_micros == 2_000_000


def test_limits_of_a_profile_lower_those_of_the_policy(repository: Path) -> None:
    policy(
        repository,
        "profiles: {quick: {extends: base, limits: {wall_seconds: 60, idle_seconds: 9000, children: 1, depth: 1}}}",
    )
    agent = make_agent(repository)
    Agent.objects.filter(pk=agent.pk).update(profile="quick")
    spec = launched(agent)
    assert (spec.limits.wall_seconds, spec.limits.idle_seconds) == (60, 600)
    assert (held(agent).children, held(agent).depth) == (1, 1)
    found = explanations.explain(agent.pk)
    assert (found.limits["children"], found.origin["children"]) == (1, "capability")


def test_a_tier_that_there_is_not_opens_nothing_and_doctor_says_so(repository: Path, settings: Any) -> None:
    settings.COORDINATOR_TIERS_BY_DEPTH = ["", "smal"]
    root = uses(make_agent(repository), OPUS)
    assert launched(root).profile["model"] == OPUS
    child = make_child(root)
    assert dispatch.nudge(child.pk, source=Source.OPERATOR).decision["code"] == "capability"
    assert "there is no tier 'smal'" in run("doctor").out
