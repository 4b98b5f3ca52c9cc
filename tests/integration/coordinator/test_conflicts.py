"""Conflicts through the real tool door and the command: opened, announced, decided, carried out, overridden, defaulted."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from coordinator import invariants
from coordinator.contention import conflict_rows, conflict_situations
from coordinator.ending import resolutions, setbacks
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Conflict, Message, Nudge, Thread, UpgradeRequest
from coordinator.operating import control
from coordinator.public_errors import InvalidInputError, NotAllowedError
from coordinator.public_types import AgentState, Source
from coordinator.rules.conflict_rules import Kind
from coordinator.teamwork import conflicts
from grid import executions
from grid import public_api as grid
from grid import public_events as grid_events
from grid import public_locks as grid_locks
from grid.models import Event, Execution
from grid.public_types import EventView, Outcome, OutcomeKind, Result, State
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tests.integration.coordinator.at_once import together
from tests.integration.coordinator.web_here import Web, web_here

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "app.txt"
RIVALS = 6


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_git_repository(tmp_path_factory.mktemp("app") / "app", {PATH: "one\n"})


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    with web_here() as server:
        yield server


@dataclass
class Team:
    """A parent that waits, and two children that run."""

    web: Web
    parent: Agent
    holder: Running
    requester: Running

    def tool(self, run: Running, name: str, **arguments: Any) -> dict[str, Any]:
        status, said = self.web.rest(run.headers, name, **arguments)
        assert status == 200, said
        return said["result"]

    def refused(self) -> dict[str, Any]:
        """The requester asks for what the holder has."""
        assert self.tool(self.holder, "acquire_lock", path=PATH, reason="mine")["granted"]
        said = self.tool(self.requester, "acquire_lock", path=PATH, reason="I must add a line")
        assert not said["granted"]
        return said

    def conflict(self) -> Conflict:
        return Conflict.objects.get()

    def arbiter_runs(self) -> Running:
        """The parent's run that was queued for the conflict, claimed."""
        return claimed(self.parent)


def claimed(agent: Agent) -> Running:
    agent = Agent.objects.get(pk=agent.pk)
    row = executions.claim(agent.execution_id, host="nowhere")
    assert row is not None
    from grid import bearers, lifecycle

    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
    return Running(agent_id=agent.pk, execution_id=row.pk, fence=row.token, token=bearers.mint(row.pk, fence=row.token))


@pytest.fixture
def team(web: Web, repository: Path) -> Team:
    root = running(make_agent(repository, title="The whole"))
    one, two = make_child(root.agent, title="Left half"), make_child(root.agent, title="Right half")
    holder, requester = running(one), running(two)
    end(root)
    parent = root.agent
    assert parent.state == AgentState.WAITING
    return Team(web=web, parent=parent, holder=holder, requester=requester)


def kinds(agent: Agent) -> list[str]:
    rows = Event.objects.filter(stream=agent.stream, kind__startswith="conflict.").order_by("seq")
    return [row.kind for row in rows]


def past(row: Conflict, **fields: Any) -> None:
    """Let the time of a conflict be over."""
    Conflict.objects.filter(pk=row.pk).update(**{name: timezone.now() - timedelta(seconds=1) for name in fields})


def fresh(agent: Agent | Running) -> Agent:
    pk = agent.agent_id if isinstance(agent, Running) else agent.pk
    return Agent.objects.get(pk=pk)


def interrupted(run: Running, *, head: str = "") -> None:
    """The run ends as a host that was told to stop it would end it."""
    row = Execution.objects.get(pk=run.execution_id)
    assert row.stop_reason == "interrupted"
    result = Result(head=head or run.agent.base, changed=bool(head))
    assert executions.end(row.pk, token=run.fence, state=State.INTERRUPTED, reason="interrupted", result=result)
    from coordinator.ending import outcomes

    outcomes.apply(run.execution_id)


def test_a_refused_lock_calls_the_parent_with_both_sides_and_the_choices(team):
    said = team.refused()
    row = team.conflict()
    assert (said["conflict"], said["thread"]) == (row.pk, row.thread_id)
    assert (row.kind, row.state, row.patterns) == (Kind.LOCK, "open", [PATH])
    assert (row.requester_id, row.holder_id, row.arbiter_id) == (
        team.requester.agent_id,
        team.holder.agent_id,
        team.parent.pk,
    )
    thread = Thread.objects.get(pk=row.thread_id)
    assert {m.agent_id for m in thread.members.all()} == {row.requester_id, row.holder_id, row.arbiter_id}
    nudge = Nudge.objects.filter(agent=team.parent).first()
    assert (nudge.source, nudge.decision["mode"]) == ("conflict", "resolve"), "although its children run"
    assert fresh(team.parent).execution is not None
    prompt = fresh(team.parent).execution.prompt
    assert prompt.startswith("# agent-grid resolve:")
    for words in (
        f"Conflict {row.pk}",
        "I must add a line",
        "Left half",
        "Right half",
        "merge_plan:",
        "release:",
        PATH,
    ):
        assert words in prompt, words
    assert "git merge --no-edit" not in prompt, "there is no merge of its own to do"
    assert kinds(team.requester.agent)[:2] == ["conflict.opened", "conflict.announced"]


