"""The periodic pass: with every webhook lost, nothing that people do on GitHub is missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coordinator import passes, public_api
from coordinator.issues import sync
from coordinator.models import Agent, SweepSlot
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker.fake_github import Fault
from tracker.models import Issue, Quota, Repository

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fetched(github: GithubHere) -> None:
    public_api.refresh_repository(github.repository.id)


def states() -> dict[str, str]:
    return dict(Agent.objects.values_list("issue__key", "state"))


def test_an_hour_without_webhooks_misses_nothing(github: GithubHere) -> None:
    alice, rita, here = github.as_person("alice"), github.as_person("rita"), github.repository.id
    labelled, ordered, closed, edited, quiet = (alice.open_issue(name) for name in "abcde")
    for number in (closed, edited):
        alice.add_label(number, "agent:ready")
    sync.sync(here)
    assert states() == {str(closed): "queued", str(edited): "queued"}
    github.server.world.advance(3600)
    alice.add_label(labelled, "agent:ready")
    alice.comment(ordered, "/agent run")
    alice.close(closed, "not_planned")
    alice.edit_issue(edited, body="more to do")
    rita.comment(quiet, "/agent run")
    assert github.server.world.deliver() == []  # nobody listens
    sync.sync(here)
    found = states()
    assert found[str(labelled)] == "queued"
    assert found[str(ordered)] == "queued"
    assert found[str(closed)] == "abandoned"
    assert str(quiet) not in found
    assert Issue.objects.get(key=str(edited)).body == "more to do"
    before = states(), Agent.objects.get(issue__key=str(ordered)).executions
    sync.sync(here)
    assert (states(), Agent.objects.get(issue__key=str(ordered)).executions) == before


def test_a_limit_ends_the_pass_quietly_and_the_next_one_finds_all(github: GithubHere) -> None:
    alice, here = github.as_person("alice"), github.repository.id
    numbers = [alice.open_issue(f"{n}", labels=["agent:ready"]) for n in range(3)]
    github.server.world.faults.append(Fault(kind="403-secondary", path=f"/issues/{numbers[1]}$"))
    assert sync.sync(here) is False
    assert states() == {str(numbers[0]): "queued"}
    assert sync.sync(here) is False  # still limited: nothing is asked
    Quota.objects.all().delete()
    sync.sync(here)
    assert states() == {str(number): "queued" for number in numbers}


def test_an_issue_that_cannot_be_read_keeps_no_other_waiting(github: GithubHere) -> None:
    alice, here = github.as_person("alice"), github.repository.id
    first, second = (alice.open_issue(name, labels=["agent:ready"]) for name in "ab")
    Repository.objects.update(created_at=timezone.now() - timedelta(hours=2))
    hour_ago = timezone.now() - timedelta(hours=1)
    github.server.world.repository(REPOSITORY).issues[first].updated_at = f"{hour_ago:%Y-%m-%dT%H:%M:%SZ}"
    github.server.world.faults.append(Fault(kind="502", path=f"/issues/{first}$", times=99))
    sync.sync(here)
    assert states() == {str(second): "queued"}
    github.server.world.faults.clear()
    sync.sync(here)
    assert states() == {str(first): "queued", str(second): "queued"}


def test_a_pass_that_runs_out_of_time_goes_on(github: GithubHere) -> None:
    alice, here = github.as_person("alice"), github.repository.id
    world = github.server.world.repository(REPOSITORY).issues
    numbers = [alice.open_issue(f"{n}", labels=["agent:ready"]) for n in range(4)]
    Repository.objects.update(created_at=timezone.now() - timedelta(hours=9))
    for hours, number in enumerate(reversed(numbers), start=1):
        world[number].updated_at = f"{timezone.now() - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    passes = 1
    while sync.sync(here, seconds=0.02):
        passes += 1
        assert passes < 20
    assert states() == {str(number): "queued" for number in numbers}


def test_one_beat_in_a_slot_wakes_each_repository_once(github: GithubHere) -> None:
    assert passes.sync_trackers() is True
    assert passes.sync_trackers() is False
    assert SweepSlot.objects.filter(name="sync").exists()


def test_a_local_repository_is_not_swept(github: GithubHere, tmp_path: Any) -> None:
    assert sync.sync_all() == 1
    Repository.objects.update(is_active=False)
    assert sync.sync_all() == 0


def test_our_own_words_start_nothing(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("x")
    github.as_person(US).comment(issue, "/agent run")
    github.as_person("tim").add_label(issue, "agent:ready")
    sync.sync(github.repository.id)
    assert states() == {}
