"""Only approved words reach a prompt; the rows alone decide, whatever happened on the network."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from coordinator.agents import approvals
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry
from coordinator.operating import control, starting
from coordinator.public_types import AgentState, Answer, Outsiders, Source
from coordinator.rules.authority import Person
from grid import public_api as grid
from grid import public_events as grid_events
from tests.factories import make_agent, make_child, make_git_repository
from tracker import public_api as tracker
from tracker.models import Comment, Issue, Repository
from tracker.public_types import Trust


@pytest.fixture
def agent(db: None, tmp_path: Path) -> Agent:
    """An agent whose repository passes for one on GitHub."""
    made = make_agent(make_git_repository(tmp_path / "app"), title="A fine title")
    return on_github(made)


def on_github(made: Agent) -> Agent:
    Repository.objects.update(tracker="github", scope="acme/widgets")
    return again(made)


def again(agent: Agent) -> Agent:
    return Agent.objects.select_related("issue", "repository", "envelope__parent").get(pk=agent.pk)


def edit(agent: Agent, **texts: str) -> Agent:
    Issue.objects.filter(pk=agent.issue_id).update(**texts)
    return again(agent)


def say(agent: Agent, author: str, text: str, trust: str, **more: object) -> None:
    values = {"created_at": timezone.now(), "is_ours": False, **more}
    Comment.objects.create(issue_id=agent.issue_id, author=author, body=text, author_trust=trust, **values)


def prompt_of(agent: Agent) -> str:
    row = dispatch.nudge(agent.pk, source=Source.OPERATOR)
    assert row.execution_id is not None, row.decision
    return grid.prompt_of(row.execution_id)


def test_white_space_at_line_ends_changes_no_approval():
    one = approvals.digest(title="a", body="x\ny")
    assert approvals.digest(title=" a ", body="x  \r\ny\n\n") == one
    assert approvals.digest(title="a", body="x\n y") != one
    approvals.digest(title="half \ud800", body="")


def test_an_approval_is_recorded_once_with_who_and_when(agent):
    now = timezone.now()
    assert approvals.approve_present(agent, by="alice", at=now)
    assert not approvals.approve_present(agent, by="bob", at=now)
    row = again(agent)
    assert (row.approved_by, row.approved_at) == ("alice", now)
    assert approvals.is_issue_approved(row)


def test_a_text_that_is_not_the_approved_one_starts_nothing(agent):
    approvals.approve_present(agent, by="alice", at=timezone.now())
    edit(agent, body="changed by a stranger")
    for source in Source:
        row = dispatch.nudge(agent.pk, source=source)
        assert (row.answer, row.decision["code"]) == (Answer.DEFERRED, "needs-approval")
    control.nudge(agent.pk, actor="op")
    after = again(agent)
    assert (after.state, after.approved_by) == (AgentState.QUEUED, "op")


def test_a_text_that_came_while_the_evidence_was_read_is_not_approved(agent):
    seen = tracker.get_issue(agent.issue_id)
    by = Person(login="alice", trust=Trust.WRITE)
    order = starting.Order(by=by, at=timezone.now(), how="agent:ready", seen=seen)
    # The author edits and another worker reads it, after GitHub's record of changes was read and before we write.
    edit(agent, body="canary of the author")
    assert not starting.approve(agent, order)
    after = again(agent)
    assert after.state == AgentState.BLOCKED and not approvals.is_issue_approved(after)
    assert starting.approve(after, replace(order, seen=tracker.get_issue(agent.issue_id)))


def test_on_the_local_tracker_nobody_has_to_approve(db, tmp_path):
    made = make_agent(make_git_repository(tmp_path / "app"))
    control.nudge(made.pk, actor="op")
    row = again(made)
    assert (row.state, row.approved_sha) == (AgentState.QUEUED, "")


def test_a_withheld_approval_is_given_by_a_retry(agent):
    approvals.withhold(agent)
    assert not approvals.is_issue_approved(again(agent))
    Agent.objects.filter(pk=agent.pk).update(state=AgentState.BLOCKED, reworks=3)
    assert control.retry(agent.pk, actor="op").answer == Answer.ADMITTED
    assert again(agent).reworks == 0


@pytest.mark.parametrize(
    ("trust", "author", "is_seen"),
    [
        ("admin", "adam", True),
        ("write", "alice", True),
        ("triage", "tim", False),
        ("read", "rita", False),
        ("none", "mallory", False),
        ("", "unknown", False),
        ("write", "helper[bot]", False),
        ("admin", "Helper[BOT]", False),
    ],
)
def test_comments_of_writers_are_in_the_prompt_and_no_others(agent, trust, author, is_seen):
    say(agent, author, "the canary sings", trust, created_at=timezone.now() - timedelta(days=1))
    assert ("canary" in prompt_of(agent)) is is_seen


def test_our_own_comments_and_bare_commands_are_left_out(agent):
    say(agent, "agent-bot", "canary", "write", is_ours=True)
    say(agent, "alice", "/agent run\n\n/agent explain canary", "write")
    say(agent, "alice", "keep the names\n/agent run", "write")
    prompt = prompt_of(agent)
    assert "canary" not in prompt and "keep the names" in prompt


@pytest.mark.parametrize(
    ("created", "edited", "is_seen"),
    [(-60, None, True), (-60, -30, True), (-60, 5, False), (5, None, False)],
)
def test_a_fenced_outsider_is_seen_as_the_approver_saw_it(agent, created, edited, is_seen):
    at = timezone.now()
    approvals.approve_present(agent, by="alice", at=at)
    say(
        agent,
        "mallory",
        "the canary sings",
        "none",
        created_at=at + timedelta(seconds=created),
        edited_at=at + timedelta(seconds=edited) if edited is not None else None,
    )
    from_rows = tracker.comments(agent.issue_id)
    seen = approvals.comments_in_prompt(again(agent), from_rows, outsiders=Outsiders.FENCE)
    assert [("canary" in comment.text, "outsider" in comment.author) for comment in seen] == [(True, True)] * is_seen
    assert approvals.comments_in_prompt(again(agent), from_rows, outsiders=Outsiders.DROP) == ()


def test_titles_of_others_are_shown_as_approved_only(agent):
    child = again(make_child_on_github(agent))
    for row in (agent, child):
        approvals.approve_present(again(row), by="alice", at=timezone.now())
    Issue.objects.update(title="canary")
    edit(child, title="A part")
    prompt = prompt_of(child)
    assert "canary" not in prompt and approvals.UNAPPROVED_TITLE in prompt


def make_child_on_github(parent: Agent) -> Agent:
    """Made while the repository passes for a local one."""
    Repository.objects.update(tracker="local")
    made = make_child(again(parent))
    Repository.objects.update(tracker="github")
    return made


def test_an_operators_acts_leave_a_trace(agent):
    control.nudge(agent.pk, actor="op")
    assert AuditEntry.objects.get().action == "nudge"
    assert [event.kind for event in grid_events.read_stream(agent.stream) if event.kind == "agent.approved"]
