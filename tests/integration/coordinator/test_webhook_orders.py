"""In whatever order, and however often, an issue's webhooks come: the end is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coordinator.care import repositories
from coordinator.issues import inbound
from coordinator.models import Agent
from coordinator.public_types import ENDED
from grid.models import Execution
from grid.public_types import LIVE
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import GithubHere, github, github_server
from tracker import public_api as tracker
from tracker.fake_github import Delivery as Sent
from tracker.models import Delivery, Issue

__all__ = ["github", "github_server"]

SECRET = "s3cret-of-the-hook"
ACTS = ("labeled", "edited", "closed")


@pytest.fixture
def office(github: GithubHere, settings: Any, tmp_path: Any) -> GithubHere:
    """The repository under care and fetched; its webhooks are queued, and sent by nobody."""
    settings.STATIC_ROOT = tmp_path
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = [SECRET]
    world = github.server.world
    world.auto_deliver = False
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/nobody", secret=SECRET, events=("issues",))
    assert repositories.refresh(github.repository.id).error == ""
    return github


def act(office: GithubHere, number: int, what: str) -> None:
    """What a writer does."""
    alice = office.as_person("alice")
    if what == "labeled":
        alice.add_label(number, "agent:ready")
    elif what == "edited":
        alice.edit_issue(number, "Say hello", "Twice, please.")
    else:
        alice.close(number)


def send(sent: Sent) -> None:
    """Bring one webhook in and take it up."""
    answer = Client().post("/webhooks/github/", sent.body, content_type="application/json", headers=sent.headers)
    assert answer.status_code == 202, answer.content
    inbound.take_up_due()


def end(office: GithubHere, number: int) -> dict[str, Any]:
    """How the issue and its agent stand, without numbers."""
    issue = Issue.objects.get(repository_id=office.repository.id, key=str(number))
    agent = Agent.objects.filter(issue=issue).first()
    runs = Execution.objects.filter(subject=agent.subject, state__in=sorted(LIVE)).count() if agent else 0
    # An agent that never was and one that was ended are the same to everybody outside.
    is_at_work = agent is not None and agent.state not in ENDED
    approval = (agent.approved_by, agent.approved_sha) if is_at_work else None
    view = tracker.get_issue(issue.pk)
    about = (view.title, view.body, view.is_open, view.close_reason, sorted(view.labels))
    return {"issue": about, "is_at_work": is_at_work, "approval": approval, "runs": runs}


def live_through(office: GithubHere, acts: Sequence[str], order: list[tuple[int, int]]) -> dict[str, Any]:
    """An issue's life: acts, in between some webhooks, and at last all of them.

    Args:
        order: After which act (0 to 3) which webhook so far (by its place, round and round) is sent.
    """
    world, alice = office.server.world, office.as_person("alice")
    before = len(world.deliveries)
    number = alice.open_issue("Say hi", "Please.")
    for moment, what in enumerate(["opened", *acts]):
        if what != "opened":
            act(office, number, what)
        mine = world.deliveries[before:]
        for when, which in order:
            if when == moment:
                send(mine[which % len(mine)])
    mine = world.deliveries[before:]
    for _, which in order:  # the rest in the same odd order, and some twice
        send(mine[which % len(mine)])
    for sent in sorted(mine, key=lambda one: order and (one.id * 7919) % (len(order) + 3)):
        send(sent)
    assert not Delivery.objects.exclude(state__in=["done", "ignored"]).exists()
    return end(office, number)


@pytest.mark.timeout(170)
def test_every_order_of_an_issues_webhooks_ends_the_same(office):
    in_order: dict[tuple[str, ...], dict[str, Any]] = {}

    # Without shrinking: an example takes a second, and is short as it is.
    @settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate), database=None)
    @given(
        acts=st.permutations(ACTS) | st.permutations(ACTS[:2]),
        order=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5),
    )
    def ends_the_same(acts: list[str], order: list[tuple[int, int]]) -> None:
        known = tuple(acts)
        if known not in in_order:
            in_order[known] = live_through(office, acts, [(moment, moment) for moment in range(len(acts) + 1)])
        assert live_through(office, acts, order) == in_order[known]
        assert in_order[known]["is_at_work"] is ("closed" not in acts)
        assert in_order[known]["runs"] == ("closed" not in acts)

    ends_the_same()
