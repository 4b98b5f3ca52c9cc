"""Where GitHub has a user for us to assign, people see in the list of assignees who is at it."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.ending import outbox
from coordinator.issues import steering
from coordinator.models import Agent
from grid.models import Execution
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker import public_api as tracker
from tracker.public_types import Hint, HintKind

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def look(github: GithubHere, number: int, action: str = "sweep", **more: Any) -> None:
    hint = Hint(kind=HintKind.ISSUE, action=action, scope=REPOSITORY, key=str(number), **more)
    steering.take_up(github.repository.id, hint)


def assignees(github: GithubHere, number: int) -> list[str]:
    return [one["login"] for one in github.as_person("alice").issue(number)["assignees"]]


@pytest.mark.parametrize("machine_user", [US, ""])
def test_whoever_is_at_it_is_assigned_and_that_starts_nothing_more(
    github: GithubHere, settings: Any, machine_user: str
) -> None:
    settings.TRACKER_GITHUB_MACHINE_USER = machine_user
    number = github.as_person("alice").open_issue("Do it", "as I say")
    github.as_person("alice").add_label(number, "agent:ready")
    look(github, number, "labeled", actor="alice", label="agent:ready")
    outbox.drain(github.repository.id)
    assert assignees(github, number) == [US] * bool(machine_user)
    for _ in range(2):
        look(github, number, "assigned", actor=US, actor_is_bot=True, assignee=US)
    agent = Agent.objects.get(issue__key=str(number))
    assert not tracker.is_held(agent.issue_id), "our own user holds nothing"
    assert (agent.state, Execution.objects.count()) == ("queued", 1)
