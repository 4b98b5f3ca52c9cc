"""Requests for more: answered once, by whoever may, and never with more than the granter holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator import invariants, public_api
from coordinator.care import profiles
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Message, RepositoryPolicy, UpgradeRequest
from coordinator.money import budgets
from coordinator.public_errors import AgentNotFoundError, CoordinatorError, InvalidInputError, NotAllowedError
from coordinator.public_types import AgentState, Answer, Source
from coordinator.rules.capability import ALL_TOOLS, Capability, allows_model, as_json, from_json, is_within
from coordinator.teamwork import upgrades
from grid import public_api as grid
from grid import public_events as grid_events
from grid.models import Execution
from grid.public_types import Check, Result
from tests.factories import make_agent, make_child
from tests.integration.coordinator.at_once import together
from tests.integration.coordinator.command_rows import ended, run, started

OPUS, SONNET = "anthropic:claude-opus-4-5", "anthropic:claude-sonnet-4-5"
CODES = {"reason": "the schema is too tricky for a small model"}


def fresh(agent: Agent) -> Agent:
    return Agent.objects.select_related("parent", "envelope").get(pk=agent.pk)


def held(agent: Agent) -> Capability:
    return from_json(fresh(agent).capability)


def launched(agent: Agent, profile: str = "") -> Agent:
    Agent.objects.filter(pk=agent.pk).update(profile=profile)
    assert dispatch.nudge(agent.pk, source=Source.OPERATOR).answer == Answer.ADMITTED
    return fresh(agent)


def last_run(agent: Agent) -> Execution:
    run = fresh(agent).execution
    assert run is not None
    return run


def over(agent: Agent) -> None:
    """Its run has ended, and the next one may start."""
    run = last_run(agent)
    Execution.objects.filter(pk=run.pk).update(state="failed")
    budgets.settle(execution_id=run.pk, executions=1, wall_seconds=1)
    Agent.objects.filter(pk=agent.pk).update(is_applied=True)


@pytest.fixture
def root(repository: Path, db: None) -> Agent:
    return launched(make_agent(repository))


@pytest.fixture
def child(root: Agent) -> Agent:
    return launched(make_child(root), "micro")


def kinds(agent: Agent) -> list[str]:
    return [event.kind for event in grid_events.read_stream(agent.stream)]


def test_a_parent_grants_what_it_holds_and_no_more(root: Agent, child: Agent) -> None:
    Agent.objects.filter(pk=root.pk).update(
        capability=as_json(held(root)) | {"tier": 2, "tools": sorted(ALL_TOOLS - {"nudge"})}
    )
    wish = {"tier": "large", "tools": ["run_command", "nudge", "rm"], "children": 10**30, "depth": -4}
    asked = upgrades.request(child.pk, wish=wish, execution_id=uuid4(), **CODES)
    assert asked.state == "open"
    assert asked.more == ("tier large", "children 1000", "tools nudge, rm, run_command")
    done = upgrades.answer(asked.id, by=root.stream, is_granted=True, words="only here")
    assert done.more == ("tier medium", f"children {held(root).children}", "tools run_command")
    assert is_within(held(child), held(root))
    assert "run_command" in held(child).tools and "nudge" not in held(child).tools
    assert held(child).tier == 2
    assert kinds(child)[-4:] == ["upgrade.requested", "message.told", "upgrade.granted", "nudge.deferred"]
    entry = AuditEntry.objects.get(action="upgrade_granted")
    assert (entry.actor, entry.target) == (root.stream, child.stream)
    assert list(invariants.capabilities_only_shrink()) == []


def test_a_grant_stays_when_the_agent_is_launched_again(root: Agent, child: Agent) -> None:
    asked = upgrades.request(child.pk, wish={"tools": ["run_command"]}, **CODES)
    upgrades.answer(asked.id, by="cli:me", is_granted=True)
    over(child)
    launched(child, "micro")
    assert "run_command" in held(child).tools
    profile = grid.profile_of(fresh(child).execution_id)
    assert "tools" not in profile  # nothing is missing any more that its program could have


def test_an_operator_cannot_lift_a_child_above_its_parent_but_can_lift_a_root(root: Agent, child: Agent) -> None:
    Agent.objects.filter(pk=root.pk).update(capability=as_json(held(root)) | {"tier": 1})
    asked = upgrades.request(child.pk, wish={"tier": 3}, **CODES)
    with pytest.raises(
        NotAllowedError, match=f"its parent {root.path} holds none of what is asked for; upgrade {root.path} first"
    ):
        upgrades.answer(asked.id, by="cli:me", is_granted=True)
    assert UpgradeRequest.objects.get().state == "open"
    first = upgrades.request(root.pk, wish={"tier": "large"}, **CODES)
    upgrades.answer(first.id, by="cli:me", is_granted=True)
    upgrades.answer(asked.id, by="cli:me", is_granted=True)
    assert (held(root).tier, held(child).tier) == (3, 3)


def test_only_the_parent_and_people_answer(root: Agent, child: Agent) -> None:
    asked = upgrades.request(child.pk, wish={"tier": 3}, **CODES)
    for by in (child.stream, "agent:999", "agent:", f"agent:{root.pk} "):
        with pytest.raises(NotAllowedError, match="only the parent"):
            upgrades.answer(asked.id, by=by, is_granted=True)
    assert held(child).tier == 1
    upgrades.answer(asked.id, by=root.stream, is_granted=False, words="no")
    assert held(child).tier == 1
    with pytest.raises(NotAllowedError, match=f"was refused by {root.stream} already"):
        upgrades.answer(asked.id, by="cli:me", is_granted=True)
    with pytest.raises(AgentNotFoundError, match="no upgrade request 9999"):
        upgrades.answer(9999, by="cli:me", is_granted=True)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, "holds all of that already"),
        ({"tier": 0, "tools": []}, "holds all of that already"),
        ({"tier": "huge"}, "unknown tier 'huge'"),
        ({"tier": 1.5}, "tier must be a whole number"),
        ({"tier": None}, "tier must be a whole number"),
        ({"money": 5}, "unknown key 'money'"),
        ({"tools": "all"}, "tools must be a list"),
        ({"tools": ["x"] * 51}, "at most 50 can be asked for"),
        ({str(n): n for n in range(100_000)}, "unknown key"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(child: Agent, wish: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        upgrades.request(child.pk, wish=wish, **CODES)
    with pytest.raises(InvalidInputError, match="say why"):
        upgrades.request(child.pk, wish={"tier": 3}, reason=" \n")
    assert not UpgradeRequest.objects.exists()


def test_what_no_database_stores_is_left_out(root: Agent, child: Agent) -> None:
    wish = {"tier": 3, "models": ["a:\0", "\ud800*"], "tools": ["\0", "\ud800"]}
    asked = upgrades.request(child.pk, wish=wish, reason="be\0cau\ud800se\u202e")
    assert asked.more == ("tier large",)
    assert upgrades.answer(asked.id, by=root.stream, is_granted=True, words="go\0 on\ud800").answer == "go on"
    assert UpgradeRequest.objects.get().reason.startswith("be")


def test_one_request_at_a_time_and_not_for_ever(child: Agent) -> None:
    for number in range(upgrades.MAX_PER_AGENT):
        asked = upgrades.request(child.pk, wish={"tier": 3}, **CODES)
        with pytest.raises(
            NotAllowedError, match="not answered yet" if number < upgrades.MAX_PER_AGENT - 1 else "asked 20"
        ):
            upgrades.request(child.pk, wish={"tools": ["run_command"]}, **CODES)
        upgrades.answer(asked.id, by="cli:me", is_granted=False)
    with pytest.raises(NotAllowedError, match="asked 20 times"):
        upgrades.request(child.pk, wish={"tier": 3}, **CODES)


def test_a_waiting_parent_is_started_to_answer_once(root: Agent, child: Agent) -> None:
    Execution.objects.filter(subject=root.subject).update(state="succeeded")
    Agent.objects.filter(pk=root.pk).update(state=AgentState.WAITING, is_applied=True)
    asked = upgrades.request(child.pk, wish={"tier": 3}, **CODES)
    root.refresh_from_db()
    assert root.state == AgentState.QUEUED
    assert root.decision is not None and root.decision["mode"] == "resume"
    prompt = grid.prompt_of(root.execution_id)
    assert f"request {asked.id}" in prompt and "tier large" in prompt and CODES["reason"] in prompt
    # It did not answer: its next look is like any other, not a run for the same request again and again.
    Execution.objects.filter(subject=root.subject).update(state="succeeded")
    Agent.objects.filter(pk=root.pk).update(state=AgentState.WAITING, is_applied=True)
    row = dispatch.nudge(root.pk, source=Source.SWEEP)
    assert row.decision is not None and row.decision["code"] == "children"


def test_a_parent_that_runs_is_told(root: Agent, child: Agent) -> None:
    upgrades.request(child.pk, wish={"tier": 3}, **CODES)
    message = Message.objects.get()
    assert (message.agent_id, message.post.sender, message.post.kind) == (root.pk, child.stream, "upgrade_request")
    assert "asks for more" in message.post.text and message.post.data["request"] == UpgradeRequest.objects.get().pk
    assert dispatch.nudge(root.pk, source=Source.SWEEP).answer == Answer.DEFERRED


def test_a_parent_that_runs_is_told_of_a_long_wish_as_well(root: Agent, child: Agent) -> None:
    long = {"tools": [f"t{number:039}" for number in range(50)], "models": [f"x:{number:0190}" for number in range(50)]}
    asked = upgrades.request(child.pk, wish=long, **CODES)
    said = Message.objects.get(agent=root).post
    assert said.data["request"] == asked.id and {len(words) for words in said.data["more"]} == {300}
    assert "the schema is too tricky" in said.text


def test_the_answer_reaches_the_run_that_asked_and_the_next_one(root: Agent, child: Agent) -> None:
    asked = upgrades.request(child.pk, wish={"tools": ["run_command"]}, **CODES)
    upgrades.answer(asked.id, by=root.stream, is_granted=True, words="use it well")
    words = f"Your request {asked.id} was granted by {root.stream}: tools run_command.\nuse it well"
    assert Message.objects.get(agent=child).post.text == words
    over(child)
    launched(child, "micro")
    assert words in last_run(child).prompt
    second = upgrades.request(child.pk, wish={"tools": ["nudge"]}, **CODES)
    upgrades.answer(second.id, by=root.stream, is_granted=False)
    over(child)
    launched(child, "micro")
    prompt = last_run(child).prompt
    assert f"Your request {second.id} for more was refused by {root.stream}" in prompt


def test_an_agent_that_gave_up_for_want_of_more_goes_on_when_it_is_granted(root: Agent, child: Agent) -> None:
    asked = upgrades.request(child.pk, wish={"tier": 3}, **CODES)
    over(child)
    Agent.objects.filter(pk=child.pk).update(state=AgentState.BLOCKED)
    assert dispatch.nudge(child.pk, source=Source.SWEEP).decision["code"] == "blocked"
    upgrades.answer(asked.id, by=root.stream, is_granted=True)
    assert fresh(child).state == AgentState.QUEUED


def test_a_refused_model_is_used_once_it_is_granted(repository: Path, db: None) -> None:
    root = make_agent(repository)
    spec = {"adapter": "builtin", "options": {"model": OPUS}, "acceptance": []}
    Agent.objects.filter(pk=root.pk).update(spec=spec)
    launched(root)
    child = make_child(fresh(root))
    Agent.objects.filter(pk=child.pk).update(profile="micro")
    assert dispatch.nudge(child.pk, source=Source.PARENT).decision["code"] == "capability"
    asked = upgrades.request(child.pk, wish={"tier": "large", "models": ["*"]}, **CODES)
    upgrades.answer(asked.id, by="cli:me", is_granted=True)
    child = fresh(child)
    assert child.state == AgentState.QUEUED
    assert grid.profile_of(child.execution_id)["model"] == OPUS
    assert allows_model(held(child), OPUS, profiles.fleet_tiers())


# --- by the policy ------------------------------------------------------------------------------------------------


def failing(agent: Agent, *, verified: bool) -> None:
    """Let the agent's queued run fail: our own commands on its work, or by itself."""
    view = public_api.get_agent(agent.pk)
    started(view)
    checks = (Check(command="pytest", passed=False, exit_code=1, seconds=1.0, tail="no"),) if verified else ()
    ended(view, result=Result(reason="acceptance failed", checks=checks, exit_code=1))
    Agent.objects.filter(pk=agent.pk).update(not_before=None)
    dispatch.nudge(agent.pk, source=Source.OPERATOR)


