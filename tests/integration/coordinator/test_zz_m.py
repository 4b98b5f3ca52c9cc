"""Who steers, and what happens then: people act on a fake GitHub over HTTP, hints say where to look."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from coordinator import control, dispatch, invariants, outbox, outcomes, steering
from coordinator.models import Agent, AuditEntry, Command, Nudge
from coordinator.public_types import AgentState, Answer, Source
from grid import executions, lifecycle
from grid import public_api as grid
from grid.models import Execution, Host
from grid.public_types import Outcome, OutcomeKind, Result, State
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker.models import Change, Issue, Operation, Repository
from tracker.public_types import Hint, HintKind

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)
CANARY = "canary-of-an-outsider"


@dataclass(frozen=True, slots=True)
class Here:
    """A repository under care, and short words for what tests do."""

    github: GithubHere

    def by(self, login: str) -> Any:
        return self.github.as_person(login)

    def issue(self, *, by: str = "alice", title: str = "Do it", body: str = "as I say", label: bool = False) -> int:
        number: int = self.by(by).open_issue(title, body)
        if label:
            self.by("alice").add_label(number, "agent:ready")
        return number

    def hint(self, number: int, action: str = "sweep", **more: Any) -> None:
        kind = HintKind.COMMENT if "comment_id" in more else HintKind.ISSUE
        steering.take_up(
            self.github.repository.id, Hint(kind=kind, action=action, scope=REPOSITORY, key=str(number), **more)
        )

    def say(self, number: int, text: str, *, by: str = "alice", action: str = "created") -> str:
        comment_id = str(self.by(by).comment(number, text))
        self.hint(number, action, comment_id=comment_id, actor=by, text=text)
        return comment_id

    def next_second(self) -> None:
        """GitHub counts in seconds, and a doubt of one second is answered by asking."""
        time.sleep(1.0 - time.time() % 1.0 + 0.01)

    def agent(self, number: int) -> Agent | None:
        return Agent.objects.filter(issue__key=str(number)).select_related("execution", "issue").first()

    def state(self, number: int) -> str:
        agent = self.agent(number)
        return agent.state if agent is not None else ""

    def drain(self) -> None:
        outbox.drain(self.github.repository.id)

    def labels(self, number: int) -> list[str]:
        return [name for name in self.by("adam").labels(number) if name.startswith("agent:")]

    def ours(self, number: int) -> list[str]:
        """Texts of our comments."""
        return [c["body"] for c in self.by("adam").comments(number) if c["user"]["login"] == US]

    def prompt(self, number: int) -> str:
        agent = self.agent(number)
        assert agent is not None and agent.execution_id is not None
        return grid.prompt_of(agent.execution_id)

    def claim(self, number: int) -> Execution:
        """A host takes the agent's queued run and starts it."""
        Host.objects.get_or_create(name="h", defaults={"slots": 9})
        agent = self.agent(number)
        assert agent is not None and agent.execution_id is not None
        run = executions.claim(agent.execution_id, host="h")
        assert run is not None
        lifecycle.move(run.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
        outcomes.started(run.pk)
        return run

    def end(self, run: Any, state: State = State.FAILED, result: Result | None = None) -> bool:
        assert executions.end(run.pk, token=run.token, state=state, reason="ended", result=result or Result())
        return outcomes.apply(run.pk)


@pytest.fixture
def here(github: GithubHere) -> Here:
    return Here(github)


# --- starting -----------------------------------------------------------------------------------------------------------


def test_a_writers_label_starts_an_agent_once(here: Here) -> None:
    number = here.issue(label=True)
    for action in ("labeled", "labeled", "sweep", "opened"):
        here.hint(number, action, actor="alice", label="agent:ready")
    agent = here.agent(number)
    assert agent is not None and agent.state == AgentState.QUEUED
    assert agent.approved_by == "alice" and len(agent.approved_sha) == 64
    assert Execution.objects.count() == 1
    assert [row.actor for row in AuditEntry.objects.filter(action="start")] == ["github:alice"]
    assert "as I say" in here.prompt(number)
    assert invariants.violations() == []


@pytest.mark.parametrize(
    ("who", "starts"),
    [("adam", True), ("alice", True), ("tim", False), (US, False), ("helper[bot]", False)],
)
@pytest.mark.parametrize("hinted", [True, False])
def test_only_writers_labels_start(here: Here, who: str, starts: bool, hinted: bool) -> None:
    world = here.github.server.world
    if who == "helper[bot]":
        world.add_user(who, type="Bot")
        world.set_permission(REPOSITORY, who, "write")
    number = here.issue()
    here.by(who).add_label(number, "agent:ready")
    is_bot = who in (US, "helper[bot]")
    here.hint(number, "labeled" if hinted else "sweep", actor=who if hinted else "", actor_is_bot=is_bot,
              label="agent:ready" if hinted else "")  # fmt: skip
    assert bool(here.state(number)) is starts
    assert AuditEntry.objects.filter(action="refused", actor=f"github:{who}").exists() is not starts
    assert here.ours(number) == []


@pytest.mark.parametrize("who", ["rita", "mallory", "nobody-at-all"])
def test_a_hint_that_names_a_writer_proves_nothing(here: Here, who: str) -> None:
    number = here.issue()
    here.by("tim").add_label(number, "agent:ready")
    here.hint(number, "labeled", actor="alice", label="agent:ready")  # late, or invented
    here.hint(number, "labeled", actor=who, label="agent:ready")
    assert here.state(number) == ""


@pytest.mark.parametrize(
    ("who", "level", "starts"),
    [
        ("adam", "", True),
        ("alice", "", True),
        ("tim", "", False),
        ("rita", "", False),
        ("mallory", "read", False),
        ("helper[bot]", "write", False),
        ("friend[bot]", "write", True),
        (US, "", False),
    ],
)
def test_only_writers_commands_start(here: Here, settings: Any, who: str, level: str, starts: bool) -> None:
    settings.TRACKER_GITHUB_ALLOWED_BOTS = ["friend[bot]"]
    world = here.github.server.world
    if who.endswith("[bot]"):
        world.add_user(who, type="Bot")
    if level:
        world.set_permission(REPOSITORY, who, level)
    number = here.issue()
    comment = here.say(number, "/agent run", by=who)
    assert bool(here.state(number)) is starts
    here.drain()
    seen = here.by("adam").api("GET", f"/issues/comments/{comment}/reactions")
    assert [one["content"] for one in seen] == (["eyes"] if starts else [])
    assert here.ours(number) == [] if who != US else True
    assert Command.objects.exists() is starts
    if who != US:
        assert AuditEntry.objects.filter(action="refused").exists() is not starts


def test_a_person_who_lost_the_right_steers_no_more(here: Here) -> None:
    number = here.issue()
    here.github.server.world.set_permission(REPOSITORY, "alice", "read")
    here.say(number, "/agent run")
    assert here.state(number) == ""


def test_a_renamed_person_is_the_same_person(here: Here) -> None:
    number = here.issue(label=True)
    here.github.server.world.rename_user("alice", "alicia")
    here.hint(number, "labeled", actor="alice", label="agent:ready")
    agent = here.agent(number)
    assert agent is not None and agent.approved_by == "alicia"


def test_somebody_who_takes_over_a_writers_old_name_is_nobody(here: Here) -> None:
    world = here.github.server.world
    number = here.issue()
    world.rename_user("alice", "alicia")
    world.rename_user("rita", "alice")
    here.say(number, "/agent run", by="alice")
    assert here.state(number) == ""


def test_an_issue_below_ours_becomes_a_part_of_the_tree(here: Here) -> None:
    top = here.issue(label=True)
    here.hint(top)
    child = here.issue(title="A part")
    here.by("alice").add_sub_issue(top, child)
    here.by("tim").add_label(child, "agent:ready")
    here.hint(child)
    assert here.state(child) == ""
    here.by("alice").remove_label(child, "agent:ready")
    here.by("alice").add_label(child, "agent:ready")
    here.hint(child)
    parent, agent = here.agent(top), here.agent(child)
    assert parent is not None and agent is not None
    assert (agent.parent_id, agent.depth) == (parent.pk, 1)


def test_a_writer_assigns_our_machine_user(here: Here, settings: Any) -> None:
    settings.TRACKER_GITHUB_MACHINE_USER = US
    for who, starts in (("tim", False), ("alice", True)):
        number = here.issue()
        here.by(who).assign(number, US)
        here.hint(number, "assigned", actor=who, assignee=US)
        here.hint(number, "assigned", actor=who, assignee=US)
        assert bool(here.state(number)) is starts
    assert Execution.objects.count() == 1


# --- stopping -----------------------------------------------------------------------------------------------------------


def test_taking_the_running_label_off_cancels(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.claim(number)
    here.drain()
    assert here.labels(number) == ["agent:running"]
    here.by("tim").remove_label(number, "agent:running")
    here.hint(number, "unlabeled", actor="tim", label="agent:running")
    assert here.state(number) == AgentState.RUNNING
    here.drain()
    assert here.labels(number) == ["agent:running"], "a label that the wrong person took off comes back"
    here.by("alice").remove_label(number, "agent:running")
    for _ in range(2):
        here.hint(number, "sweep")
    assert here.state(number) == AgentState.ABANDONED
    assert AuditEntry.objects.filter(action="cancel").count() == 1


@pytest.mark.parametrize("who", ["rita", "alice"])
def test_closing_the_issue_ends_the_tree(here: Here, who: str) -> None:
    number = here.issue(by=who, label=True)
    here.hint(number)
    here.by(who).close(number, "not_planned")
    here.hint(number, "closed", actor=who)
    here.hint(number, "closed", actor=who)
    assert here.state(number) == AgentState.ABANDONED
    assert Execution.objects.get().state == "cancelled"
    assert AuditEntry.objects.filter(action="cancel").count() == 1


def test_reopened_and_ready_goes_on(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.by("alice").close(number)
    here.hint(number)
    here.drain()
    here.by("alice").reopen(number)
    here.hint(number, "reopened", actor="alice")
    if "agent:ready" not in here.labels(number):
        assert here.state(number) == AgentState.ABANDONED
        here.by("alice").add_label(number, "agent:ready")
    here.hint(number, "labeled", actor="alice", label="agent:ready")
    assert here.state(number) == AgentState.QUEUED


def test_a_deleted_issue_ends_its_agent(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.by("adam").delete_issue(number)
    here.hint(number, "deleted", actor="adam")
    assert here.state(number) == AgentState.ABANDONED


def test_ready_again_after_a_failure_is_a_retry_once(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    run = here.claim(number)
    Agent.objects.update(attempts=2)
    # Another process drains just now: the first label is still there.
    Repository.objects.update(outbox_lease_until=timezone.now() + timedelta(minutes=1))
    here.end(run)
    assert here.state(number) == AgentState.FAILED
    assert here.labels(number) == ["agent:ready"]
    for action in ("labeled", "sweep"):
        here.hint(number, action, actor="alice", label="agent:ready")  # an old one, delivered again
    assert here.state(number) == AgentState.FAILED
    Repository.objects.update(outbox_lease_until=None)
    here.drain()
    assert here.labels(number) == ["agent:failed"]
    here.by("alice").remove_label(number, "agent:failed")
    here.by("alice").add_label(number, "agent:ready")
    for _ in range(3):
        here.hint(number, "labeled", actor="alice", label="agent:ready")
    agent = here.agent(number)
    assert agent is not None and (agent.state, agent.attempts) == (AgentState.QUEUED, 0)
    assert AuditEntry.objects.filter(action="retry").count() == 1


# --- holding ------------------------------------------------------------------------------------------------------------


def test_a_held_issue_starts_nothing_until_it_is_released(here: Here) -> None:
    number = here.issue(label=True)
    here.by("tim").add_label(number, "agent:hold")
    here.hint(number)
    assert here.state(number) == AgentState.NEW
    assert Nudge.objects.get().decision["code"] == "held"
    here.by("tim").remove_label(number, "agent:hold")
    here.hint(number, "unlabeled", actor="tim", label="agent:hold")
    assert here.state(number) == AgentState.QUEUED


@pytest.mark.parametrize("how", ["label", "person"])
def test_the_end_of_a_held_run_waits(here: Here, how: str) -> None:
    number = here.issue(label=True)
    here.hint(number)
    run = here.claim(number)
    adam = here.by("adam")
    if how == "label":
        adam.add_label(number, "agent:hold")
    else:
        adam.assign(number, "adam")
    here.hint(number)
    done = Result(outcome=Outcome(kind=OutcomeKind.BLOCKED, summary="which one?"))
    assert not here.end(run, State.SUCCEEDED, done)
    assert here.state(number) == AgentState.RUNNING
    here.drain()
    assert here.ours(number) == []
    if how == "label":
        adam.remove_label(number, "agent:hold")
    else:
        adam.unassign(number, "adam")
    here.hint(number)
    here.drain()
    assert here.state(number) == AgentState.BLOCKED
    assert any("which one?" in text for text in here.ours(number))


def test_what_was_queued_before_a_hold_is_not_claimed(here: Here) -> None:
    number = here.issue(label=True)
    here.hint(number)
    here.say(number, "/agent hold")
    assert "agent:hold" in here.labels(number)
    agent = here.agent(number)
    assert agent is not None and agent.execution is not None and agent.execution.is_held
    control.pause("fleet", actor="me")
    control.unpause("fleet", actor="me")
    assert Execution.objects.get().is_held, "ending a pause ends no hold"
    here.say(number, "/agent unhold")
    here.hint(number)
    assert not Execution.objects.get().is_held
    assert "agent:hold" not in here.labels(number)


# --- words --------------------------------------------------------------------------------------------------------------


def test_a_strangers_edit_stops_the_run_and_asks(here: Here) -> None:
    number = here.issue(by="rita", label=True)
    here.hint(number)
    run = here.claim(number)
    here.by("rita").edit_issue(number, body=CANARY)
    for _ in range(2):
        here.hint(number, "edited", actor="rita")
    agent = here.agent(number)
    assert agent is not None and agent.state == AgentState.BLOCKED
    assert "rita" in agent.blocked_reason
    assert Execution.objects.get().stop_reason == "cancelled"
    assert here.end(run, State.SUCCEEDED, Result(outcome=Outcome(kind=OutcomeKind.DONE, summary="too late")))
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


# --- commands -----------------------------------------------------------------------------------------------------------


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


def test_a_budget_is_raised_within_the_fleets_cap(here: Here, settings: Any) -> None:
    number = here.issue(label=True)
    settings.COORDINATOR_TREE_EXECUTIONS = 3
    here.hint(number)
    settings.COORDINATOR_TREE_EXECUTIONS = 9
    here.say(number, "/agent budget 5")
    agent = here.agent(number)
    assert agent is not None
    assert agent.envelope.parent is not None and agent.envelope.parent.executions_limit == 5
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
    print("DECISION", Agent.objects.values_list("state","decision"), list(Agent.objects.first().nudges.values_list("answer","is_open","decision","source","reason")))
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
