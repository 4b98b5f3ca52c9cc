"""What operators do by hand holds at once, leaves an audit row, and works without a broker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from coordinator import invariants
from coordinator.ending import outbox, outcomes
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Envelope, Nudge
from coordinator.money import budgets
from coordinator.operating import control, submissions
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, NotAllowedError
from coordinator.public_types import AgentState, Answer, Source, Submission
from coordinator.reading import queries
from grid import executions, lifecycle
from grid.models import Execution, Host
from grid.public_types import ChildProposal, Outcome, OutcomeKind, Result, State
from tests.factories import make_agent, make_child, make_git_repository
from tracker import public_api as tracker
from tracker import public_writes as tracker_writes
from tracker.models import Operation, Repository
from tracker.public_types import Write, WriteKind


@pytest.fixture
def agent(db: None, tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "app"))


def nudge(agent: Agent, source: Source = Source.OPERATOR) -> Nudge:
    return dispatch.nudge(agent.pk, source=source)


def state(agent: Agent) -> str:
    return Agent.objects.get(pk=agent.pk).state


def run_of(agent: Agent) -> Execution:
    run = Agent.objects.get(pk=agent.pk).execution
    assert run is not None
    return run


def test_a_nudge_is_answered_and_the_answer_is_stored(agent):
    row = nudge(agent)
    assert (row.answer, row.is_open, state(agent)) == (Answer.ADMITTED, False, AgentState.QUEUED)
    assert row.execution_id == run_of(agent).pk
    assert queries.get(agent.pk).decision.code == "admitted"


def test_a_second_nudge_starts_nothing_and_is_coalesced_after_that(agent):
    nudge(agent)
    second, third = nudge(agent), nudge(agent, Source.WEBHOOK)
    assert (second.answer, third.pk) == (Answer.DEFERRED, second.pk)
    assert Nudge.objects.filter(answer=Answer.COALESCED).count() == 1
    assert Execution.objects.count() == 1


@pytest.mark.parametrize("kind", ["fleet", "repository", "tree", "agent"])
def test_nothing_is_launched_in_a_paused_scope(agent, kind):
    scope = {"fleet": "fleet", "repository": f"repository:{agent.repository_id}"}.get(kind, f"{kind}:{agent.pk}")
    control.pause(scope, actor="me")
    assert nudge(agent).decision["code"] == "paused"
    control.unpause(scope, actor="me")
    assert dispatch.decide_again(agent.pk).answer == Answer.ADMITTED
    assert [row.action for row in AuditEntry.objects.order_by("pk")] == ["pause", "unpause"]


@pytest.mark.parametrize("scope", ["fleet", "agent"])
def test_what_was_queued_before_a_pause_is_not_claimed_until_it_ends(agent, scope):
    key = "fleet" if scope == "fleet" else f"agent:{agent.pk}"
    Host.objects.create(name="h", slots=1)
    nudge(agent)
    assert control.pause(key, actor="me") == 1
    assert executions.claim(run_of(agent).pk, host="h") is None
    assert control.unpause(key, actor="me") == 1
    assert executions.claim(run_of(agent).pk, host="h") is not None


def test_ending_one_pause_does_not_end_another(agent):
    nudge(agent)
    control.pause("fleet", actor="me")
    control.pause(f"tree:{agent.pk}", actor="me")
    assert control.unpause("fleet", actor="me") == 0
    assert run_of(agent).is_held


def test_an_end_in_a_paused_scope_has_no_effect_until_the_pause_ends(agent):
    Host.objects.create(name="h", slots=1)
    nudge(agent)
    run = executions.claim(run_of(agent).pk, host="h")
    control.pause("fleet", actor="me")
    executions.end(run.pk, token=run.token, state=State.FAILED, reason="no", result=Result())
    assert not outcomes.apply(run.pk)
    assert state(agent) == AgentState.QUEUED and Agent.objects.get(pk=agent.pk).attempts == 0
    control.unpause("fleet", actor="me")
    assert outcomes.apply(run.pk)
    assert Agent.objects.get(pk=agent.pk).attempts == 1


def test_cancel_ends_the_whole_subtree_and_nothing_brings_it_back(agent):
    child = make_child(agent)
    grandchild = make_child(child)
    for row in (child, grandchild):
        nudge(row)
    touched = control.cancel(agent.pk, actor="me", reason="wrong idea")
    assert (len(touched.agents), touched.queued, touched.running) == (3, 2, 0)
    assert {state(row) for row in (agent, child, grandchild)} == {AgentState.ABANDONED}
    assert set(Execution.objects.values_list("state", flat=True)) == {"cancelled"}
    for row in (agent, child, grandchild):
        for source in Source:
            assert dispatch.nudge(row.pk, source=source).answer == Answer.REFUSED
    for run in Execution.objects.all():
        outcomes.apply(run.pk)
    assert state(child) == AgentState.ABANDONED
    assert invariants.violations() == []


def test_cancelling_a_child_tells_its_parent(agent):
    child = make_child(agent)
    Agent.objects.filter(pk=agent.pk).update(state=AgentState.WAITING)
    control.cancel(child.pk, actor="me")
    assert queries.get(agent.pk).decision.mode == "resume"


def test_cancelling_what_has_ended_is_refused(agent):
    control.cancel(agent.pk, actor="me")
    with pytest.raises(NotAllowedError, match="retry"):
        control.cancel(agent.pk, actor="me")


def test_retry_gives_a_failed_agent_fresh_attempts(agent):
    Agent.objects.filter(pk=agent.pk).update(state=AgentState.FAILED, attempts=3, crashes=2)
    assert control.retry(agent.pk, actor="me").answer == Answer.ADMITTED
    row = Agent.objects.get(pk=agent.pk)
    assert (row.state, row.attempts, row.crashes) == (AgentState.QUEUED, 0, 0)
    assert AuditEntry.objects.get(action="retry").detail == {"state": "failed", "attempts": 3, "crashes": 2}


def test_retry_takes_a_cancelled_agent_up_again(agent):
    control.cancel(agent.pk, actor="me")
    control.retry(agent.pk, actor="me")
    assert state(agent) == AgentState.QUEUED and run_of(agent).state == "queued"


@pytest.mark.parametrize("busy", [AgentState.QUEUED, AgentState.RUNNING, AgentState.DONE])
def test_retry_of_what_is_under_way_or_done_is_refused(agent, busy):
    Agent.objects.filter(pk=agent.pk).update(state=busy)
    with pytest.raises(NotAllowedError):
        control.retry(agent.pk, actor="me")


def test_a_held_issue_is_left_alone(agent):
    tracker.set_hold(agent.issue_id, held=True)
    assert nudge(agent).decision["code"] == "held"


def test_the_tree_budget_stops_launches_until_it_is_raised(agent):
    Envelope.objects.filter(key=f"tree:{agent.pk}").update(executions_limit=0)
    assert nudge(agent).decision["code"] == "budget"
    control.raise_limit(f"tree:{agent.pk}", actor="me", executions=1)
    assert dispatch.decide_again(agent.pk).answer == Answer.ADMITTED
    with pytest.raises(InvalidInputError, match="has used 1"):
        control.raise_limit(f"tree:{agent.pk}", actor="me", executions=0)


@pytest.mark.parametrize("scope", ["fleet", "repository", "tree"])
def test_each_concurrency_cap_defers_the_launch(agent, scope):
    Envelope.objects.filter(kind=scope).update(max_live=0)
    row = nudge(agent)
    assert row.decision["code"] == "capacity" and scope in row.decision["reason"]


def test_a_broker_that_is_down_fails_no_act(agent, settings, django_capture_on_commit_callbacks):
    from agentgrid import celery_app, transports

    before = celery_app.conf.broker_url
    celery_app.conf.update(broker_url="redis://127.0.0.1:1/0", broker_transport_options=transports.redis())
    try:
        with django_capture_on_commit_callbacks(execute=True):
            nudge(agent)
            control.pause("fleet", actor="me")
            control.unpause("fleet", actor="me")
    finally:
        celery_app.conf.update(broker_url=before, broker_transport_options={})
    assert run_of(agent).state == "queued"


def test_submitting_again_does_not_wake_what_failed(agent):
    submission = Submission(title="Do it", adapter="command", options={"command": "true"})
    first, _, is_new = submissions.submit(repository_id=agent.repository_id, submission=submission, actor="me")
    assert is_new
    Agent.objects.filter(pk=first.pk).update(state=AgentState.FAILED, execution=None, is_applied=True)
    second, nudge_row, is_new = submissions.submit(repository_id=agent.repository_id, submission=submission, actor="me")
    assert (second.pk, is_new, nudge_row.answer) == (first.pk, False, Answer.REFUSED)


def test_the_fleet_can_be_paused_before_anything_was_submitted(db):
    assert control.pause("fleet", actor="me") == 0
    with pytest.raises(AgentNotFoundError):
        control.pause("repository:99", actor="me")


def test_a_write_that_failed_for_ever_is_tried_again_by_hand(agent):
    write = Write(key="close:x", kind=WriteKind.CLOSE, payload={"ref": "999", "reason": "completed"})
    tracker_writes.wish(agent.repository_id, [write])
    tracker_writes.drain(agent.repository_id, now=budgets.now())
    assert [violation.subject for violation in invariants.writes_are_carried_out()] == ["close:x"]
    control.retry_write("close:x", actor="me")
    assert list(invariants.writes_are_carried_out()) == []
    assert AuditEntry.objects.get(action="retry_write").target == "close:x"
    with pytest.raises(AgentNotFoundError):
        control.retry_write("nothing", actor="me")
    with pytest.raises(NotAllowedError):
        control.retry_write("close:x", actor="me")
    assert AuditEntry.objects.filter(action="retry_write").count() == 1


def test_a_retry_right_after_a_cancel_waits_for_the_old_run_and_leaks_no_reservation(agent):
    Host.objects.create(name="h", slots=1)
    nudge(agent)
    old = executions.claim(run_of(agent).pk, host="h")
    control.cancel(agent.pk, actor="me")
    assert control.retry(agent.pk, actor="me").decision["code"] == "running"
    executions.end(old.pk, token=old.token, state=State.CANCELLED, reason="cancelled", result=Result())
    assert outcomes.apply(old.pk)
    assert (run_of(agent).state, run_of(agent).pk != old.pk) == ("queued", True)
    assert Envelope.objects.get(key="fleet").live == 1
    assert invariants.violations() == []


def test_the_doctor_sees_a_reservation_that_nobody_released(agent):
    Host.objects.create(name="h", slots=1)
    nudge(agent)
    run = executions.claim(run_of(agent).pk, host="h")
    executions.end(run.pk, token=run.token, state=State.CANCELLED, reason="cancelled", result=Result())
    assert list(invariants.reservations_are_settled()) == []
    Execution.objects.update(ended_at=timezone.now() - timedelta(minutes=4))
    assert [violation.subject for violation in invariants.reservations_are_settled()] == [str(run.pk)]


def split(agent: Agent, *keys: str) -> None:
    """End the agent's run with a split whose sub-issues wait in the outbox."""
    Host.objects.get_or_create(name="h", defaults={"slots": 1})
    nudge(agent)
    run = executions.claim(run_of(agent).pk, host="h")
    lifecycle.move(run.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
    children = tuple(ChildProposal(key=key, title=key, body="") for key in keys)
    outcome = Outcome(kind=OutcomeKind.SPLIT, children=children)
    executions.end(run.pk, token=run.token, state=State.SUCCEEDED, reason="split", result=Result(outcome=outcome))
    # Another process drains just now: nothing is created yet.
    Repository.objects.update(outbox_lease_until=timezone.now() + timedelta(minutes=1))
    outcomes.apply(run.pk)
    assert Agent.objects.get(pk=agent.pk).is_splitting


def test_cancelling_a_splitting_parent_creates_no_sub_issue_any_more(agent):
    split(agent, "a", "b")
    control.cancel(agent.pk, actor="me")
    Repository.objects.update(outbox_lease_until=None)
    outbox.drain(agent.repository_id)
    assert tracker.children_ids(agent.issue_id) == []
    assert Agent.objects.count() == 1
    assert invariants.violations() == []


def test_a_sub_issue_created_while_its_parent_was_cancelled_is_closed_again(agent):
    split(agent, "a")
    Operation.objects.filter(key__startswith="split:").update(attempts=1)  # under way as the cancel comes
    control.cancel(agent.pk, actor="me")
    Repository.objects.update(outbox_lease_until=None)
    outbox.drain(agent.repository_id)
    outbox.drain(agent.repository_id)
    made = tracker.children_ids(agent.issue_id)
    assert [tracker.get_issue(pk).is_open for pk in made] == [False]
    assert Agent.objects.count() == 1


@pytest.mark.parametrize("kind", ["fleet", "repository", "tree", "agent"])
def test_everything_in_a_scope_is_cancelled_and_nothing_else(agent, kind, tmp_path):
    child = make_child(agent)
    stranger = make_agent(make_git_repository(tmp_path / "other"))
    for row in (child, stranger):
        nudge(row)
    scope = {"fleet": "fleet", "repository": f"repository:{agent.repository_id}"}.get(kind, f"{kind}:{agent.pk}")
    touched = control.cancel_scope(scope, actor="me")
    assert {state(agent), state(child)} == {AgentState.ABANDONED}
    assert state(stranger) == (AgentState.ABANDONED if kind == "fleet" else AgentState.QUEUED)
    assert (len(touched.agents), touched.queued) == ((3, 2) if kind == "fleet" else (2, 1))
    if kind != "fleet":
        with pytest.raises(NotAllowedError, match="under way"):
            control.cancel_scope(scope, actor="me")