def test_further_refusals_join_the_one_that_stands(team):
    first = team.refused()
    again = team.tool(team.requester, "acquire_lock", path=PATH)
    other = team.tool(team.holder, "acquire_lock", path="docs")
    assert other["granted"]
    third = team.tool(team.requester, "acquire_lock", path="docs/a.md")
    assert first["conflict"] == again["conflict"] == third["conflict"]
    row = team.conflict()
    assert (row.joined, row.patterns) == (2, [PATH, "docs/a.md"])
    assert Nudge.objects.filter(agent=team.parent, source="conflict").count() == 1


def test_only_the_arbiter_decides_and_only_once(team):
    said = team.refused()
    for run in (team.holder, team.requester):
        status, answer = team.web.rest(run.headers, "resolve_conflict", conflict=said["conflict"], choice="fork")
        assert status == 422 and "no such conflict" in answer["error"]
    unknown = team.web.rest(team.holder.headers, "resolve_conflict", conflict=999_999, choice="fork")
    assert unknown[1]["error"] == answer["error"], "others' and unknown ones are answered for alike"
    arbiter = team.arbiter_runs()
    listed = team.tool(arbiter, "list_conflicts")["conflicts"]
    assert listed[0]["your_part"] == "decides" and len(listed[0]["choices"]) == 4
    stranger = team.web.rest(arbiter.headers, "resolve_conflict", conflict=said["conflict"], choice="sequence", first=1)
    assert stranger[0] == 422 and "may name the agents" in stranger[1]["error"]
    done = team.tool(arbiter, "resolve_conflict", conflict=said["conflict"], choice="sequence", reason="left first")
    assert done["state"] == "decided" and f"agent {team.holder.agent_id} goes first" in done["decision"]
    status, answer = team.web.rest(arbiter.headers, "resolve_conflict", conflict=said["conflict"], choice="fork")
    assert status == 422 and "was decided by" in answer["error"]


def test_a_run_that_decides_moves_nothing_else(team):
    said = team.refused()
    arbiter = team.arbiter_runs()
    team.tool(arbiter, "resolve_conflict", conflict=said["conflict"], choice="fork")
    head = fresh(team.parent).head
    end(arbiter)
    parent = fresh(team.parent)
    assert (parent.state, parent.head, parent.next_mode) == (AgentState.WAITING, head, "")
    assert parent.issue.is_open and Nudge.objects.get(agent=parent, is_open=True).decision["code"] == "children"


def test_a_decision_in_the_report_counts_like_the_tool(team):
    row_id = team.refused()["conflict"]
    arbiter = team.arbiter_runs()
    order = [team.requester.agent_id]
    said = ({"conflict": row_id, "choice": "sequence", "order": order, "reason": "smaller"},)
    outcome = Outcome(kind=OutcomeKind.DONE, summary="decided", resolutions=said)
    result = Result(outcome=outcome, head=team.parent.base, changed=False)
    assert executions.end(
        arbiter.execution_id, token=arbiter.fence, state=State.SUCCEEDED, reason="done", result=result
    )
    from coordinator.ending import outcomes

    outcomes.apply(arbiter.execution_id)
    row = team.conflict()
    assert (row.choice, row.order, row.decided_by, row.words) == (
        "sequence",
        [team.requester.agent_id, team.holder.agent_id],
        team.parent.stream,
        "smaller",
    )


def test_a_report_decides_no_conflicts_of_others(team):
    row_id = team.refused()["conflict"]
    with pytest.raises(NotAllowedError, match="not yours"):
        conflicts.decide(row_id, choice="fork", actor=team.holder.agent.stream)
    with pytest.raises(NotAllowedError, match="not yours"):
        conflicts.decide(row_id, choice="fork", actor="agent:x")
    stranger = running(make_agent(Path(team.parent.repository.source), title="Another"))
    with pytest.raises(NotAllowedError, match="not yours"):
        conflicts.decide(row_id, choice="fork", actor=stranger.agent.stream)
    assert team.conflict().state == "open"


