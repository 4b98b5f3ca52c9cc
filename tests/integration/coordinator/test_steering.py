"""Who steers, and what happens then: people start, stop and hold agents on a fake GitHub over HTTP, hints say where to look."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coordinator import invariants
from coordinator.models import Agent, AuditEntry, Command, Nudge
from coordinator.operating import control
from coordinator.public_types import AgentState
from grid.models import Execution
from grid.public_types import Outcome, OutcomeKind, Result, State
from tests.integration.coordinator.steering_here import Here, here
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, github, github_server
from tracker.models import Repository

__all__ = ["github", "github_server", "here"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- starting --------------------------------------------------------------------------------------------------------


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


# --- stopping --------------------------------------------------------------------------------------------------------


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


# --- holding ---------------------------------------------------------------------------------------------------------


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
    Execution.objects.update(ended_at=timezone.now() - timedelta(hours=1))
    assert invariants.violations() == []  # a person keeps it, no law is broken
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
