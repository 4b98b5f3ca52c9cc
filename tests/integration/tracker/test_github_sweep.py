"""The sweep over what changed on GitHub: nothing is missed, nothing is read twice, over HTTP against the fake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server, hints, make_pull, swept
from tracker import public_sync
from tracker.fake_github import Fault
from tracker.models import Change, Issue, Repository
from tracker.public_errors import InvalidError, RateLimitedError
from tracker.public_types import HintKind
from tracker.sync import pages, sweeping

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sweep_finds_what_changed_and_only_that(github: GithubHere) -> None:
    alice, rita = github.as_person("alice"), github.as_person("rita")
    issue, quiet = alice.open_issue("x"), alice.open_issue("quiet")
    assert hints(github) == [(HintKind.ISSUE, str(issue)), (HintKind.ISSUE, str(quiet))]
    for number in (issue, quiet):
        github.refresh(number)
        Issue.objects.filter(key=str(number)).update(synced_at=timezone.now() + timedelta(seconds=60))
    assert hints(github) == []
    github.server.world.advance(2)
    comment = rita.comment(issue, "/agent run")
    found = swept(github).steps
    assert {(step.hint.kind, step.hint.key) for step in found} == {
        (HintKind.ISSUE, str(issue)),
        (HintKind.COMMENT, str(issue)),
    }
    (hint,) = [step.hint for step in found if step.hint.kind == HintKind.COMMENT]
    assert (hint.action, hint.actor, hint.comment_id) == ("sweep", "rita", str(comment))


def test_a_write_of_ours_hides_nothing_from_the_sweep(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("x")
    github.refresh(issue)
    Issue.objects.update(synced_at=timezone.now() + timedelta(seconds=60))
    github.server.world.advance(2)
    github.as_person("alice").add_label(issue, "agent:ready")
    Issue.objects.update(written_at=timezone.now() + timedelta(seconds=61))  # as after a write that met the label
    assert (HintKind.ISSUE, str(issue)) in hints(github)


def test_our_own_comments_and_pull_requests_conversations(github: GithubHere) -> None:
    alice = github.as_person("alice")
    issue = alice.open_issue("x")
    github.as_person(US).comment(issue, "status")
    assert [kind for kind, _ in hints(github)] == [HintKind.ISSUE]
    pull = make_pull(github)
    alice.comment(pull, "looks good")
    assert [found for found in hints(github) if found[1] == str(pull)] == [(HintKind.CHANGE, str(pull))] * 2
    with pytest.raises(InvalidError):
        github.refresh(pull)


def test_checks_of_our_open_pull_requests_are_looked_at(github: GithubHere) -> None:
    row, now = Repository.objects.get(), timezone.now()
    Change.objects.create(
        repository=row,
        key="5",
        remote_id=7,
        title="t",
        head_branch="agent/1-x",
        base_branch="main",
        is_ours=True,
        updated_at=now - timedelta(hours=1),
    )
    Change.objects.create(
        repository=row,
        key="6",
        remote_id=8,
        title="t",
        head_branch="agent/2-x",
        base_branch="main",
        is_ours=True,
        updated_at=now - timedelta(days=3),
    )
    assert hints(github) == [(HintKind.CHANGE, "5")]
    Change.objects.update(checks="success")
    assert hints(github) == []


def test_more_than_a_hundred_issues_come_page_by_page_without_a_gap(
    github: GithubHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = github.as_person("alice")
    numbers = [str(alice.open_issue(f"issue {n}")) for n in range(130)]
    assert sorted(hints(github), key=lambda hint: int(hint[1])) == [(HintKind.ISSUE, number) for number in numbers]


def test_an_unfinished_sweep_goes_on_where_it_stopped(github: GithubHere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 5)
    monkeypatch.setattr(sweeping, "MAX_PAGES", 2)
    alice = github.as_person("alice")
    numbers = []
    for burst in range(8):
        numbers += [str(alice.open_issue(f"{burst}.{n}")) for n in range(3)]
        github.server.world.advance(200)
    found, passes = set(), 0
    while not (result := swept(github)).is_complete:
        found |= {step.hint.key for step in result.steps}
        passes += 1
        assert passes < 12
    found |= {step.hint.key for step in result.steps}
    assert sorted(found, key=int) == numbers
    assert passes >= 2


def test_issues_that_move_while_pages_are_read_are_not_missed(
    github: GithubHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 3)
    alice = github.as_person("alice")
    numbers = []
    for n in range(9):
        numbers.append(alice.open_issue(f"{n}"))
        github.server.world.advance(10)
    original = pages.get

    def get(*args: Any, **kwargs: Any) -> Any:
        answer = original(*args, **kwargs)
        if "/issues?" in args[1]:  # somebody touches the oldest one after each page
            github.server.world.advance(10)
            alice.edit_issue(numbers[0], body=str(timezone.now()))
        return answer

    monkeypatch.setattr(pages, "get", get)
    found = public_sync.sweep(github.repository.id, timezone.now())
    assert {step.hint.key for step in found.steps} == {str(number) for number in numbers}


def test_the_cursor_moves_only_behind_what_was_taken_up(github: GithubHere) -> None:
    alice = github.as_person("alice")
    first, second = alice.open_issue("first"), alice.open_issue("second")
    Repository.objects.update(created_at=timezone.now() - timedelta(hours=2))
    issues = github.server.world.repository(REPOSITORY).issues
    issues[first].updated_at = pages.stamp(timezone.now() - timedelta(minutes=60))
    issues[second].updated_at = pages.stamp(timezone.now() - timedelta(minutes=30))
    found = public_sync.sweep(github.repository.id, timezone.now())
    assert [step.hint.key for step in found.steps] == [str(first), str(second)]
    public_sync.settle(github.repository.id, found, taken=1)
    again = public_sync.sweep(github.repository.id, timezone.now())
    assert [step.hint.key for step in again.steps] == [str(second)]
    # A sweep that began before another one ended must not move the cursor back.
    assert not public_sync.settle(github.repository.id, found, taken=0)


def test_a_failing_listing_moves_nothing(github: GithubHere) -> None:
    github.as_person("alice").open_issue("x")
    github.server.world.faults.append(Fault(kind="403-secondary", path="/issues/comments"))
    with pytest.raises(RateLimitedError):
        public_sync.sweep(github.repository.id, timezone.now())
    assert Repository.objects.get().swept_until is None


def test_a_listing_that_lags_is_caught_up_with(github: GithubHere) -> None:
    alice = github.as_person("alice")
    alice.open_issue("a")
    github.server.world.faults.append(Fault(kind="stale", path="/issues$"))
    late = alice.open_issue("late")
    assert (HintKind.ISSUE, str(late)) not in hints(github)
    assert (HintKind.ISSUE, str(late)) in hints(github)