def test_a_run_that_ends_without_a_decision_leaves_the_default(team):
    team.refused()
    arbiter = team.arbiter_runs()
    end(arbiter, OutcomeKind.FAILED, state=State.FAILED)
    assert (fresh(team.parent).state, fresh(team.parent).attempts) == (AgentState.WAITING, 0), (
        fresh(team.parent).decision,
        Conflict.objects.values(),
        Execution.objects.values("created_at", "mode"),
    )
    resolutions.advance_all()
    row = team.conflict()
    assert (row.state, row.choice, row.decided_by) == ("decided", "sequence", "default")


def test_sequence_interrupts_the_second_keeps_its_work_and_starts_it_after_the_first(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="sequence", actor=team.parent.stream)
    resolutions.advance_all()
    second = Execution.objects.get(pk=team.requester.execution_id)
    assert second.stop_reason == "", "it has time to end by itself"
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    interrupted(team.requester)
    agent = fresh(team.requester)
    assert (agent.state, agent.attempts) == (AgentState.QUEUED, 0)
    assert (
        agent.decision["code"] == "conflict" and f"agent {team.holder.agent_id} comes first" in agent.decision["reason"]
    )
    assert dispatch.decide_again(agent.pk).code == "conflict", "and nothing but its turn starts it"
    end(team.holder)
    resolutions.advance_all()
    agent = fresh(team.requester)
    assert agent.execution_id != team.requester.execution_id and agent.decision["answer"] == "admitted"
    assert team.conflict().state == "carried-out"
    told = Message.objects.filter(agent=agent).order_by("pk").last()
    assert f"Agent {agent.pk}: go on. Agent {team.holder.agent_id} is done" in told.post.text
    assert invariants.violations() == []


def test_who_asked_may_go_first_and_starts_when_the_holder_has_stopped(team):
    row_id = team.refused()["conflict"]
    end(team.requester, OutcomeKind.BLOCKED)
    order = [team.requester.agent_id]
    conflicts.decide(row_id, choice="sequence", order=order, actor=team.parent.stream)
    dispatch.decide_again(team.requester.agent_id)
    resolutions.advance_all()
    assert fresh(team.requester).decision["code"] == "conflict", "the holder has still time to end by itself"
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    interrupted(team.holder)
    assert fresh(team.holder).decision["code"] == "conflict"
    resolutions.advance_all()
    assert fresh(team.requester).decision["answer"] == "admitted"
    resolutions.advance_all()
    assert dispatch.decide_again(team.holder.agent_id).code == "conflict", "it is the second"
    first = claimed(fresh(team.requester))
    assert team.tool(first, "acquire_lock", path=PATH)["granted"]
    end(first)
    resolutions.advance_all()
    assert fresh(team.holder).decision["answer"] == "admitted" and team.conflict().state == "carried-out"


def test_the_default_is_taken_when_nobody_decides_in_time(team):
    team.refused()
    resolutions.advance_all()
    assert team.conflict().state == "open"
    past(team.conflict(), default_at=True)
    resolutions.advance_all()
    row = team.conflict()
    assert (row.state, row.choice, row.order, row.decided_by) == (
        "decided",
        "sequence",
        [team.holder.agent_id, team.requester.agent_id],
        "default",
    )


@pytest.mark.parametrize("why", ["paused", "blocked", "held"])
def test_an_arbiter_that_cannot_run_is_not_waited_for(team, why):
    if why == "paused":
        control.pause(f"agent:{team.parent.pk}", actor="cli:me")
    elif why == "held":
        from coordinator.operating import holds

        holds.set_hold(team.parent.issue_id, repository_id=team.parent.repository_id, held=True, actor="cli:me")
    else:
        Agent.objects.filter(pk=team.parent.pk).update(state=AgentState.BLOCKED)
    team.refused()
    assert "conflict.no-arbiter" in kinds(team.requester.agent)
    resolutions.advance_all()
    assert team.conflict().decided_by == "default"


def test_release_breaks_the_lock_after_a_while_and_the_stale_holder_is_found(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="release", actor=team.parent.stream, reason="small change")
    resolutions.advance_all()
    assert grid_locks.held(execution_id=team.holder.execution_id), "it was asked first"
    asked = Message.objects.filter(agent_id=team.holder.agent_id).order_by("pk").last()
    assert "release_lock" in asked.post.text
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    assert not grid_locks.held(execution_id=team.holder.execution_id)
    assert team.tool(team.requester, "acquire_lock", path=PATH)["granted"]
    assert grid_locks.stale_writes(team.holder.execution_id, [PATH]), "what it writes there now is refused"
    assert team.conflict().state == "carried-out"


