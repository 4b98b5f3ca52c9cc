"""Pull requests read from the fake GitHub: their state, their checks, and what people said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from tests.integration.tracker.fake_github_world import REPOSITORY, Clone, run
from tests.integration.tracker.github_account import PERSON, account, make_repository, sent
from tracker import public_changes
from tracker.fake_github import Actor, FakeGithub
from tracker.fake_github.faults import Fault
from tracker.github.tracker import GithubTracker
from tracker.models import Change, Repository
from tracker.public_errors import InvalidError, NotFoundError, NotProposableError, UnavailableError
from tracker.public_types import ChecksState, Feedback, FeedbackKind, Ref, Trust

pytestmark = pytest.mark.django_db(transaction=True)
BRANCH = "agent/1-one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Our open pull request, and the people around it."""

    server: FakeGithub
    repository: Repository
    clone: Clone
    key: str
    sha: str

    def act(self, login: str) -> Actor:
        self.server.world.advance(1)
        return self.server.world.act(login, REPOSITORY)

    def refresh(self) -> Any:
        return public_changes.refresh_change(self.repository.pk, self.key)

    def feedback(self) -> list[Feedback]:
        return public_changes.feedback(self.repository.pk, self.key)

    def propose(self, *, head: str = BRANCH, body: str = "Closes #1, better", outlived: str = "0") -> Ref:
        """Bring the pull request up to date, as after a rework."""
        tracker = GithubTracker(self.repository)
        return tracker.open_change(
            Ref(REPOSITORY, "1"), head=head, base="main", title="Fix", body=body, outlived=outlived
        )

    def pulls(self) -> list[int]:
        return [pull["number"] for pull in self.act("alice").pulls()]


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[FakeGithub]:
    with account(settings, PERSON, git_root=tmp_path / "github") as started:
        yield started


@pytest.fixture
def place(server: FakeGithub, tmp_path: Path) -> Place:
    repository = make_repository()
    clone = Clone(server, tmp_path / "clone")
    sha = clone.commit(BRANCH, "b.txt", "work\n")
    number = server.world.act("alice", REPOSITORY).open_issue("One")
    ref = Ref(REPOSITORY, str(number))
    change = GithubTracker(repository).open_change(ref, head=BRANCH, base="main", title="Fix", body="Closes #1")
    return Place(server=server, repository=repository, clone=clone, key=change.key, sha=sha)


# --- state ---------------------------------------------------------------------------------------------------------


def test_a_pull_request_is_found_by_branch_key_and_commit(place: Place) -> None:
    found = public_changes.change_of_branch(place.repository.pk, BRANCH)
    assert found is not None
    assert (found.ref, found.head_sha, found.base_branch) == (Ref(REPOSITORY, place.key), place.sha, "main")
    assert (found.is_open, found.is_draft, found.is_ours, found.is_merged) == (True, True, True, False)
    assert public_changes.get_change(place.repository.pk, place.key) == found
    assert public_changes.find_changes(place.repository.pk, place.sha) == [found]
    assert public_changes.find_changes(place.repository.pk, "") == []
    assert public_changes.change_of_branch(place.repository.pk, "agent/none") is None
    with pytest.raises(NotFoundError):
        public_changes.get_change(place.repository.pk, "99")


def test_a_person_s_pull_request_is_not_ours(place: Place) -> None:
    place.clone.commit("alices", "c.txt", "hers\n")
    number = place.act("alice").open_pull("alices", title="Hers")
    found = public_changes.refresh_change(place.repository.pk, str(number))
    assert not found.is_ours
    assert public_changes.change_of_branch(place.repository.pk, "alices") is None


def test_the_open_pull_request_of_a_branch_comes_before_closed_ones(place: Place) -> None:
    place.act("alice").close_pull(int(place.key))
    assert not place.refresh().is_open
    later = GithubTracker(place.repository).open_change(
        Ref(REPOSITORY, "1"), head=BRANCH, base="main", title="Fix", body=""
    )
    found = public_changes.change_of_branch(place.repository.pk, BRANCH)
    assert found is not None
    assert found.ref == later


def test_a_merge_is_seen(place: Place) -> None:
    place.act("alice").mark_ready(int(place.key))
    assert not place.refresh().is_draft
    place.act("alice").merge(int(place.key))
    found = place.refresh()
    assert (found.is_open, found.is_merged) == (False, True)


# --- ended while a write waits -------------------------------------------------------------------------------------


def merge(place: Place) -> None:
    place.act("alice").mark_ready(int(place.key))
    place.act("alice").merge(int(place.key))


def squash(place: Place) -> None:
    place.act("alice").mark_ready(int(place.key))
    place.act("alice").merge(int(place.key), "squash")


def merge_and_delete(place: Place) -> None:
    merge(place)
    run("git", "push", "-q", "origin", "--delete", BRANCH, cwd=place.clone.folder)


