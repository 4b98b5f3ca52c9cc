"""Ends of runs: whatever happens while one is applied, it is applied in the end, once, and not past a person's stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator import invariants, sweeps
from coordinator.agents import integration
from coordinator.ending import faults, outcomes, reviewing, setbacks
from coordinator.launching import dispatch
from coordinator.models import Agent, Envelope, Nudge
from coordinator.operating import control, holds
from coordinator.public_types import AgentState, Source
from coordinator.trees import reports
from grid import public_code as grid_code
from grid import public_events as grid_events
from grid.models import Execution
from grid.public_types import ChildProposal
from tests.factories import git, make_agent, make_child
from tests.integration.coordinator.agent_runs import Running, running
from tests.integration.coordinator.conftest import GridHere
from tests.integration.coordinator.ends_here import commit, finish, published, stored

pytestmark = pytest.mark.django_db(transaction=True)
PART = ChildProposal(key="a", title="A part", body="")


def right_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], object]) -> None:
    """Have an act committed by somebody else at the moment at which a function has returned, the first time."""
    real, todo = getattr(module, name), [act]

    def then(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        while todo:
            todo.pop()()
        return found

    monkeypatch.setattr(module, name, then)


def cancel(agent: Agent) -> None:
    control.cancel(agent.pk, actor="cli:ann")


def pause(agent: Agent) -> None:
    control.pause("fleet", actor="cli:ann")


def hold(agent: Agent) -> None:
    holds.set_hold(agent.issue_id, repository_id=agent.repository_id, held=True, actor="cli:ann")


def go_on(agent: Agent) -> None:
    control.unpause("fleet", actor="cli:ann")
    holds.set_hold(agent.issue_id, repository_id=agent.repository_id, held=False, actor="cli:ann")


# --- stops by people while an end is applied ---------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [cancel, pause, hold])
def test_nothing_is_published_for_who_was_stopped_while_its_end_was_applied(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[Agent], None]
) -> None:
    run = running(make_agent(repository))
    head = commit(run, tmp_path, "two\n")
    finish(run, head)
    right_after(monkeypatch, reviewing, "check", lambda: stop(run.agent))
    outcomes.apply(run.execution_id)
    assert published(repository, run.agent) == ""
    if stop is cancel:
        assert run.agent.state == AgentState.ABANDONED
        return
    assert (run.agent.state, run.agent.is_applied) == (AgentState.QUEUED, False)
    go_on(run.agent)
    outcomes.apply(run.execution_id)
    assert (run.agent.state, published(repository, run.agent)) == (AgentState.DONE, head)
    assert invariants.violations() == []


@pytest.mark.parametrize("stop", [cancel, pause, hold])
def test_its_parents_branch_gets_nothing_of_a_child_that_was_stopped_while_its_end_was_applied(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[Agent], None]
) -> None:
    parent = make_agent(repository)
    Agent.objects.filter(pk=parent.pk).update(
        state=AgentState.WAITING,
        base=grid_code.upstream_head(repository=integration.key(parent), branch="main"),
    )
    parent.refresh_from_db()
    run = running(make_child(parent))
    finish(run, commit(run, tmp_path, "two\n"))
    right_after(monkeypatch, reviewing, "check", lambda: stop(run.agent))
    outcomes.apply(run.execution_id)
    assert stored(parent) == parent.base, "made, as its children grow from it, and nothing merged"
    assert run.agent.state == (AgentState.ABANDONED if stop is cancel else AgentState.QUEUED)


@pytest.mark.parametrize("stop", [pause, hold])
def test_who_was_stopped_during_the_push_is_not_done_before_that_ends(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[Agent], None]
) -> None:
    """What is pushed cannot be taken back; all that follows waits."""
    run = running(make_agent(repository))
    head = commit(run, tmp_path, "two\n")
    finish(run, head)
    right_after(monkeypatch, grid_code, "publish", lambda: stop(run.agent))
    outcomes.apply(run.execution_id)
    assert (published(repository, run.agent), run.agent.state) == (head, AgentState.QUEUED)
    go_on(run.agent)
    outcomes.apply(run.execution_id)
    assert run.agent.state == AgentState.DONE


# --- ends that cannot be applied ---------------------------------------------------------------------------------------


def again(run: Running, folder: Path, text: str) -> Running:
    """Have a run's work accepted on its branch, and run its agent once more, from where it began."""
    integration.keep(run.agent, commit(run, folder, text))
    finish(run, "")
    Execution.objects.filter(pk=run.execution_id).update(state="failed")
    outcomes.apply(run.execution_id)
    Agent.objects.filter(pk=run.agent_id).update(head="", not_before=None)
    return running(run.agent)