def test_a_holder_that_releases_by_itself_ends_the_waiting_at_once(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="release", actor=team.parent.stream)
    assert team.tool(team.holder, "release_lock", path=PATH)["released"]
    resolutions.advance_all()
    assert team.conflict().state == "carried-out"
    assert not Event.objects.filter(kind="lock.broken").exists()


def test_a_lock_that_became_free_before_a_decision_ends_the_conflict(team):
    team.refused()
    assert team.tool(team.holder, "release_lock", path=PATH)["released"]
    resolutions.advance_all()
    row = team.conflict()
    assert (row.state, row.reason, row.waiter_id) == ("cancelled", "the lock is free", None)
    assert Thread.objects.get(pk=row.thread_id).state == "closed"


def test_blocked_because_of_a_conflict_waits_for_its_end_instead_of_a_person(team):
    row_id = team.refused()["conflict"]
    end(team.requester, OutcomeKind.BLOCKED)
    agent = fresh(team.requester)
    assert (agent.state, agent.decision["code"]) == (AgentState.QUEUED, "conflict")
    conflicts.decide(row_id, choice="fork", actor=team.parent.stream)
    resolutions.advance_all()
    assert fresh(team.requester).decision["answer"] == "admitted"
    assert conflict_rows.apart(agent.pk) == {team.holder.agent_id: [PATH]}
    assert conflict_rows.apart(team.holder.agent_id) == {agent.pk: [PATH]}
    again = claimed(fresh(team.requester))
    said = team.tool(again, "acquire_lock", path=PATH)
    assert (said["granted"], said["fork"]) == (True, True), "although the holder still has it"
    assert not team.tool(again, "acquire_lock", path=PATH, mode="read").get("conflict")


@pytest.mark.parametrize("is_told", [False, True])
def test_who_gives_up_for_a_conflict_that_is_over_by_then_goes_on_unless_it_knew(team, is_told):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="sequence", actor=team.parent.stream)
    end(team.holder)
    resolutions.advance_all()
    assert team.conflict().state == "carried-out", "and its run was not stopped: there was nobody to wait for"
    if is_told:
        assert "go on" in json.dumps(team.tool(team.requester, "read_inbox"))
    end(team.requester, OutcomeKind.BLOCKED)
    agent = fresh(team.requester)
    assert agent.state == (AgentState.BLOCKED if is_told else AgentState.QUEUED)
    assert is_told or agent.decision["answer"] == "admitted"


def test_who_held_the_files_and_gives_up_is_for_a_person(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="release", actor=team.parent.stream)
    end(team.holder, OutcomeKind.BLOCKED)
    assert fresh(team.holder).state == AgentState.BLOCKED


def test_what_two_may_both_change_is_not_free_of_a_third(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="fork", actor=team.parent.stream)
    third = running(make_child(team.parent, title="Third"))
    assert team.tool(third, "acquire_lock", path="docs")["granted"]
    assert team.tool(team.requester, "acquire_lock", path=PATH).get("fork")
    assert not team.tool(team.requester, "acquire_lock", path=".")["granted"], "more than was decided about"
    assert team.tool(team.holder, "release_lock", path=PATH)["released"]
    assert team.tool(third, "acquire_lock", path=PATH)["granted"]
    assert not team.tool(team.requester, "acquire_lock", path=PATH)["granted"], "a third one has it now"
    assert team.tool(team.requester, "acquire_lock", path=PATH, wait=True)["ticket"]


def test_a_released_lock_goes_to_who_asked_for_it_and_not_back_to_who_writes_most(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="release", actor=team.parent.stream)
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    assert team.conflict().state == "carried-out"
    assert [lock.pattern for lock in grid_locks.held(execution_id=team.requester.execution_id)] == [PATH]
    assert not team.tool(team.holder, "acquire_lock", path=PATH)["granted"]


def test_nobody_waits_for_one_whose_nudge_was_refused(team):
    row_id = team.refused()["conflict"]
    conflicts.decide(row_id, choice="sequence", actor=team.parent.stream)
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    interrupted(team.requester)
    end(team.holder, OutcomeKind.FAILED, state=State.FAILED)
    first = fresh(team.holder)
    assert first.state == AgentState.QUEUED
    Nudge.objects.filter(agent=first).update(is_open=False, answer="refused")
    Agent.objects.filter(pk=first.pk).update(decision={"answer": "refused", "code": "depth", "reason": "too deep"})
    resolutions.advance_all()
    assert fresh(team.requester).decision["answer"] == "admitted"


