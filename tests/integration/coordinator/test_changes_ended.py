"""People are quicker than our writes: a pull request that is over, or is theirs, when its update is carried out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from coordinator.models import Agent
from coordinator.operating import control
from grid.models import Event
from tests.factories import git
from tests.integration.coordinator.command_rows import run
from tests.integration.coordinator.github_trees import Office, office, runs, state  # noqa: F401 - a fixture
from tests.integration.tracker.github_here import GithubHere, github, github_server  # noqa: F401 - fixtures
from tracker.models import Operation, Repository

# The names of fixtures and of what tests ask for are the same by design.
# ruff: noqa: F811


@contextmanager
def another_writer() -> Iterator[None]:
    """As long as another process holds the outbox, nothing is written."""
    Repository.objects.update(outbox_lease_until=timezone.now() + timedelta(minutes=5))
    yield
    Repository.objects.update(outbox_lease_until=None)


def proposal(agent: Agent) -> Operation:
    """The latest wish for the agent's pull request."""
    found = Operation.objects.filter(key__startswith=f"change:{agent.pk}:").order_by("-pk").first()
    assert found is not None
    return found


def complaints() -> list[object]:
    """What `doctor` calls broken."""
    return list(run("doctor", "--json").json["violations"])


def reasons(agent: Agent) -> list[tuple[str, str]]:
    """Where the agent went, and why, oldest first."""
    rows = Event.objects.filter(stream=agent.stream, kind="agent.state-changed").order_by("seq")
    return [(row.body["to"], row.body["reason"]) for row in rows]


@pytest.mark.parametrize(("ending", "end"), [("squash", "done"), ("close", "abandoned")])
def test_one_that_ends_before_its_update_is_written_ends_the_agent_once(
    office: Office, settings: Settings, ending: str, end: str
):
    settings.DOCTOR_CHECKS = []
    agent = office.in_review()
    alice, number = office.github.as_person("alice"), office.pull()["number"]
    alice.comment(number, "Again")
    with another_writer():
        office.hear(number)
        office.grid.until(lambda: (runs(agent), state(agent)) == (2, "review"))
        assert proposal(agent).state == "pending"
        if ending == "squash":
            alice.merge(number, "squash")
        else:
            alice.close_pull(number)
    office.settle()
    assert state(agent) == end, "nobody told us but the write itself"
    office.hear(number)
    office.settle()
    ways = reasons(agent)
    assert [to for to, _ in ways].count(end) == 1 and ways[-1][1].startswith(f"its pull request #{number} was ")
    assert "blocked" not in [to for to, _ in ways]
    assert [pull["number"] for pull in alice.pulls()] == [number]
    assert complaints() == []


@pytest.mark.parametrize("why", ["somebody else is open for this branch", "main has all commits of agent/"])
def test_where_no_pull_request_can_come_of_it_a_person_is_asked_and_no_write_has_failed(
    office: Office, settings: Settings, why: str
):
    settings.DOCTOR_CHECKS = []
    agent = office.take_on()
    alice = office.github.as_person("alice")
    with another_writer():
        control.nudge(agent.pk, actor="alice")
        office.grid.until(lambda: state(agent) == "review")
        agent.refresh_from_db()
        if why.startswith("somebody"):
            theirs = alice.open_pull(agent.branch, title="Hers")
        else:
            git(office.clone(), "push", "-q", "origin", f"origin/{agent.branch}:main")
    office.settle()
    agent.refresh_from_db()
    assert agent.state == "blocked" and why in agent.blocked_reason
    assert why in office.comments(agent.issue.key)[-1]
    assert complaints() == []
    if why.startswith("somebody"):
        alice.close_pull(theirs)
        control.retry(agent.pk, actor="alice")
        office.settle()
        assert (state(agent), len(alice.pulls())) == ("review", 2)


def test_what_was_closed_while_the_agent_was_cancelled_does_not_end_its_next_life(office: Office):
    agent = office.in_review()
    alice, number = office.github.as_person("alice"), office.pull()["number"]
    control.cancel(agent.pk, actor="alice")
    alice.close_pull(number)
    office.hear(number)
    control.retry(agent.pk, actor="alice")
    office.settle()
    assert state(agent) == "review" and len(alice.pulls(state="open")) == 1
    office.hear(number)
    assert state(agent) == "review"