@pytest.mark.django_db(transaction=True)
def test_the_policy_raises_an_agent_whose_work_did_not_hold(repository: Path, settings: Any) -> None:
    settings.COORDINATOR_MAX_ATTEMPTS = 20
    root = make_agent(repository)
    RepositoryPolicy.objects.update(policy={"version": 1, "upgrade_after_failures": 2})
    launched(root)
    child = launched(make_child(root), "micro")
    ranks = []
    for verified in (True, False, True, True, True, True, True):
        failing(child, verified=verified)
        ranks.append(held(child).tier)
    assert ranks == [1, 1, 2, 2, 3, 3, 3]  # the parent has no more than the third
    granted = UpgradeRequest.objects.order_by("pk")
    assert [(row.answered_by, row.reason) for row in granted] == [
        ("policy", "2 verified failures"),
        ("policy", "4 verified failures"),
    ]
    assert kinds(child).count("upgrade.granted") == 2
    assert list(invariants.capabilities_only_shrink()) == []


@pytest.mark.django_db(transaction=True)
def test_the_policy_and_parents_stay_within_the_rule_for_the_depth_and_people_need_not(
    repository: Path, settings: Any
) -> None:
    settings.COORDINATOR_MAX_ATTEMPTS, settings.COORDINATOR_TIERS_BY_DEPTH = 20, ["medium", "small"]
    root = make_agent(repository)
    RepositoryPolicy.objects.update(policy={"version": 1, "upgrade_after_failures": 1})
    launched(root)
    child = launched(make_child(root), "micro")
    for agent in (root, child, root):
        failing(agent, verified=True)
    assert (held(root).tier, held(child).tier) == (2, 1)
    asked = upgrades.request(child.pk, wish={"tier": "medium"}, **CODES)
    with pytest.raises(NotAllowedError, match="rule for depth 1 leaves nothing"):
        upgrades.answer(asked.id, by=root.stream, is_granted=True)
    upgrades.answer(asked.id, by="cli:me", is_granted=True)
    assert held(child).tier == 2