def merge_of(team: Team) -> Conflict:
    """A merge between the two that the parent is to do; nobody has been told yet."""
    detail = {"ours": "a" * 40, "theirs": "b" * 40, "plan": None}
    row, _ = conflict_rows.open_row(
        Kind.MERGE, requester=team.requester.agent, holder=team.holder.agent, patterns=[PATH], detail=detail
    )
    end(team.requester, OutcomeKind.FAILED, state=State.FAILED)
    control.pause(f"agent:{team.parent.pk}", actor="cli:me")
    return conflicts.decide(row.pk, choice="fork", actor="cli:me")


def test_a_merge_is_given_back_by_an_arbiter_that_does_not_come_to_it(team):
    merge_of(team)
    resolutions.advance_all()
    row, arbiter = team.conflict(), fresh(team.parent)
    assert (row.step >= 2, row.waiter_id) == (True, None), "its work is tried again without the arbiter"
    assert (arbiter.conflict, arbiter.next_mode) == ({}, "")


def test_another_decision_takes_a_merge_back_that_was_handed_over(team):
    row = merge_of(team)
    assert resolutions._act(row.pk) is not None
    assert fresh(team.parent).conflict["commit"] == "a" * 40
    conflicts.decide(row.pk, choice="merge_plan", order=[team.requester.agent_id], actor="cli:me")
    arbiter = fresh(team.parent)
    assert (arbiter.conflict, arbiter.next_mode) == ({}, "")


def test_a_second_merge_does_not_replace_the_first(team):
    row = merge_of(team)
    mine = {"paths": ["x"], "commit": "c" * 40}
    Agent.objects.filter(pk=team.parent.pk).update(conflict=mine)
    resolutions.advance_all()
    assert fresh(team.parent).conflict == mine and team.conflict().pk == row.pk


def test_conflicts_that_stand_for_long_do_not_keep_the_others_from_their_turn(team, monkeypatch):
    monkeypatch.setattr(resolutions, "AT_ONCE", 1)
    conflicts.decide(team.refused()["conflict"], choice="fork", actor=team.parent.stream)
    for _ in range(3):
        resolutions.advance_all()
    third = make_child(team.parent, title="Third")
    later = conflicts.from_overlap(third, team.holder.agent, patterns=["src"])
    past(later, default_at=True)
    resolutions.advance_all()
    assert Conflict.objects.get(pk=later.pk).decided_by == "default"


def test_a_decision_before_anybody_was_told_is_told_all_the_same(team):
    third = make_child(team.parent, title="Third")
    row = conflicts.from_overlap(third, team.holder.agent, patterns=["src"])
    assert row.thread_id is None
    conflicts.decide(row.pk, choice="fork", actor="cli:me", reason="both are small")
    told = Message.objects.filter(agent_id=team.holder.agent_id).order_by("pk").last()
    assert told is not None and "both are small" in told.post.text


def test_a_run_for_conflicts_does_not_swallow_what_children_ask_for(team):
    UpgradeRequest.objects.create(agent=team.requester.agent, wish={}, reason="I need more")
    team.refused()
    arbiter = team.arbiter_runs()
    team.tool(arbiter, "resolve_conflict", conflict=team.conflict().pk, choice="fork")
    end(arbiter)
    parent = fresh(team.parent)
    assert parent.decision["mode"] == "resume", parent.decision


@pytest.mark.parametrize("who", ["requester", "holder"])
def test_cancelled_agents_take_their_conflicts_with_them(team, who):
    team.refused()
    run = getattr(team, who)
    control.cancel(run.agent_id, actor="cli:me")
    resolutions.advance_all()
    row = team.conflict()
    assert (row.state, row.waiter_id) == ("cancelled", None) and f"agent {run.agent_id} is abandoned" in row.reason


