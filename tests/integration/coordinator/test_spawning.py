"""Children that an agent asks for while it runs: made once, within the caps, adopted whatever crashes, waited for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from coordinator import sweeps
from coordinator.ending import outbox
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.operating import control
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from coordinator.trees import spawning
from grid.public_types import ChildProposal, OutcomeKind, State
from tests.factories import make_agent, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.models import Operation

pytestmark = pytest.mark.django_db(transaction=True)


def child(key: str, **more: object) -> ChildProposal:
    return ChildProposal(**{"key": key, "title": f"Part {key}", "body": "all of it", **more})


def ask(run: Running, *children: ChildProposal, **caps: int) -> spawning.Asked:
    return spawning.ask(run.agent_id, execution_id=run.execution_id, fence=run.fence, children=children, **caps)


@pytest.fixture
def run(tmp_path: Path) -> Running:
    return running(make_agent(make_git_repository(tmp_path / "app")))


def children_of(run: Running) -> list[Agent]:
    return list(Agent.objects.filter(parent_id=run.agent_id).select_related("issue").order_by("pk"))


def test_children_are_made_and_nudged_while_the_parent_runs(run):
    asked = ask(run, child("b", blocked_by=("a",), acceptance=("true",), profile="micro"), child("a"))
    assert (asked.new, asked.known) == (("b", "a"), ())
    outbox.drain(run.agent.repository_id)
    b, a = sorted(children_of(run), key=lambda row: row.issue.title, reverse=True)
    assert [a.issue.title, b.issue.title, b.issue.body] == ["Part a", "Part b", "all of it"]
    assert (a.depth, a.state, b.state) == (1, AgentState.QUEUED, AgentState.NEW)
    assert b.decision["code"] == "blockers" and b.spec["acceptance"] == ["true"] and b.profile == "micro"
    assert not run.agent.is_splitting and run.agent.state == AgentState.QUEUED


def test_the_same_keys_again_change_nothing_even_from_the_run_after(run):
    ask(run, child("a"))
    again = ask(run, child("a", title="Another title"), child("c"))
    assert (again.new, again.known) == (("c",), ("a",))
    outbox.drain(run.agent.repository_id)
    end(run, OutcomeKind.FAILED, state=State.FAILED)
    Agent.objects.filter(pk=run.agent_id).update(not_before=None)
    second = running(run.agent)
    assert ask(second, child("a")).known == ("a",)
    later = ask(second, child("d", blocked_by=("a",)))
    outbox.drain(run.agent.repository_id)
    assert later.new == ("d",)
    titles = {row.issue.title: row for row in children_of(run)}
    assert sorted(titles) == ["Part a", "Part c", "Part d"]
    blockers = tracker.blocker_ids(titles["Part d"].issue_id)
    assert blockers == [titles["Part a"].issue_id]


def test_caps_hold_over_several_calls_and_for_the_narrower_capability(run, settings):
    settings.COORDINATOR_MAX_CHILDREN = 3
    ask(run, child("a"), child("b"))
    with pytest.raises(NotAllowedError, match="asked for 2 sub-issues beside 2, and 3 are allowed"):
        ask(run, child("c"), child("d"))
    with pytest.raises(NotAllowedError, match="2 are allowed"):
        ask(run, child("c"), max_children=2)
    with pytest.raises(NotAllowedError, match="depth 1, and 0 is the deepest"):
        ask(run, child("c"), max_levels=0)
    assert Operation.objects.filter(key__startswith="split:").count() == 2
    assert ask(run, child("c")).new == ("c",)


def test_eight_calls_at_once_stay_within_the_caps(run, settings):
    settings.COORDINATOR_MAX_CHILDREN = 5

    def one(number: int) -> int:
        try:
            return len(ask(run, child(f"a{number}"), child(f"b{number}")).new)
        except NotAllowedError:
            return 0
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(one, range(8)))
    assert made == 4 and Operation.objects.filter(key__startswith="split:").count() == 4
    outbox.drain(run.agent.repository_id)
    assert len(children_of(run)) == 4


def test_two_agents_of_one_tree_share_its_cap_on_open_agents(run, settings):
    ask(run, child("a"), child("b"))
    outbox.drain(run.agent.repository_id)
    one, other = (running(row) for row in children_of(run))
    settings.COORDINATOR_MAX_OPEN_DESCENDANTS = 5

    def spawn(who: Running) -> int:
        try:
            return len(ask(who, child("x"), child("y")).new)
        except NotAllowedError as error:
            return -("the tree may have 5" in str(error))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(spawn, [one, other])) == [-1, 2]


def test_an_agents_own_room_for_children_is_taken_by_what_is_asked_for_below_it_alone(run):
    ask(run, child("a"), child("b"))
    outbox.drain(run.agent.repository_id)
    one, other = (running(row) for row in children_of(run))
    ask(one, child("x"), child("y"), child("z"))  # nobody has made them yet
    budgets.set_limits(other.agent.stream, {"children": 1})
    assert ask(other, child("v")).new == ("v",)
    with pytest.raises(NotAllowedError, match=f"agent:{other.agent_id}: 0 of 1 .* and 1 more beside 1 that are being"):
        ask(other, child("w"))
    taken = Envelope.objects.get(key=run.agent.root_key).children_spent
    budgets.set_limits(run.agent.root_key, {"children": taken + 4})
    with pytest.raises(NotAllowedError, match=f"tree: {taken} of {taken + 4} .* and 1 more beside 4 that are being"):
        ask(one, child("w"))
    outbox.drain(run.agent.repository_id)
    assert Agent.objects.filter(parent_id__in=[one.agent_id, other.agent_id]).count() == 4


def test_a_run_that_is_over_can_ask_for_nothing(run):
    stale = Running(agent_id=run.agent_id, execution_id=run.execution_id, fence=run.fence + 1, token="")
    with pytest.raises(NotAllowedError, match="your run is over"):
        ask(stale, child("a"))
    end(run, OutcomeKind.BLOCKED)
    with pytest.raises(NotAllowedError, match="your run is over"):
        ask(run, child("a"))
    assert not Operation.objects.filter(key__startswith="split:").exists() and not run.agent.is_splitting


def test_nothing_is_begun_in_what_is_paused(run):
    control.pause(run.agent.root_key, actor="cli:test")
    with pytest.raises(NotAllowedError, match="the tree is paused"):
        ask(run, child("a"))
    control.unpause(run.agent.root_key, actor="cli:test")
    assert ask(run, child("a")).new == ("a",)


def test_done_before_the_issues_exist_still_waits_for_them(run):
    ask(run, child("a"))
    end(run)
    assert run.agent.state == AgentState.WAITING
    outbox.drain(run.agent.repository_id)
    sweeps.adopt_missed()
    assert [row.issue.title for row in children_of(run)] == ["Part a"] and not run.agent.is_splitting
    assert run.agent.state == AgentState.WAITING, "the child is under way"


def test_adoption_missed_by_a_crash_is_found_by_the_sweep(run):
    ask(run, child("a"), child("b"))
    tracker_writes.drain(run.agent.repository_id, now=run.agent.created_at.replace(year=2100))
    assert children_of(run) == []
    sweeps.adopt_missed()
    assert len(children_of(run)) == 2
    sweeps.adopt_missed()
    assert len(children_of(run)) == 2


def test_what_is_asked_for_while_others_are_adopted_is_not_forgotten(run):
    ask(run, child("a"))
    tracker_writes.drain(run.agent.repository_id, now=run.agent.created_at.replace(year=2100))
    ask(run, child("b"))
    assert not outbox.adopt_children(run.agent_id)
    assert run.agent.is_splitting
    outbox.drain(run.agent.repository_id)
    assert [row.issue.title for row in children_of(run)] == ["Part a", "Part b"]


def test_one_that_cannot_be_made_asks_a_person_when_the_run_ends(run):
    ask(run, child("a"), child("b"))
    Operation.objects.filter(key__endswith=":b").update(payload={"title": "x" * 999, "parent": "1"})
    outbox.drain(run.agent.repository_id)
    assert [row.issue.title for row in children_of(run)] == ["Part a"], "the others go on"
    assert run.agent.is_splitting
    end(run)
    sweeps.adopt_missed()
    assert run.agent.state == AgentState.BLOCKED and "could not be created" in run.agent.blocked_reason


def test_a_split_at_the_end_counts_what_was_asked_for_before(run, settings):
    settings.COORDINATOR_MAX_CHILDREN = 2
    ask(run, child("a"))
    assert spawning.complaint(run.agent, spawning.unasked(run.agent, [child("a"), child("b")])) == ""
    assert spawning.complaint(run.agent, spawning.unasked(run.agent, [child("c"), child("b")])) != ""


def test_cancelling_takes_back_what_is_not_begun(run):
    ask(run, child("a"))
    control.cancel(run.agent_id, actor="cli:test")
    outbox.drain(run.agent.repository_id)
    sweeps.adopt_missed()
    assert children_of(run) == [] and run.agent.state == AgentState.ABANDONED