@pytest.mark.django_db(transaction=True)
def test_without_the_rule_nobody_is_raised(repository: Path) -> None:
    root = launched(make_agent(repository))
    child = launched(make_child(root), "micro")
    failing(child, verified=True)
    failing(child, verified=True)
    assert not UpgradeRequest.objects.exists()


# --- all at once --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_requests_is_one_request_and_answers_at_once_are_one_answer(repository: Path) -> None:
    root = launched(make_agent(repository))
    child = launched(make_child(root), "micro")
    asked = together(12, lambda _: upgrades.request(child.pk, wish={"tier": 3}, **CODES))
    assert sum(isinstance(answer, upgrades.Upgrade) for answer in asked) == 1
    assert sum(isinstance(answer, NotAllowedError) for answer in asked) == 11
    row = UpgradeRequest.objects.get()
    done = together(
        8, lambda number: upgrades.answer(row.pk, by=f"cli:{number}", is_granted=number % 2 == 0, words=str(number))
    )
    assert sum(isinstance(answer, upgrades.Upgrade) for answer in done) == 1
    row.refresh_from_db()
    assert AuditEntry.objects.filter(action__startswith="upgrade_").count() == 1
    assert held(child).tier == (3 if row.state == "granted" else 1)
    assert [kind for kind in kinds(child) if kind.startswith("upgrade.")] == [
        "upgrade.requested",
        f"upgrade.{row.state}",
    ]