def merge_and_push(place: Place) -> None:
    merge(place)
    place.clone.commit(BRANCH, "b.txt", "more\n")


def close(place: Place) -> None:
    place.act("alice").close_pull(int(place.key))


def close_and_push(place: Place) -> None:
    close(place)
    place.clone.commit(BRANCH, "b.txt", "more\n")


@pytest.mark.parametrize("end", [merge, squash, merge_and_delete, merge_and_push, close, close_and_push])
def test_a_pull_request_that_people_ended_meanwhile_is_the_answer(place: Place, end: Callable[[Place], None]) -> None:
    before = place.act("alice").pull(int(place.key))["body"]
    end(place)
    place.server.traffic.clear()
    assert place.propose().key == place.key
    assert sent(place.server, "POST") + sent(place.server, "PATCH") == []
    found = public_changes.get_change(place.repository.pk, place.key)
    assert (found.is_open, found.is_merged) == (False, end not in (close, close_and_push))
    assert place.pulls() == [int(place.key)] and place.act("alice").pull(int(place.key))["body"] == before


def test_one_that_ended_a_former_life_is_history(place: Place) -> None:
    close(place)
    second = place.propose(outlived=place.key)
    assert int(second.key) > int(place.key)
    place.act("alice").close_pull(int(second.key))
    assert place.propose(outlived=place.key) == second
    assert place.pulls() == [int(second.key), int(place.key)]


def test_a_merge_that_comes_before_the_answer_to_the_creation_is_found_by_what_github_refuses(place: Place) -> None:
    Change.objects.all().delete()  # the answer never came in, so the same first write is made again
    merge(place)
    place.server.traffic.clear()
    assert place.propose(outlived="").key == place.key
    assert [line[3] for line in sent(place.server, "POST", "/pulls")] == [422]
    assert public_changes.get_change(place.repository.pk, place.key).is_merged


def test_a_branch_with_nothing_new_and_no_pull_request_cannot_be_proposed(place: Place) -> None:
    run("git", "push", "-q", "origin", "origin/main:refs/heads/agent/2-same", cwd=place.clone.folder)
    for outlived in ("", "0"):
        with pytest.raises(NotProposableError, match="main has all commits of agent/2-same already"):
            place.propose(head="agent/2-same", outlived=outlived)
    assert place.pulls() == [int(place.key)]


def test_a_pull_request_that_somebody_else_opened_from_our_branch_is_left_alone(place: Place) -> None:
    branch = "agent/2-two"
    place.clone.commit(branch, "c.txt", "work\n")
    theirs = place.act("alice").open_pull(branch, title="Hers", body="Mine.", draft=True)
    with pytest.raises(NotProposableError, match=f"somebody else is open for this branch .#{theirs} by alice"):
        place.propose(head=branch, outlived="")
    GithubTracker(place.repository).mark_ready(Ref(REPOSITORY, "1"), head=branch)
    shown = place.act("alice").pull(theirs)
    assert (shown["title"], shown["body"], shown["draft"]) == ("Hers", "Mine.", True)
    place.act("alice").close_pull(theirs)
    assert int(place.propose(head=branch, outlived="0").key) > theirs


def test_somebody_else_may_propose_our_branch_elsewhere(place: Place) -> None:
    run("git", "push", "-q", "origin", "origin/main:refs/heads/stable", cwd=place.clone.folder)
    branch = "agent/2-two"
    place.clone.commit(branch, "c.txt", "work\n")
    theirs = place.act("alice").open_pull(branch, base="stable", title="Hers")
    ours = place.propose(head=branch, outlived="")
    assert int(ours.key) > theirs
    assert place.propose(head=branch, body="Closes #1, best") == ours
    assert "best" in place.act("alice").pull(int(ours.key))["body"]


@pytest.mark.parametrize("key", ["1", "99", "x", "", "0", "9" * 30])
def test_what_is_no_pull_request_is_not_found(place: Place, key: str) -> None:
    with pytest.raises(NotFoundError):
        public_changes.refresh_change(place.repository.pk, key)
    with pytest.raises(NotFoundError):
        public_changes.feedback(place.repository.pk, key)
    assert Change.objects.count() == 1


def test_a_local_repository_has_no_pull_requests(place: Place) -> None:
    local = Repository.objects.create(tracker="local", scope="here", source="x", default_branch="main")
    with pytest.raises(InvalidError):
        public_changes.refresh_change(local.pk, "1")


def test_a_failing_github_changes_nothing(place: Place) -> None:
    before = public_changes.get_change(place.repository.pk, place.key)
    place.act("alice").close_pull(int(place.key))
    place.server.world.faults.append(Fault(kind="502", path="/commits/", times=10))
    with pytest.raises(UnavailableError):
        place.refresh()
    assert public_changes.get_change(place.repository.pk, place.key) == before


# --- checks --------------------------------------------------------------------------------------------------------