def test_an_operator_decides_by_command_and_decides_otherwise_later(team, capsys):
    row_id = team.refused()["conflict"]

    def command(*args: str) -> dict[str, Any]:
        out = io.StringIO()
        call_command("conflict", *args, "--json", stdout=out)
        return json.loads(out.getvalue())

    out = io.StringIO()
    call_command("conflict", "list", stdout=out)
    for run in (team.requester, team.holder):
        assert f"agent {run.agent_id} ({run.agent.path})" in out.getvalue()
    assert f"agent {team.parent.pk} ({team.parent.path})" in out.getvalue()
    (listed,) = command("list")["conflicts"]
    assert (listed["id"], listed["state"], listed["arbiter_id"]) == (row_id, "open", team.parent.pk)
    done = command("decide", str(row_id), "sequence", "--first", str(team.requester.agent_id), "--reason", "now")
    assert done["conflict"]["order"] == [team.requester.agent_id, team.holder.agent_id]
    with pytest.raises(NotAllowedError, match="was decided by cli:"):
        conflicts.decide(row_id, choice="fork", actor=team.parent.stream)
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    assert Execution.objects.get(pk=team.holder.execution_id).stop_reason == "interrupted"
    interrupted(team.holder)
    assert fresh(team.holder).decision["code"] == "conflict"
    again = command("decide", str(row_id), "fork")["conflict"]
    assert (again["choice"], again["decisions"], again["waiter_id"]) == ("fork", 2, None)
    resolutions.advance_all()
    dispatch.decide_again(team.holder.agent_id)
    assert fresh(team.holder).decision["answer"] == "admitted", (
        "who waited by the first decision is freed by the second"
    )
    shown = command("show", str(row_id))["conflict"]
    assert [done for _, done in shown["steps"]] == [True, False]
    acts = AuditEntry.objects.filter(action="conflict_decide", target=f"conflict:{row_id}").order_by("pk")
    assert [row.detail["choice"] for row in acts] == ["sequence", "fork"]
    assert acts[1].detail["before"]["choice"] == "sequence"


def test_bad_decisions_are_refused_with_words(team):
    row_id = team.refused()["conflict"]
    with pytest.raises(InvalidInputError, match="choose one of release, sequence, fork, merge_plan"):
        conflicts.decide(row_id, choice="war", actor="cli:me")
    with pytest.raises(CommandError, match="no conflict 999"):
        call_command("conflict", "show", "999")
    with pytest.raises(CommandError, match="say how"):
        call_command("conflict", "decide", str(row_id))


def test_agents_of_two_trees_are_for_people(web, repository):
    holder, requester = running(make_agent(repository)), running(make_agent(repository, title="Another"))
    team = Team(web=web, parent=holder.agent, holder=holder, requester=requester)
    team.refused()
    row = team.conflict()
    assert row.arbiter_id is None
    conflicts.decide(row.pk, choice="sequence", actor="admin:ann")
    assert team.conflict().decided_by == "admin:ann"


def test_an_overlap_has_the_later_one_wait_until_it_is_decided(team):
    third = make_child(team.parent, title="Third")
    row = conflicts.from_overlap(third, team.holder.agent, patterns=["src/*.py"])
    dispatch.nudge(third.pk, source=Source.PARENT)
    assert fresh(third).decision["code"] == "conflict"
    resolutions.advance_all()
    conflicts.decide(row.pk, choice="fork", actor=team.parent.stream)
    resolutions.advance_all()
    assert fresh(third).decision["answer"] == "admitted"


def test_footprints_that_overlap_are_for_the_arbiter_where_the_policy_says_so(web, tmp_path):
    files = {PATH: "one\n", ".agentgrid.yml": "version: 1\nfootprints: arbiter\n"}
    root = running(make_agent(make_git_repository(tmp_path / "app", files)))
    one = running(make_child(root.agent, title="Left", footprint=["src"]))
    two = make_child(root.agent, title="Right", footprint=["src/a.py", "docs"])
    end(root)
    dispatch.nudge(two.pk, source=Source.PARENT)
    assert fresh(two).decision["code"] == "footprint"
    resolutions.advance_all()
    resolutions.advance_all()
    row = Conflict.objects.get()
    assert (row.kind, row.requester_id, row.holder_id, row.arbiter_id) == (
        "overlap",
        two.pk,
        one.agent_id,
        root.agent_id,
    )
    assert dispatch.decide_again(two.pk).code == "conflict"
    conflicts.decide(row.pk, choice="fork", actor=root.agent.stream)
    resolutions.advance_all()
    assert fresh(two).decision["answer"] == "admitted", "both work on it now"


def test_a_circle_of_waiting_runs_is_for_the_arbiter(team):
    third = "docs"
    assert team.tool(team.holder, "acquire_lock", path=PATH)["granted"]
    assert team.tool(team.requester, "acquire_lock", path=third)["granted"]
    assert "ticket" in team.tool(team.holder, "acquire_lock", path=third, wait=True)
    said = team.tool(team.requester, "acquire_lock", path=PATH, wait=True)
    assert said["code"] == "deadlock"
    row = team.conflict()
    assert (row.kind, row.pk, row.requester_id) == ("deadlock", said["conflict"], team.requester.agent_id)
    event = grid_events.latest_events(kinds=["lock.deadlock"], limit=1)[0]
    assert not conflicts.from_deadlock(event), "the tool's call has opened it"
    past(row, default_at=True)
    resolutions.advance_all()
    past(team.conflict(), act_at=True)
    resolutions.advance_all()
    interrupted(team.requester)
    grid_locks.sweep()
    held = {lock.pattern for lock in grid_locks.held(execution_id=team.holder.execution_id)}
    assert held == {PATH, third}, "the circle is broken: the other one goes on"


