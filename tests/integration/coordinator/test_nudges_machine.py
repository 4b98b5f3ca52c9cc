"""Nudges under any order of asking, running, ending, pausing, holding, cancelling and retrying: each one gets an answer.

The machine plays a root with two children, through the real service on a real database; its hosts exist as rows only. What
is asked while something stands in the way has to be answered once that has gone: nothing is forgotten, nothing runs twice.
"""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from coordinator import invariants, sweeps
from coordinator.ending import outcomes
from coordinator.launching import dispatch
from coordinator.models import Agent, Nudge
from coordinator.operating import control
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import ENDED, AgentState, Answer, Source
from grid import executions, lifecycle
from grid.models import Execution, Host
from grid.public_types import LIVE, Outcome, OutcomeKind, Result, State
from tests.factories import make_agent, make_child, make_git_repository
from tracker import public_api as tracker

pytestmark = pytest.mark.django_db
HOST = "nowhere"
ENDS: dict[str, tuple[State, OutcomeKind | None]] = {
    "done": (State.SUCCEEDED, OutcomeKind.DONE),
    "blocked": (State.SUCCEEDED, OutcomeKind.BLOCKED),
    "failed": (State.FAILED, None),
    "lost": (State.LOST, None),
    "interrupted": (State.INTERRUPTED, None),
}
picks = st.integers(0, 2)
_names = itertools.count()


class Machine(RuleBasedStateMachine):
    """A root and its two children."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        """A repository of its own for each example."""
        repository = make_git_repository(self.folder / f"r{next(_names)}")
        root = make_agent(repository)
        self.agents = [root.pk, make_child(root, title="One").pk, make_child(root, title="Two").pk]
        Host.objects.get_or_create(name=HOST, defaults={"slots": 1_000})

    def _agent(self, pick: int) -> Agent:
        return Agent.objects.select_related("execution").get(pk=self.agents[pick])

    def _runs(self, state: State) -> list[Execution]:
        rows = Agent.objects.filter(pk__in=self.agents, execution__state=str(state)).select_related("execution")
        return [agent.execution for agent in rows.order_by("pk") if agent.execution is not None]

    @rule(pick=picks, source=st.sampled_from([Source.OPERATOR, Source.SWEEP, Source.CHILD, Source.RETRY]))
    def nudge(self, pick: int, source: Source) -> None:
        """Somebody asks for a look; the answer is there at once."""
        agent = self._agent(pick)
        before = agent.execution is not None and agent.execution.state in LIVE
        row = dispatch.nudge(agent.pk, source=source)
        assert row.answer and row.decision
        if row.answer == Answer.ADMITTED:
            assert not before and row.execution_id == self._agent(pick).execution_id

    @rule(pick=picks)
    def start(self, pick: int) -> None:
        """A host takes one of those that are queued."""
        queued = self._runs(State.QUEUED)
        row = executions.claim(queued[pick % len(queued)].pk, host=HOST) if queued else None
        if row is not None:
            lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=row.token)

    @rule(pick=picks, how=st.sampled_from(sorted(ENDS)))
    def end(self, pick: int, how: str) -> None:
        """One of the runs ends, and that is applied."""
        running = self._runs(State.RUNNING)
        if not running:
            return
        run, (state, kind) = running[pick % len(running)], ENDS[how]
        outcome = Outcome(kind=kind, summary="s") if kind is not None else None
        result = Result(outcome=outcome, head=run.spec["work"]["base"], changed=False, reason=how)
        assert executions.end(run.pk, token=run.token, state=state, reason=how, result=result)
        outcomes.apply(run.pk)

    @rule(pick=picks, is_paused=st.booleans())
    def pause(self, pick: int, is_paused: bool) -> None:
        """An agent's scope is closed or opened."""
        act = control.pause if is_paused else control.unpause
        act(f"agent:{self.agents[pick]}", actor="cli:test")

    @rule(pick=picks, is_held=st.booleans())
    def hold(self, pick: int, is_held: bool) -> None:
        """A person takes the issue, or gives it back."""
        with contextlib.suppress(Exception):  # a closed issue takes no label
            tracker.set_hold(self._agent(pick).issue_id, held=is_held)

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        """A person gives it up."""
        with contextlib.suppress(CoordinatorError):
            control.cancel(self.agents[pick], actor="cli:test")
        self._apply_what_ended()

    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        """A person takes it up again."""
        with contextlib.suppress(CoordinatorError):
            control.retry(self.agents[pick], actor="cli:test")

    @rule()
    def sweep(self) -> None:
        """Time passes: what was to be looked at later is looked at now."""
        past = timezone.now() - timedelta(seconds=1)
        Agent.objects.filter(pk__in=self.agents).update(not_before=None)
        Nudge.objects.filter(agent_id__in=self.agents, is_open=True).update(not_before=past)
        self._apply_what_ended()
        sweeps.decide_due()

    def _apply_what_ended(self) -> None:
        for agent in Agent.objects.filter(pk__in=self.agents, is_applied=False):
            outcomes.apply(agent.execution_id)

    @invariant()
    def each_nudge_is_answered(self) -> None:
        """Law 8: an answer, in words; open ones are deferred, and one at most for each agent."""
        for row in Nudge.objects.filter(agent_id__in=self.agents):
            assert row.answer and row.answered_at is not None
            if row.is_open:
                assert row.answer == Answer.DEFERRED and row.not_before is not None
        for pk in self.agents:
            assert Nudge.objects.filter(agent_id=pk, is_open=True).count() <= 1

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Who is to run and does not has an open nudge, or was refused one, or has an end that is to be applied."""
        for agent in Agent.objects.filter(pk__in=self.agents, state=AgentState.QUEUED).select_related("execution"):
            is_live = agent.execution is not None and agent.execution.state in LIVE
            last = agent.nudges.order_by("-pk").first()
            is_asked = last is not None and (last.is_open or agent.nudges.filter(is_open=True).exists())
            assert is_live or not agent.is_applied or is_asked or (last and last.answer == Answer.REFUSED), agent

    @invariant()
    def nothing_runs_twice_or_after_its_end(self) -> None:
        """Laws 1 and 10."""
        for pk in self.agents:
            live = Execution.objects.filter(subject=Agent.objects.get(pk=pk).subject, state__in=sorted(LIVE))
            assert live.count() <= 1
            if Agent.objects.get(pk=pk).state in ENDED:
                assert not live.filter(state=State.QUEUED).exists()

    @invariant()
    def the_laws_hold(self) -> None:
        """All that `doctor` knows of these."""
        assert [*invariants.nudges_are_answered(), *invariants.budgets_add_up()] == []


@pytest.mark.timeout(300)
def test_every_nudge_is_answered_in_any_order(tmp_path: Path) -> None:
    machine: Any = type("Here", (Machine,), {"folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            phases=set(Phase) - {Phase.explain},
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_the_machine_notices_who_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_forgotten: bool
) -> None:
    """The mutation run: an end after which nobody asks again leaves its agent behind. By hand: a search may pass it by."""
    if is_forgotten:
        monkeypatch.setattr("coordinator.ending.setbacks.dispatch", SimpleNamespace(nudge=lambda *_, **__: None))
    machine: Any = type("Here", (Machine,), {"folder": tmp_path})()
    machine.begin()
    machine.nudge(pick=0, source=Source.OPERATOR)
    machine.start(pick=0)
    machine.end(pick=0, how="failed")
    with pytest.raises(AssertionError) if is_forgotten else contextlib.nullcontext():
        machine.nobody_is_forgotten()
    assert machine._agent(0).state == AgentState.QUEUED