def test_checks_are_summed_up_worst_first(place: Place) -> None:
    assert place.refresh().checks is ChecksState.NONE
    alice = place.act("alice")
    acts: list[tuple[Callable[[], object], ChecksState]] = [
        (lambda: alice.check_run(place.sha, "lint", "success"), ChecksState.SUCCESS),
        (lambda: alice.check_run(place.sha, "docs", "cancelled"), ChecksState.SUCCESS),
        (lambda: alice.check_run(place.sha, "build", None), ChecksState.PENDING),
        (lambda: alice.set_status(place.sha, "failure", "ci/old"), ChecksState.FAILURE),
    ]
    for act, wanted in acts:
        act()
        assert place.refresh().checks is wanted


def test_checks_of_an_older_commit_do_not_count(place: Place) -> None:
    place.act("alice").check_run(place.sha, "test", "failure")
    assert place.refresh().checks is ChecksState.FAILURE
    sha = place.clone.commit(BRANCH, "b.txt", "better\n")
    found = place.refresh()
    assert (found.head_sha, found.checks) == (sha, ChecksState.NONE)
    assert place.feedback() == []


def test_a_failed_check_comes_with_the_end_of_its_log(place: Place) -> None:
    log = "x" * 60_000 + "\nAssertionError: 1 != 2"
    place.act("alice").check_run(place.sha, "test", "failure", {"title": "1 failed", "summary": "See", "text": log})
    place.act("alice").check_run(place.sha, "lint", "success")
    (check,) = place.feedback()
    assert (check.id, check.kind) == (f"check:test:{place.sha}", FeedbackKind.CHECK)
    assert (check.trust, check.head_sha, check.asks_for_changes) == (Trust.ADMIN, place.sha, True)
    assert check.text.endswith("AssertionError: 1 != 2")
    assert check.text.startswith("test failed.")
    assert len(check.text) < 4_100


def test_a_failed_status_is_feedback_too(place: Place) -> None:
    place.act("alice").set_status(place.sha, "error", "ci/deploy", "No space left")
    (check,) = place.feedback()
    assert (check.id, check.author) == (f"check:ci/deploy:{place.sha}", "ci/deploy")
    assert "No space left" in check.text


# --- what people say -----------------------------------------------------------------------------------------------


def test_feedback_is_told_oldest_first_with_author_trust_and_place(place: Place) -> None:
    number = int(place.key)
    comment = place.act("alice").comment(number, "Please rename it.")
    line = place.act("rita").review_comment(number, "Typo.", "b.txt", 1)
    review = place.act("adam").review(number, "REQUEST_CHANGES", "Not like this.")
    approval = place.act("alice").review(number, "APPROVE", "Fine.")
    found = {one.id: one for one in place.feedback()}
    assert list(found) == [
        f"comment:{comment}",
        f"review_comment:{line}",
        f"review:{review}",
        f"review:{approval}",
    ]
    said, on_line, changes, fine = found.values()
    assert (said.kind, said.author, said.trust, said.text) == (
        FeedbackKind.COMMENT,
        "alice",
        Trust.WRITE,
        "Please rename it.",
    )
    assert (on_line.author, on_line.trust, on_line.path, on_line.line, on_line.head_sha) == (
        "rita",
        Trust.READ,
        "b.txt",
        1,
        place.sha,
    )
    assert (changes.kind, changes.trust, changes.asks_for_changes) == (FeedbackKind.REVIEW, Trust.ADMIN, True)
    assert not fine.asks_for_changes


def test_a_review_without_words_just_holds_its_line_comments(place: Place) -> None:
    comments = [{"path": "b.txt", "line": 1, "body": "Why?"}]
    place.act("alice").review(int(place.key), "COMMENT", "", comments)
    (only,) = place.feedback()
    assert (only.kind, only.text) == (FeedbackKind.REVIEW_COMMENT, "Why?")


def test_bots_and_we_ourselves_say_nothing_unless_allowed(settings: Settings, place: Place) -> None:
    number = int(place.key)
    place.server.world.add_user("helper[bot]", type="Bot")
    place.server.world.set_permission(REPOSITORY, "helper[bot]", "write")
    place.act("helper[bot]").comment(number, "I am a bot.")
    place.act("agent-bot").comment(number, "I am you.")
    assert place.feedback() == []
    settings.TRACKER_GITHUB_ALLOWED_BOTS = ["Helper[bot]"]
    (only,) = place.feedback()
    assert (only.author, only.trust) == ("helper[bot]", Trust.WRITE)


def test_an_author_whose_rights_cannot_be_asked_for_is_neither_trusted_nor_left_out(place: Place) -> None:
    place.act("alice").comment(int(place.key), "Please")
    place.server.world.faults.append(Fault(kind="502", path="/collaborators/", times=10))
    with pytest.raises(UnavailableError):  # and whoever asked comes back
        place.feedback()
    place.server.world.faults.clear()
    (only,) = place.feedback()
    assert only.trust is Trust.WRITE