def test_a_circle_that_a_sweep_found_is_for_the_arbiter_as_well(team):
    assert team.tool(team.holder, "acquire_lock", path=PATH)["granted"]
    assert team.tool(team.requester, "acquire_lock", path="docs")["granted"]
    circle = [str(team.requester.execution_id), str(team.holder.execution_id)]
    body = {"path": PATH, "reason": "it would never end", "count": 1, "locks": [], "circle": circle}
    stream = f"execution:{team.requester.execution_id}"
    event = EventView(**{**_view(stream), "kind": "lock.deadlock", "body": body})
    assert conflicts.from_deadlock(event) and not conflicts.from_deadlock(event)
    assert team.conflict().holder_id == team.holder.agent_id


def _view(stream: str) -> dict[str, Any]:
    (event,) = grid_events.read_stream(stream, limit=1)
    return {item.name: getattr(event, item.name) for item in fields(event)}


def test_of_refusals_at_the_same_moment_one_opens_and_the_others_join(team):
    assert team.tool(team.holder, "acquire_lock", path=PATH)["granted"]
    held = grid_locks.held(execution_id=team.holder.execution_id)
    found = together(RIVALS, lambda n: conflicts.from_lock(team.requester.agent, held, path=f"{PATH}{n}", reason="x"))
    assert [type(one) for one in found] == [Conflict] * RIVALS, found
    row = team.conflict()
    assert (row.joined, len(row.patterns)) == (RIVALS - 1, RIVALS)
    assert kinds(team.requester.agent).count("conflict.announced") == 1
    assert Thread.objects.filter(kind="conflict").count() == 1
    assert Nudge.objects.filter(agent=team.parent, source="conflict").count() == 1


def test_of_decisions_and_workers_at_the_same_moment_one_counts_and_each_step_is_done_once(team):
    row_id = team.refused()["conflict"]
    choices = ["sequence", "release"] * RIVALS
    said = together(RIVALS, lambda n: conflicts.decide(row_id, choice=choices[n], actor=team.parent.stream))
    assert sum(isinstance(one, Conflict) for one in said) == 1, said
    conflicts.decide(row_id, choice="sequence", actor="cli:me")
    past(team.conflict(), act_at=True)
    together(RIVALS, lambda _: resolutions.advance(row_id))
    steps = Event.objects.filter(stream=team.requester.agent.stream, kind="conflict.step").values_list("body__step")
    assert [step for (step,) in steps] == ["stop"]
    interrupted(team.requester)
    end(team.holder)
    together(RIVALS, lambda _: resolutions.advance(row_id))
    steps = Event.objects.filter(stream=team.requester.agent.stream, kind="conflict.step").values_list("body__step")
    assert [step for (step,) in steps.order_by("seq")] == ["stop", "free"]
    assert kinds(team.requester.agent).count("conflict.carried-out") == 1
    assert invariants.violations() == []


def test_the_doctor_sees_a_conflict_that_nobody_decides(team):
    team.refused()
    Conflict.objects.update(default_at=timezone.now() - timedelta(minutes=4))
    found = [one for one in invariants.violations() if "conflict" in one.subject]
    assert len(found) == 1 and "open" in found[0].detail
    resolutions.advance_all()
    assert not [one for one in invariants.violations() if "conflict" in one.subject]


def test_an_operator_decides_in_the_admin(team, client, django_user_model, settings, state_dir):
    settings.STATIC_ROOT = str(state_dir)
    client.force_login(django_user_model.objects.create_superuser("ann"))
    row_id = team.refused()["conflict"]
    place = reverse("admin:coordinator_conflict_changelist")
    wish = {"action": "sequence", "_selected_action": [row_id]}
    asked = client.post(place, wish)
    assert asked.status_code == 200 and team.conflict().state == "open", "nothing before the confirmation"
    client.post(place, {**wish, "confirmed": "yes", "first": team.requester.agent_id, "reason": "small"})
    row = team.conflict()
    assert (row.decided_by, row.words, row.order[0]) == ("admin:ann", "small", team.requester.agent_id)
    shown = client.get(reverse("admin:coordinator_conflict_change", args=[row_id])).content.decode()
    assert "small" in shown and "goes first" in shown
    assert AuditEntry.objects.filter(actor="admin:ann", action="conflict_decide").exists()


def statements() -> int:
    with CaptureQueriesContext(connection) as asked:
        assert resolutions.advance_all() == 0
    return len(asked)


