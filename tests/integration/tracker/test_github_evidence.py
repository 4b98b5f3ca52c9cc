"""Who did what, when, and what they may do: GitHub's own records, over HTTP against the fake."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker import public_sync
from tracker.fake_github import Fault
from tracker.models import Permission
from tracker.public_errors import NotFoundError, UnavailableError
from tracker.public_types import Trust

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def evidence(here: GithubHere, number: int) -> public_sync.Evidence:
    return public_sync.evidence(here.repository.id, str(number))


def test_the_last_deed_with_a_label_counts(github: GithubHere) -> None:
    number = github.as_person("rita").open_issue("one")
    github.as_person("alice").add_label(number, "agent:ready")
    github.as_person("alice").remove_label(number, "agent:ready")
    github.as_person("tim").add_label(number, "Agent:Ready")
    github.as_person(US).add_label(number, "bug")
    found = evidence(github, number)
    ready, bug = found.labels["agent:ready"], found.labels["bug"]
    assert (ready.by.login, ready.by.trust, ready.is_on, ready.by.is_bot) == ("tim", Trust.TRIAGE, True, False)
    assert bug.by.is_bot, "we are nobody to ourselves"
    github.as_person("tim").remove_label(number, "agent:ready")
    assert not evidence(github, number).labels["agent:ready"].is_on
    assert found.text_changes == ()


def test_changes_of_title_and_body_are_known_with_their_authors(github: GithubHere) -> None:
    number = github.as_person("rita").open_issue("one", "body")
    github.as_person("rita").edit_issue(number, body="other")
    github.as_person("alice").edit_issue(number, title="two")
    changes = {deed.by.login: deed.by.trust for deed in evidence(github, number).text_changes}
    assert changes == {"rita": Trust.READ, "alice": Trust.WRITE}
    github.as_person("alice").edit_issue(number, body="better")
    assert [deed.by.login for deed in evidence(github, number).text_changes] == ["alice", "alice"]


def test_of_a_long_timeline_the_end_counts(github: GithubHere) -> None:
    alice = github.as_person("alice")
    number = alice.open_issue("one")
    for _ in range(60):
        alice.add_label(number, "bug")
        alice.remove_label(number, "bug")
    github.as_person("adam").add_label(number, "agent:ready")
    found = evidence(github, number)
    assert found.labels["agent:ready"].by.login == "adam"
    assert not found.labels["bug"].is_on


def test_an_assignment_is_the_assigners_deed(github: GithubHere) -> None:
    number = github.as_person("alice").open_issue("one")
    github.as_person("tim").assign(number, "adam")
    assert evidence(github, number).assignments["adam"].by.login == "tim"


def test_bots_are_told_from_people_and_may_be_allowed(github: GithubHere, settings: Any) -> None:
    github.server.world.add_user("helper[bot]", type="Bot")
    github.server.world.set_permission(REPOSITORY, "helper[bot]", "write")
    number = github.as_person("helper[bot]").open_issue("one", "x")
    github.as_person("helper[bot]").edit_issue(number, body="y")
    (edit,) = evidence(github, number).text_changes
    assert (edit.by.login, edit.by.is_bot) == ("helper[bot]", True)
    settings.TRACKER_GITHUB_ALLOWED_BOTS = ["Helper[bot]"]
    Permission.objects.all().delete()
    allowed = public_sync.standing(github.repository.id, "helper[bot]")
    assert (allowed.trust, allowed.is_bot) == (Trust.WRITE, False)


def test_when_nobody_can_be_asked_nobody_is_distrusted(github: GithubHere) -> None:
    number = github.as_person("alice").open_issue("one")
    Permission.objects.all().delete()
    github.server.world.faults.append(
        Fault(method="GET", path=r".*/permission", when="before", kind="disconnect", times=9)
    )
    with pytest.raises(UnavailableError):
        public_sync.standing(github.repository.id, "alice")
    github.server.world.faults.clear()
    assert public_sync.standing(github.repository.id, "alice").trust == Trust.WRITE
    with pytest.raises(NotFoundError):
        public_sync.evidence(github.repository.id, "../1")
    with pytest.raises(NotFoundError):
        evidence(github, 4_000)
    assert evidence(github, number).labels == {}
