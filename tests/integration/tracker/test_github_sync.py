"""A repository of GitHub under care, and single issues read whole, over HTTP against the fake."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker import installations, public_api, public_sync
from tracker.fake_github import FakeGithub, Fault
from tracker.github.tracker import GithubTracker
from tracker.models import Comment, Issue, Permission, Repository
from tracker.public_errors import InvalidError, NotFoundError, UnavailableError
from tracker.public_types import AgentState, IssueDraft, Trust
from tracker.sync import pages

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- taking a repository under care ----------------------------------------------------------------------------------


def test_a_repository_comes_under_care_with_its_ids_and_branch(github: GithubHere) -> None:
    row = Repository.objects.get()
    assert (row.tracker, row.scope, row.default_branch) == ("github", REPOSITORY, "main")
    assert row.remote_id == github.server.world.repository(REPOSITORY).id
    assert row.source == f"{github.server.url}/{REPOSITORY}.git"
    assert row.installation_id is None
    again = public_sync.add_repository(REPOSITORY.upper())
    assert again.id == row.pk


def test_another_repository_of_the_same_name_is_not_taken_for_ours(github: GithubHere) -> None:
    world, ours = github.server.world, Repository.objects.get()
    world.rename_repository(REPOSITORY, "gadgets")
    world.add_repository(REPOSITORY, {"mallory": "admin", "agent-bot": "write"})
    with pytest.raises(InvalidError, match="--replace"):
        public_sync.add_repository(REPOSITORY)
    payload = {
        "action": "added",
        "installation": {"id": 5, "account": {"login": "acme"}},
        "repositories_added": [{"full_name": REPOSITORY, "id": world.repository(REPOSITORY).id}],
        "repositories_removed": [{"full_name": REPOSITORY, "id": world.repository(REPOSITORY).id}],
    }
    named = installations.record("installation_repositories", payload, now=timezone.now())
    assert (named.wanted, named.gone) == ((), ())
    assert Repository.objects.get().remote_id == ours.remote_id
    theirs = public_sync.add_repository(REPOSITORY, replace=True)
    ours.refresh_from_db()
    assert (ours.is_active, ours.scope) == (False, f"{REPOSITORY}@{ours.remote_id}") and theirs.id != ours.pk
    back = public_sync.add_repository("acme/gadgets")  # and ours is found again by its number
    assert back.id == ours.pk and {row.scope for row in public_api.list_repositories()} == {REPOSITORY, "acme/gadgets"}


def test_an_app_finds_its_installation(github_server: FakeGithub, transactional_db: None, settings: Any) -> None:
    app = github_server.world.add_app(7)
    number = github_server.world.add_installation(app, "acme")
    settings.TRACKER_GITHUB_APP_ID, settings.TRACKER_GITHUB_APP_KEY = str(app.id), app.private_key_pem
    view = public_sync.add_repository(REPOSITORY)
    assert Repository.objects.get(pk=view.id).installation_id == number
    assert public_sync.is_us(view.id, "agent-grid[bot]")


@pytest.mark.parametrize("scope", ["widgets", "acme/nothing", "acme/../x", "acme/widgets/issues", "", "a\0/b"])
def test_what_is_no_repository_is_refused(github_server: FakeGithub, transactional_db: None, scope: str) -> None:
    with pytest.raises(NotFoundError):
        public_sync.add_repository(scope)
    assert not Repository.objects.exists()


# --- one issue, whole ------------------------------------------------------------------------------------------------


def test_refresh_reads_an_issue_whole(github: GithubHere) -> None:
    alice, mallory = github.as_person("alice"), github.as_person("rita")
    top, issue, child, blocker = (alice.open_issue(title) for title in ("top", "issue", "child", "blocker"))
    second = alice.open_issue("second child")
    alice.edit_issue(issue, body="what to do")
    alice.add_sub_issue(top, issue)
    alice.add_sub_issue(issue, second)
    alice.add_sub_issue(issue, child)
    alice.add_blocker(issue, blocker)
    alice.add_label(issue, "agent:running")
    alice.add_label(issue, "bug")
    alice.assign(issue, "adam")
    mallory.comment(issue, "please")
    seen = github.refresh(issue)
    assert seen.before is None
    assert (seen.after.title, seen.after.body, seen.after.author) == ("issue", "what to do", "alice")
    assert seen.after.agent_state == AgentState.RUNNING
    assert seen.after.labels == ("agent:running", "bug")
    assert seen.after.author_trust == Trust.WRITE
    row = github.row(issue)
    assert row.remote_id not in (None, issue)
    assert row.parent == github.row(top)
    assert public_api.children_ids(row.pk) == [github.row(second).pk, github.row(child).pk]
    assert public_api.blocker_ids(row.pk) == [github.row(blocker).pk]
    assert public_api.facts([row.pk])[row.pk].hold_reason == "assigned to adam"
    (comment,) = public_api.comments(row.pk)
    assert (comment.author, comment.body, comment.trust) == ("rita", "please", Trust.READ)
    # Met in passing: known by name, still to be read whole.
    assert {github.row(number).synced_at for number in (top, child, second, blocker)} == {None}


def test_refresh_tells_what_was_before(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("old")
    github.refresh(issue)
    github.as_person("alice").edit_issue(issue, title="new")
    seen = github.refresh(issue)
    assert seen.before is not None
    assert (seen.before.title, seen.after.title) == ("old", "new")


def test_an_unchanged_issue_costs_no_quota(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("old")
    github.refresh(issue)
    before = github.spent()
    seen = github.refresh(issue)
    assert github.spent() == before
    assert seen.after.title == "old"
    github.as_person("rita").comment(issue, "new words")
    github.refresh(issue)
    assert github.spent() == before + 3  # the issue, its comments, and what rita may do
    assert [comment.body for comment in public_api.comments(seen.issue_id)] == ["new words"]


def test_etags_of_lost_rows_are_not_believed(github: GithubHere) -> None:
    alice = github.as_person("alice")
    issue = alice.open_issue("kept on GitHub")
    alice.comment(issue, "words")
    github.refresh(issue)
    Issue.objects.all().delete()  # the cache knows nothing of it
    seen = github.refresh(issue)
    assert seen.after.title == "kept on GitHub"
    assert len(public_api.comments(seen.issue_id)) == 1
    row = github.row(issue)
    assert row.synced_at is not None
    Comment.objects.all().delete()  # rows of another database, read at another time
    Issue.objects.update(synced_at=row.synced_at - timedelta(seconds=1))
    github.refresh(issue)
    assert len(public_api.comments(seen.issue_id)) == 1


def test_what_we_wrote_while_reading_is_not_undone(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("x")
    github.refresh(issue)
    row = github.row(issue)
    Issue.objects.filter(pk=row.pk).update(written_at=timezone.now() + timedelta(seconds=5), agent_state="running")
    github.refresh(issue)
    assert github.row(issue).agent_state == "running"
    assert row.synced_at is not None
    Issue.objects.filter(pk=row.pk).update(written_at=row.synced_at + timedelta(microseconds=1))
    github.refresh(issue)
    assert github.row(issue).agent_state == ""


def test_a_server_that_names_no_parent_is_asked_for_it(github: GithubHere, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = github.as_person("alice")
    top, issue = alice.open_issue("top"), alice.open_issue("issue")
    alice.add_sub_issue(top, issue)
    original = pages.get

    def get(*args: Any, **kwargs: Any) -> Any:
        answer = original(*args, **kwargs)
        if isinstance(answer.body, dict):
            answer.body.pop("parent_issue_url", None)
        return answer

    monkeypatch.setattr(pages, "get", get)
    github.refresh(issue)
    assert github.row(issue).parent == github.row(top)
    github.refresh(top)
    assert github.row(top).parent is None


def test_links_that_were_taken_away_go(github: GithubHere) -> None:
    alice = github.as_person("alice")
    top, issue, child, blocker = (alice.open_issue(title) for title in "abcd")
    alice.add_sub_issue(top, issue)
    alice.add_sub_issue(issue, child)
    alice.add_blocker(issue, blocker)
    comment = alice.comment(issue, "words")
    github.refresh(issue)
    alice.remove_sub_issue(top, issue)
    alice.remove_sub_issue(issue, child)
    alice.remove_blocker(issue, blocker)
    alice.delete_comment(comment)
    seen = github.refresh(issue)
    assert github.row(issue).parent is None
    assert public_api.children_ids(seen.issue_id) == public_api.blocker_ids(seen.issue_id) == []
    assert public_api.comments(seen.issue_id) == []


def test_a_deleted_issue_is_closed_here_but_a_lost_repository_closes_nothing(github: GithubHere) -> None:
    issue, other = (github.as_person("alice").open_issue(title) for title in "ab")
    github.refresh(issue)
    github.refresh(other)
    github.as_person("adam").delete_issue(issue)
    seen = github.refresh(issue)
    assert seen.is_gone
    assert not seen.after.is_open
    github.server.world.set_permission(REPOSITORY, US, "none")
    with pytest.raises(NotFoundError):
        github.refresh(other)
    assert github.row(other).is_open


def test_pull_requests_and_strange_numbers_are_no_issues(github: GithubHere) -> None:
    for key in ("99", "0", "../1", "1/comments", ""):
        with pytest.raises(NotFoundError):
            public_sync.refresh(github.repository.id, key)
    assert not Issue.objects.exists()


def test_authors_nobody_can_look_up_are_asked_about_again(github: GithubHere) -> None:
    issue = github.as_person("alice").open_issue("x")
    github.server.world.faults.append(Fault(kind="502", path="/permission", times=9))
    with pytest.raises(UnavailableError):
        github.refresh(issue)
    assert not Issue.objects.exists()
    github.server.world.faults.clear()
    assert github.refresh(issue).after.author_trust == Trust.WRITE
    assert Permission.objects.get().login == "alice"


def test_many_comments_come_in_order(github: GithubHere) -> None:
    alice = github.as_person("alice")
    issue = alice.open_issue("x")
    for number in range(205):
        alice.comment(issue, f"comment {number}")
    seen = github.refresh(issue)
    assert [c.body for c in public_api.comments(seen.issue_id)] == [f"comment {n}" for n in range(205)]
    github.refresh(issue)
    assert Comment.objects.count() == 205


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_are_created_once(github: GithubHere) -> None:
    assert not any(label.exists for label in public_sync.labels(github.repository.id))
    github.server.world.faults.append(Fault(kind="502", method="POST", path="/labels", when="after"))
    with pytest.raises(UnavailableError):
        public_sync.create_labels(github.repository.id)
    assert len(public_sync.create_labels(github.repository.id)) == 6
    assert public_sync.create_labels(github.repository.id) == []
    assert all(label.exists for label in public_sync.labels(github.repository.id))
    assert len(public_sync.labels(github.repository.id)) == 7


# --- names -----------------------------------------------------------------------------------------------------------


def test_issues_that_agents_ask_for_ping_nobody_and_read_as_they_were_written(github: GithubHere) -> None:
    text = "Ask @alice, @acme/team or a@b.c; `@decorated`"
    tracker = GithubTracker(Repository.objects.get(pk=github.repository.id))
    made = tracker.create(REPOSITORY, IssueDraft(title="New", body=text), "key")
    posted = github.as_person("alice").issue(int(made.ref.key))["body"].partition("\n\n<!--")[0]
    assert re.findall(r"(?<!\w)@\w", posted) == [] and "a@b.c" in posted
    assert posted.replace("\u200b", "") == text


def test_nobody_steers_us_by_taking_a_name_that_was_given_up(github: GithubHere) -> None:
    known = github.as_person("alice").open_issue("ours")
    github.refresh(known)
    Repository.objects.filter(pk=github.repository.id).update(remote_id=4711)  # whoever has the name now is another
    unknown = github.as_person("alice").open_issue("theirs")
    Issue.objects.filter(key=str(known)).update(remote_id=4712)
    github.as_person("alice").edit_issue(known, title="changed")
    for number in (unknown, known):
        with pytest.raises(NotFoundError, match="another repository"):
            github.refresh(number)
    with pytest.raises(NotFoundError, match="github add"):
        public_sync.sweep(github.repository.id, timezone.now())
    assert not Issue.objects.filter(key=str(unknown)).exists()
    assert github.row(known).title == "ours"
