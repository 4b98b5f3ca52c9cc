"""What follows each phase, and how its end is judged."""

from __future__ import annotations

import pytest

from grid import phases
from grid.phases import Ended
from grid.public_types import AgentSpec, Check, LaunchSpec, Mode, OutcomeKind, State, Work

SPEC = LaunchSpec(
    subject="issue:1",
    root="tree:1",
    mode=Mode.WORK,
    agent=AgentSpec(adapter="command", options={"command": "true"}),
    work=Work(repository="r1", source="/nowhere", branch="agent/1-x", base="0" * 40),
    prompt="",
    setup=("make deps",),
    acceptance=("pytest", "ruff check"),
)


def chain(first: str) -> list[str]:
    names: list[str] = []
    phase: phases.Phase | None = phases.find(SPEC, first)
    while phase is not None:
        names.append(phase.name)
        phase = phases.following(SPEC, phase)
    return names


def test_set_up_comes_before_the_agent_and_again_before_acceptance():
    assert chain("setup-1") == ["setup-1", "agent"]
    assert chain("verify-setup-1") == ["verify-setup-1", "verify-1", "verify-2"]


def test_only_finished_work_is_verified():
    assert [p.name for p in phases.after_agent(SPEC, OutcomeKind.DONE)] == ["verify-setup-1", "verify-1", "verify-2"]
    assert phases.after_agent(SPEC, OutcomeKind.SPLIT) == []
    assert phases.after_agent(SPEC, OutcomeKind.BLOCKED) == []


def test_acceptance_runs_in_a_checkout_of_its_own():
    assert not phases.find(SPEC, "agent").in_checkout
    assert not phases.find(SPEC, "setup-1").in_checkout
    assert phases.find(SPEC, "verify-1").in_checkout


def test_an_unknown_phase_is_an_error():
    with pytest.raises(KeyError):
        phases.find(SPEC, "verify-3")


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("exited", None),
        ("wall", State.TIMED_OUT),
        ("idle", State.TIMED_OUT),
        ("cancelled", State.CANCELLED),
        ("over_budget", State.OVER_BUDGET),
        ("interrupted", State.INTERRUPTED),
        ("fenced", State.LOST),
        ("killed", State.LOST),
        ("shim_failed", State.LOST),
        ("something new", State.FAILED),
    ],
)
def test_an_end_from_outside_names_its_state(reason, state):
    assert phases.interruption(Ended(reason=reason)) == state


def test_one_failed_check_fails_the_execution_and_is_named():
    good = Check(command="ruff check", passed=True, exit_code=0, seconds=1, tail="")
    bad = Check(command="pytest", passed=False, exit_code=1, seconds=1, tail="1 failed")
    assert phases.judge((good,)) == (State.SUCCEEDED, "done, 1 acceptance check passed")
    assert phases.judge((good, bad)) == (State.FAILED, "acceptance failed: pytest (exit 1)")


def test_exit_code_zero_after_a_signal_is_no_success():
    assert Ended(reason="exited", exit_code=0).ok
    assert not Ended(reason="exited", exit_code=None, exit_signal=9).ok
    assert not Ended(reason="cancelled", exit_code=0).ok