def stand(team: Team, count: int) -> None:
    """So many further conflicts about which nothing is due: every second one is open, the others are forks."""
    row = team.conflict() if Conflict.objects.count() == 1 else Conflict.objects.order_by("pk")[0]
    later = timezone.now() + timedelta(hours=1)
    told = {"announced_at": timezone.now(), "default_at": later, "thread_id": row.thread_id, "patterns": [PATH]}
    for number in range(count):
        kind = {"state": "decided", "choice": "fork", "order": [row.arbiter_id], "step": 1} if number % 2 else {}
        Conflict.objects.create(
            kind=row.kind,
            repository=row.repository,
            requester_id=row.requester_id,
            holder_id=row.holder_id,
            arbiter_id=row.arbiter_id,
            pair=f"of a test {Conflict.objects.count()}",
            **told,
            **kind,
        )


def test_conflicts_about_which_nothing_is_due_cost_a_few_statements_together(team):
    assert statements() == 2
    team.refused()
    one = statements()
    stand(team, 49)
    assert statements() == one <= 6
    open_one = Conflict.objects.filter(state="open").order_by("pk").last()
    past(open_one, default_at=True)
    assert conflict_situations.movable(limit=200) == [open_one.pk], "it alone costs more"
    resolutions.advance_all()
    assert Conflict.objects.get(pk=open_one.pk).decided_by == "default"


@pytest.mark.parametrize(
    "name", ["docs/two  blanks.md", "<!-- a -->.md", f"{'long' * 10}/" * 9 + "name.md", "soft\u00adhyphen.md"]
)
def test_a_name_is_kept_to_the_letter_or_its_lock_would_look_free(team, name):
    """What is made nice for people is another path, which nobody has locked."""
    assert team.tool(team.holder, "acquire_lock", path=name)["granted"]
    assert not team.tool(team.requester, "acquire_lock", path=f"./{name}")["granted"]
    resolutions.advance_all()
    row = team.conflict()
    assert (row.state, row.patterns) == ("open", [name])
    conflicts.decide(row.pk, choice="release", actor=team.parent.stream)
    past(row, act_at=True)
    resolutions.advance_all()
    assert [lock.pattern for lock in grid_locks.held(execution_id=team.requester.execution_id)] == [name]


def test_who_is_overtaken_by_one_that_is_over_at_once_opens_its_own(team):
    """The policy decides merges in the same breath: of the faster one there may be nothing left to join."""
    refusals = iter([IntegrityError("somebody was faster")])

    def faster(sender: Any, **_: Any) -> None:
        for refusal in refusals:
            raise refusal

    pre_save.connect(faster, sender=Conflict)
    try:
        row = conflicts.from_overlap(team.requester.agent, team.holder.agent, patterns=["src"])
    finally:
        pre_save.disconnect(faster, sender=Conflict)
    assert team.conflict() == row and kinds(team.requester.agent) == ["conflict.opened"]


def test_a_wish_for_everything_is_brought_before_a_few_holders_at_once(team, monkeypatch):
    monkeypatch.setattr(conflicts, "_HOLDERS", 2)
    others = [running(make_child(team.parent, title=f"Part {number}")) for number in range(3)]
    for number, run in enumerate(others):
        assert team.tool(run, "acquire_lock", path=f"part-{number}")["granted"]
    assert not team.tool(team.requester, "acquire_lock", path=".")["granted"]
    assert sorted(Conflict.objects.values_list("holder_id", flat=True)) == [run.agent_id for run in others[:2]]


@pytest.mark.parametrize("by", ["another decision", "a step"])
def test_nobody_is_parked_for_a_plan_that_has_moved_on(team, by, monkeypatch):
    """Nothing would let it go any more: the step that would is done, or is none of the new decision's."""
    row_id = team.refused()["conflict"]
    mine = team.requester.agent_id
    conflicts.decide(row_id, choice="merge_plan", order=[mine], actor="cli:me")
    seen = conflict_rows.merge_to_wait_for(mine)
    if by == "a step":
        Conflict.objects.filter(pk=row_id).update(step=2)
    else:
        conflicts.decide(row_id, choice="fork", actor="cli:me")
    monkeypatch.setattr(conflict_rows, "merge_to_wait_for", lambda _: seen)  # as it was a moment ago
    result = Result(head=team.requester.agent.base, changed=False)
    ended = {"token": team.requester.fence, "state": State.SUCCEEDED, "reason": "done", "result": result}
    assert executions.end(team.requester.execution_id, **ended)
    run = grid.get_execution(team.requester.execution_id)
    assert not setbacks.park(team.requester.agent, run, for_merge=True)
    assert team.conflict().waiter_id is None