def test_a_split_whose_work_conflicts_with_its_own_branch_is_resolved_like_any_other(
    repository: Path, tmp_path: Path
) -> None:
    run = again(running(make_agent(repository)), tmp_path, "theirs\n")
    head = commit(run, tmp_path, "mine\n")
    finish(run, head, children=(PART,))
    outcomes.apply(run.execution_id)
    agent = run.agent
    assert (agent.state, agent.conflict.get("paths")) == (AgentState.QUEUED, ["app.txt"])
    assert agent.execution is not None and agent.execution.mode == "resolve"
    assert not agent.is_splitting


@pytest.mark.parametrize("words_fail", [False, True], ids=["told", "untold"])
def test_an_end_that_fails_each_time_is_handed_to_a_person_with_the_fault(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words_fail: bool
) -> None:
    run = running(make_agent(repository))
    finish(run, commit(run, tmp_path, "two\n"))

    def fail(*_: object) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(reviewing, "bring_together", fail)
    if words_fail:
        monkeypatch.setattr(reports, "ended", fail)
    for _ in range(faults.MAX_FAULTS - 1):
        with pytest.raises(KeyError):
            outcomes.apply(run.execution_id)
        assert (run.agent.state, run.agent.is_applied) == (AgentState.QUEUED, False)
    assert outcomes.apply(run.execution_id)
    agent = run.agent
    assert (agent.state, agent.is_applied) == (AgentState.BLOCKED, True)
    assert "a bug of ours" in agent.blocked_reason and f"refs/executions/{run.execution_id}" in agent.blocked_reason


# --- places to publish to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_finished_work_waits_for_a_repository_that_is_away(repository: Path, tmp_path: Path, left: str) -> None:
    run = running(make_agent(repository))
    head = commit(run, tmp_path, "two\n")
    finish(run, head)
    repository.rename(tmp_path / "moved")
    if left != "nothing":
        repository.mkdir()  # where its disk was mounted
    for _ in range(2):
        outcomes.apply(run.execution_id)
    assert (run.agent.state, run.agent.is_applied) == (AgentState.QUEUED, False)
    told = [event.body["why"] for event in grid_events.read_stream(run.agent.stream) if event.kind == setbacks.WAITS]
    assert len(told) == 1 and str(repository) in told[0]
    (tmp_path / "moved").rename(repository)
    outcomes.apply(run.execution_id)
    assert (run.agent.state, published(repository, run.agent)) == (AgentState.DONE, head)


def set_aside(repository: Path, folder: Path) -> Running:
    """A run whose finished work could not be published: its branch is checked out there."""
    run = running(make_agent(repository))
    finish(run, commit(run, folder, "two\n"))
    git(repository, "checkout", "-q", "-b", run.agent.branch)
    outcomes.apply(run.execution_id)
    agent = run.agent
    assert agent.state == AgentState.BLOCKED
    assert "is checked out in" in agent.blocked_reason and "without another run" in agent.blocked_reason
    return run


def retry(run: Running) -> None:
    """A person's, and the sweep after it."""
    control.retry(run.agent_id, actor="cli:ann")
    sweeps.sweep()


def test_a_retry_publishes_finished_work_and_pays_for_no_other_run(repository: Path, tmp_path: Path) -> None:
    run = set_aside(repository, tmp_path)
    git(repository, "checkout", "-q", "main")
    retry(run)
    assert (run.agent.state, Execution.objects.count()) == (AgentState.DONE, 1)
    assert git(repository, "show", f"{run.agent.branch}:app.txt") == "two"
    assert invariants.violations() == []


def test_a_retry_that_publishes_nothing_either_starts_no_run_and_the_next_one_does(
    repository: Path, tmp_path: Path
) -> None:
    run = set_aside(repository, tmp_path)
    retry(run)
    assert (run.agent.state, Execution.objects.count()) == (AgentState.BLOCKED, 1)
    assert "without another run" not in run.agent.blocked_reason
    assert not Nudge.objects.filter(agent=run.agent_id, is_open=True).exists()
    retry(run)
    assert (run.agent.state, Execution.objects.count()) == (AgentState.QUEUED, 2)


# --- ends that are not believed ----------------------------------------------------------------------------------------


def test_an_agent_that_tells_its_shim_to_stop_pays_for_each_run_and_is_quarantined(
    grid_here: GridHere, repository: Path, settings: Any
) -> None:
    settings.GRID_HEARTBEAT_SECONDS = 0.1  # how long its ends are in doubt goes by this
    agent = make_agent(repository, command="echo x >> README.md; kill -TERM $PPID; sleep 600")
    dispatch.nudge(agent.pk, source=Source.OPERATOR)
    grid_here.until(lambda: Agent.objects.get(pk=agent.pk).state == AgentState.FAILED, timeout=90)
    runs = Execution.objects.filter(subject=agent.subject).order_by("created_at")
    assert [run.state for run in runs] == ["lost", "lost", "quarantined"]
    assert Envelope.objects.get(key=f"tree:{agent.pk}").executions_spent == 3
