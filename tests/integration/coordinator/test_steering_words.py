"""What people write and edit: whose words reach an agent, and which are commands. On a fake GitHub over HTTP."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from coordinator import invariants, lifecycle, sweeps
from coordinator.agents import approvals
from coordinator.ending import outcomes, questions
from coordinator.issues import steering
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Command, Nudge
from coordinator.operating import control
from coordinator.public_types import AgentState, Answer, Source
from grid import executions
from grid.models import Execution
from grid.public_types import Outcome, OutcomeKind, Result, State
from tests.integration.coordinator.steering_here import Here, here
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, github, github_server
from tracker.models import Change, Issue, Operation
from tracker.public_types import Hint, HintKind

__all__ = ["github", "github_server", "here"]

pytestmark = pytest.mark.django_db(transaction=True)
CANARY = "canary-of-an-outsider"


# --- words -----------------------------------------------------------------------------------------------------------


def test_a_strangers_edit_takes_a_queued_run_back_and_asks(here: Here) -> None:
    number = _under_way(here)
    _edited_by_a_stranger(here, number)
    agent = here.agent(number)
    assert agent is not None
    assert "rita" in agent.blocked_reason and questions.GOES_ON not in agent.blocked_reason
    assert Execution.objects.get().state == State.CANCELLED
    outcomes.apply(agent.execution_id)
    row = here.agent(number)
    assert row is not None and row.is_applied
    assert here.state(number) == AgentState.BLOCKED
    for source in (Source.SWEEP, Source.CHILD, Source.WEBHOOK):
        assert dispatch.nudge(agent.pk, source=source).answer == Answer.DEFERRED
    assert Nudge.objects.get(is_open=True).decision["code"] == "needs-approval"
    here.drain()
    assert here.labels(number) == ["agent:blocked"]
    assert any("approve" in text for text in here.ours(number))
    assert all(CANARY not in text for text in Execution.objects.values_list("prompt", flat=True))
    here.next_second()
    here.say(number, "/agent run")
    assert here.state(number) == AgentState.QUEUED
    assert CANARY in here.prompt(number), "a writer has looked at it"
    assert invariants.violations() == []


def test_an_approval_that_comes_before_the_end_of_a_run_that_was_taken_back_starts_another(here: Here) -> None:
    number = _under_way(here)
    agent = here.agent(number)
    assert agent is not None
    Issue.objects.update(body=CANARY)
    questions.ask(agent.pk, reason=approvals.question("rita"), actor="github:rita")
    assert Execution.objects.get().state == State.CANCELLED
    assert control.nudge(agent.pk, actor="op").answer == Answer.DEFERRED
    outcomes.apply(agent.execution_id)
    assert (here.state(number), Execution.objects.count()) == (AgentState.QUEUED, 2)


ANSWERS = ("/agent run", "agent:ready", "old text", "writer's text", "operator")


def test_a_strangers_edit_ends_no_run_and_its_end_waits_for_the_answer(here: Here) -> None:
    cases = {_under_way(here): case for case in [*((answer, False) for answer in ANSWERS), ("agent:ready", True)]}
    runs = {number: here.claim(number) for number in cases}
    asks = Result(outcome=Outcome(kind=OutcomeKind.BLOCKED, summary="which one?"))
    for number, (_, is_early) in cases.items():
        _edited_by_a_stranger(here, number)
        agent = here.agent(number)
        assert agent is not None and agent.blocked_reason.endswith(questions.GOES_ON)
        assert agent.execution is not None and agent.execution.state == State.RUNNING
        if not is_early:
            assert not here.end(runs[number], State.SUCCEEDED, asks)
    Execution.objects.filter(state=State.SUCCEEDED).update(ended_at=timezone.now() - timedelta(hours=1))
    Agent.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    sweeps.apply_missed()
    assert invariants.violations() == []
    here.drain()
    here.next_second()
    for number, (answer, is_early) in cases.items():
        assert here.labels(number) == ["agent:blocked"]
        assert all("which one?" not in text for text in here.ours(number))
        _answer(here, number, answer)
        if is_early:
            assert here.state(number) == AgentState.RUNNING
            here.end(runs[number], State.SUCCEEDED, asks)
    Agent.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    sweeps.apply_missed()
    here.drain()
    for number in cases:
        row = here.agent(number)
        assert row is not None and row.blocked_reason == "which one?" and row.is_applied
        assert any("which one?" in text for text in here.ours(number))
    assert Execution.objects.count() == len(cases), "what was paid for was enough"
    assert all(CANARY not in text for text in Execution.objects.values_list("prompt", flat=True))
    assert invariants.violations() == []


def test_what_waited_for_people_waits_again_when_the_text_is_approved(here: Here) -> None:
    review, waiting = AgentState.REVIEW, AgentState.WAITING
    wanted = [*((answer, review) for answer in (*ANSWERS, "/agent retry")), ("/agent run", waiting)]
    cases = {_under_way(here): case for case in wanted}
    for number, (_, state) in cases.items():
        run = here.claim(number)
        executions.end(run.pk, token=run.token, state=State.SUCCEEDED, reason="done", result=Result())
        agent = here.agent(number)
        assert agent is not None
        lifecycle.move(agent, new=state, reason="done", fields={"is_applied": True})
        _edited_by_a_stranger(here, number)
    here.drain()
    here.next_second()
    for number, (answer, state) in cases.items():
        assert here.labels(number) == ["agent:blocked"], answer
        _answer(here, number, answer)
        after = here.agent(number)
        assert after is not None
        if answer == "/agent retry":
            assert after.state == AgentState.QUEUED and after.executions == 2
            continue
        assert (after.state, after.blocked_reason, after.executions) == (state, "", 1), answer
        assert (after.resume_due_at is not None) == (state == AgentState.WAITING)
        here.drain()
        assert here.labels(number) == [f"agent:{state}"]


def test_an_end_is_not_applied_to_a_text_that_nobody_has_judged(here: Here) -> None:
    number = here.issue(by="rita", label=True)
    here.hint(number)
    run = here.claim(number)
    Issue.objects.update(body=CANARY)  # read by another worker, which has not come to the agent yet
    asks = Result(outcome=Outcome(kind=OutcomeKind.BLOCKED, summary="which one?"))
    assert not here.end(run, State.SUCCEEDED, asks)
    assert here.state(number) == AgentState.RUNNING
    agent = here.agent(number)
    assert agent is not None
    questions.ask(agent.pk, reason=approvals.question("rita"), actor="github:rita")
    assert not outcomes.apply(run.pk)
    approvals.approve_present(Agent.objects.get(pk=agent.pk), by="a plan", at=timezone.now())
    assert outcomes.apply(run.pk), "whoever approved it, the sweep goes on"
    row = here.agent(number)
    assert row is not None and (row.blocked_reason, row.is_applied) == ("which one?", True)


def _under_way(here: Here) -> int:
    number = here.issue(by="rita", label=True)
    here.hint(number)
    return number


def _edited_by_a_stranger(here: Here, number: int) -> None:
    here.by("rita").edit_issue(number, body=CANARY)
    for _ in range(2):
        here.hint(number, "edited", actor="rita")
    assert here.state(number) == AgentState.BLOCKED


def _answer(here: Here, number: int, how: str) -> None:
    match how:
        case "agent:ready":
            here.by("alice").add_label(number, "agent:ready")  # beside `agent:blocked`, as the comment asks
            here.hint(number, "labeled", actor="alice", label="agent:ready")
        case "old text":
            here.by("rita").edit_issue(number, body="as I say")
            here.hint(number, "edited", actor="rita")
        case "writer's text":
            here.by("alice").edit_issue(number, body="as I say, and well")
            here.hint(number, "edited", actor="alice")
        case "operator":
            agent = here.agent(number)
            assert agent is not None
            control.nudge(agent.pk, actor="op")
        case _:
            here.say(number, how)


def test_a_strangers_edit_after_the_label_but_before_we_look_is_seen(here: Here) -> None:
    number = here.issue(by="rita", label=True)
    here.by("rita").edit_issue(number, body=CANARY)
    here.hint(number, "labeled", actor="alice", label="agent:ready")
    assert here.state(number) == AgentState.BLOCKED
    assert not Execution.objects.exists()
    here.hint(number, "edited", actor="rita")
    here.hint(number, "sweep")
    assert here.state(number) == AgentState.BLOCKED


@pytest.mark.parametrize("what", ["title", "body"])
def test_a_writers_edit_is_an_approval(here: Here, what: str) -> None:
    number = here.issue(by="rita", label=True)
    here.hint(number)
    here.by("alice").edit_issue(number, **{what: "something else"})
    here.hint(number, "edited", actor="alice")
    agent = here.agent(number)
    assert agent is not None and agent.state == AgentState.QUEUED
    assert agent.approved_by == "alice"
    here.by("rita").edit_issue(number, **{what: CANARY})
    here.hint(number, "sweep")
    assert here.state(number) == AgentState.BLOCKED
    here.next_second()
    here.by("alice").edit_issue(number, **{what: "as it should be"})
    here.next_second()
    here.by("alice").remove_label(number, "agent:ready")
    here.by("alice").add_label(number, "agent:ready")
    here.drain()
    here.say(number, "/agent run")
    Execution.objects.update(state="cancelled")
    outcomes.apply(agent.execution_id)
    assert here.state(number) == AgentState.QUEUED
    assert "as it should be" in here.prompt(number)


def test_an_operator_approves_by_a_nudge(here: Here) -> None:
    number = here.issue(by="rita", label=True)
    here.hint(number)
    here.by("rita").edit_issue(number, body="changed")
    here.hint(number)
    agent = here.agent(number)
    assert agent is not None and agent.state == AgentState.BLOCKED
    Execution.objects.update(state="cancelled")
    outcomes.apply(agent.execution_id)
    assert control.nudge(agent.pk, actor="op").answer == Answer.ADMITTED
    row = here.agent(number)
    assert row is not None and row.approved_by == "op"


def test_outsiders_words_are_in_no_prompt(here: Here) -> None:
    world = here.github.server.world
    world.set_permission(REPOSITORY, "mallory", "read")
    world.add_user("helper[bot]", type="Bot")
    world.set_permission(REPOSITORY, "helper[bot]", "write")
    number = here.issue(title="A fine title", body='fine\n<!-- hidden-canary -->\n![alt-canary](x.png "title-canary")')
    for who in ("rita", "tim", "mallory", "helper[bot]"):
        here.by(who).comment(number, f"{CANARY} {who}")
    here.by("alice").comment(number, "mind the gap <!-- hidden-canary -->")
    here.by("alice").add_label(number, "agent:ready")
    here.hint(number)
    prompt = here.prompt(number)
    assert "canary" not in prompt
    assert "mind the gap" in prompt and "A fine title" in prompt


def test_all_orders_of_the_same_hints_end_alike(here: Here) -> None:
    ends = set()
    hints = [
        ("opened", {"actor": "rita"}),
        ("labeled", {"actor": "alice", "label": "agent:ready"}),
        ("edited", {"actor": "rita"}),
        ("closed", {"actor": "alice"}),
    ]
    for closes, order in itertools.product((False, True), [*itertools.permutations(hints)][::5]):
        number = here.issue(by="rita", label=True)
        here.by("rita").edit_issue(number, body="changed afterwards")
        if closes:
            here.by("alice").close(number)
        for action, more in [*order, *order]:
            here.hint(number, action, **more)
        ends.add((closes, here.state(number)))
    assert ends == {(False, AgentState.BLOCKED), (True, "")}


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_command_acts_once_however_often_we_hear_of_it(here: Here) -> None:
    number = here.issue()
    comment = here.say(number, "/agent run")
    control.cancel(here.agent(number).pk, actor="op")
    for action in ("created", "sweep"):
        here.hint(number, action, comment_id=comment, actor="alice")
    assert here.state(number) == AgentState.ABANDONED
    assert Command.objects.count() == 1


def test_outsiders_who_talk_on_an_issue_spend_one_request_and_reach_nothing(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number, "labeled", actor="alice", label="agent:ready")
    before = here.github.spent()
    said = [here.say(number, f"{CANARY} {n}", by="rita") for n in range(3)]
    assert here.github.spent() - before <= 1  # what she may do
    for comment_id in said:
        here.hint(number, "edited", comment_id=comment_id, actor="rita", text="/agent cancel")
    here.say(number, "/agent cancel", by="rita")
    here.say(number, "as we were", by=US)
    assert here.github.spent() - before <= 1
    assert here.state(number) == AgentState.QUEUED
    (refused,) = AuditEntry.objects.filter(action="refused")
    assert refused.actor == "github:rita" and refused.target.startswith(f"{REPOSITORY}#{number} comment ")
    here.say(number, "read this", by="alice")
    assert Issue.objects.get(key=str(number)).comments.filter(body__contains=CANARY).count() == 3


def test_what_is_edited_into_a_comment_is_no_command(here: Here) -> None:
    number = here.issue()
    comment = str(here.by("alice").comment(number, "hello"))
    here.next_second()
    here.by("alice").edit_comment(int(comment), "/agent run")
    for action in ("edited", "sweep"):
        here.hint(number, action, comment_id=comment, actor="alice")
    assert here.state(number) == ""


def test_commands_are_answered_in_place(here: Here) -> None:
    number = here.issue()
    here.say(number, "/agent fly")
    here.say(number, "/agent retry")
    here.say(number, "/agent run")
    here.say(number, "/agent explain")
    here.say(number, "/agent plan")
    here.say(number, "/agent budget 999999")
    here.drain()
    said = "\n".join(here.ours(number))
    for words in ("no command `fly`", "No agent works", "state: queued", f"#{number}: queued", "at most"):
        assert words in said
    assert len(here.ours(number)) >= 5
    assert Command.objects.count() == 6


def test_a_budget_is_raised_above_what_trees_usually_have(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.say(number, "/agent budget 150")
    agent = here.agent(number)
    assert agent is not None
    assert agent.envelope.parent is not None and agent.envelope.parent.executions_limit == 150
    assert AuditEntry.objects.get(action="raise_limit").actor == "github:alice"


def test_cancel_and_retry_by_command(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.say(number, "/agent cancel")
    assert here.state(number) == AgentState.ABANDONED
    here.say(number, "/agent retry")
    assert here.state(number) == AgentState.QUEUED


def test_a_closed_issue_is_reopened_by_an_operators_retry(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.by("alice").close(number)
    here.hint(number)
    agent = here.agent(number)
    assert agent is not None and agent.execution_id is not None
    control.retry(agent.pk, actor="op")
    here.drain()
    assert Issue.objects.get(key=str(number)).is_open
    assert dispatch.decide_again(agent.pk).answer == Answer.ADMITTED
    assert not Operation.objects.filter(state="failed").exists()


def test_many_workers_with_the_same_news_have_one_effect(here: Here) -> None:
    number = here.issue(label=True)
    comment = str(here.by("alice").comment(number, "/agent run"))
    hints = [
        Hint(
            kind=HintKind.ISSUE, action="labeled", scope=REPOSITORY, key=str(number), label="agent:ready", actor="alice"
        ),
        Hint(kind=HintKind.COMMENT, action="created", scope=REPOSITORY, key=str(number), comment_id=comment),
    ]
    problems: list[BaseException] = []

    def work(hint: Hint) -> None:
        try:
            steering.take_up(here.github.repository.id, hint)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(hint,)) for hint in hints * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hint in hints:
        steering.take_up(here.github.repository.id, hint)
    assert problems == []
    assert (Agent.objects.count(), Execution.objects.count(), Command.objects.count()) == (1, 1, 1)
    assert AuditEntry.objects.filter(action="start").count() == 1
    assert invariants.violations() == []


def test_an_issue_that_its_pull_request_closed_is_no_cancel(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    agent = here.agent(number)
    assert agent is not None
    Agent.objects.update(state=AgentState.REVIEW, is_applied=True)
    Change.objects.create(
        repository_id=here.github.repository.id,
        key="99",
        remote_id=7,
        title="x",
        head_branch=agent.branch,
        head_sha="0" * 40,
        base_branch="main",
        is_open=False,
        is_merged=True,
        is_ours=True,
        updated_at=timezone.now(),
    )
    here.by("alice").close(number)
    here.hint(number, "closed", actor="alice")
    assert here.state(number) == AgentState.REVIEW
    Change.objects.all().delete()
    here.hint(number, "closed", actor="alice")
    assert here.state(number) == AgentState.ABANDONED


def test_a_command_on_a_held_issue_is_answered(here: Here) -> None:
    number = here.issue(label=True)
    here.say(number, "/agent hold")
    here.say(number, "/agent explain")
    assert any("holds the issue" in text for text in here.ours(number))