wishes = st.fixed_dictionaries(
    {},
    optional={
        "tier": st.sampled_from([-1, 0, 1, 2, 3, 10**20, "small", "large"]),
        "models": st.lists(st.sampled_from(["*", "openai:*", SONNET, "**"]), max_size=3),
        "tools": st.lists(st.sampled_from([*sorted(ALL_TOOLS), "*"]), max_size=4),
        "children": st.integers(-3, 10**6),
        "depth": st.integers(-3, 10**6),
        "share": st.integers(-3, 10**6),
    },
)


@pytest.mark.django_db
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    acts=st.lists(st.tuples(st.integers(0, 3), wishes, st.sampled_from(["parent", "operator", "refuse"])), max_size=8)
)
def test_whatever_is_asked_and_granted_no_agent_holds_more_than_its_parent(
    family: list[Agent], acts: list[tuple[int, dict[str, Any], str]]
) -> None:
    for number, wish, by in acts:
        agent = family[number]
        try:
            asked = upgrades.request(agent.pk, wish=wish, **CODES)
        except CoordinatorError:
            continue
        who = f"agent:{agent.parent_id}" if by == "parent" and agent.parent_id else "cli:me"
        try:
            upgrades.answer(asked.id, by=who, is_granted=by != "refuse")
        except NotAllowedError:
            upgrades.answer(asked.id, by=who, is_granted=False)
        assert list(invariants.capabilities_only_shrink()) == []
    UpgradeRequest.objects.all().delete()


@pytest.fixture
def family(repository: Path, db: None) -> list[Agent]:
    """A root, two children of different profiles, and a grandchild."""
    root = launched(make_agent(repository), "worker")
    first = launched(make_child(root), "micro")
    second = launched(make_child(root), "planner")
    return [root, first, second, launched(make_child(second), "worker")]


# --- by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_operator_lists_grants_and_refuses(repository: Path) -> None:
    root = launched(make_agent(repository))
    child = launched(make_child(root), "micro")
    assert "nobody asks for anything" in run("upgrade", "list").out
    asked = upgrades.request(child.pk, wish={"tier": 3}, reason="\x1b[31mplease\u202e")
    said = run("upgrade", "list")
    assert said.code == 0 and "tier large" in said.out and "please" in said.out
    assert "\x1b" not in said.out and "\u202e" not in said.out
    assert run("upgrade", "list", "--json").json["upgrades"][0]["state"] == "open"
    assert run("upgrade", "grant").code == 2
    assert run("upgrade", "grant", "999999").code == 2
    said = run("upgrade", "grant", str(asked.id), "--words", "just once")
    assert said.code == 0 and "is granted: tier large" in said.out
    assert AuditEntry.objects.get(action="upgrade_granted").actor.startswith("cli:")
    again = run("upgrade", "refuse", str(asked.id))
    assert again.code == 1 and "was granted by cli:" in again.error
    assert "nobody" in run("upgrade", "list").out
    assert "just once" in run("upgrade", "list", "--all", "--json").out
