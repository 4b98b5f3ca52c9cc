"""Keeping in step with GitHub, over HTTP against the fake: refresh, sweep, redelivery, backfill, timelines, labels."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY, Clone, Listener
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker import installations, public_api, public_sync
from tracker.fake_github import FakeGithub, Fault
from tracker.github.tracker import GithubTracker
from tracker.models import Change, Comment, Delivery, Issue, Permission, Quota, Repository
from tracker.public_errors import InvalidError, NotFoundError, RateLimitedError, UnavailableError
from tracker.public_types import AgentState, HintKind, IssueDraft, Trust
from tracker.sync import pages, sweeping

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


def swept(here: GithubHere) -> public_sync.Swept:
    """Sweep and move the cursor."""
    found = public_sync.sweep(here.repository.id, timezone.now())
    public_sync.settle(here.repository.id, found, taken=len(found.steps))
    return found


def hints(here: GithubHere) -> list[tuple[HintKind, str]]:
    return sorted((step.hint.kind, step.hint.key) for step in swept(here).steps)


# --- taking a repository under care ------------------------------------------------------------------------------------


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


# --- one issue, whole ---------------------------------------------------------------------------------------------------


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


# --- labels -------------------------------------------------------------------------------------------------------------------


def test_labels_are_created_once(github: GithubHere) -> None:
    assert not any(label.exists for label in public_sync.labels(github.repository.id))
    github.server.world.faults.append(Fault(kind="502", method="POST", path="/labels", when="after"))
    with pytest.raises(UnavailableError):
        public_sync.create_labels(github.repository.id)
    assert len(public_sync.create_labels(github.repository.id)) == 6
    assert public_sync.create_labels(github.repository.id) == []
    assert all(label.exists for label in public_sync.labels(github.repository.id))
    assert len(public_sync.labels(github.repository.id)) == 7


# --- the sweep ------------------------------------------------------------------------------------------------------------


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


def make_pull(here: GithubHere, login: str = "alice", branch: str = "topic") -> int:
    """A pull request with one commit."""
    with tempfile.TemporaryDirectory() as folder:
        Clone(here.server, Path(folder) / "clone").commit(branch, "app.txt", branch)
    return here.as_person(login).open_pull(branch, title=branch)


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


# --- deliveries that failed ------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def test_failed_deliveries_are_asked_for_again_and_not_for_ever(
    github: GithubHere, listener: Any, settings: Any
) -> None:
    settings.PUBLIC_URL = base = listener.url.removesuffix("/webhooks")
    world = github.server.world
    github.server.world.set_permission(REPOSITORY, US, "admin")
    world.add_hook(REPOSITORY, url=f"{base}/webhooks/github/", secret="s")
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/elsewhere", secret="s", drop=True)
    alice = github.as_person("alice")
    issue = alice.open_issue("lost")
    world.deliver(drop=True)
    alice.add_label(issue, "bug")
    world.deliver()
    assert len(listener.received) == 1
    assert public_sync.redeliver(timezone.now()) == 1
    world.deliver()
    assert [headers["X-GitHub-Event"] for headers, _ in listener.received] == ["issues", "issues"]
    assert public_sync.redeliver(timezone.now()) == 0
    listener.status = 500
    alice.add_label(issue, "worse")
    world.deliver()
    asked = []
    for _ in range(4):
        asked.append(public_sync.redeliver(timezone.now()))
        world.deliver()
    assert asked == [1, 1, 0, 0]


def test_deliveries_that_we_have_are_not_asked_for(github: GithubHere, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    world = github.server.world
    world.set_permission(REPOSITORY, US, "admin")
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/webhooks/github/")
    github.as_person("alice").open_issue("x")
    world.deliver(drop=True)
    guid = world.deliveries[0].guid
    Delivery.objects.create(guid=guid, event="issues", payload={}, received_at=timezone.now())
    assert public_sync.redeliver(timezone.now()) == 0
    Delivery.objects.all().delete()
    assert public_sync.redeliver(timezone.now()) == 1


def test_a_token_that_may_not_see_webhooks_is_no_error(github: GithubHere, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    assert public_sync.redeliver(timezone.now()) == 0
    (finding,) = public_sync.check_hooks(github.repository.id)
    assert not finding.is_ok
    assert "right to read webhooks" in finding.remedy
    Delivery.objects.create(guid="g", event="issues", scope=REPOSITORY, payload={}, received_at=timezone.now())
    (finding,) = public_sync.check_hooks(github.repository.id)
    assert finding.is_ok and "they come in" in finding.what
    Delivery.objects.update(received_at=timezone.now() - timedelta(days=8))
    assert [finding.is_ok for finding in public_sync.check_hooks(github.repository.id)] == [False]


def test_an_apps_deliveries_of_other_repositories_stay_failed(
    github_server: FakeGithub, transactional_db: None, settings: Any
) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    world = github_server.world
    app = world.add_app(7)
    world.add_repository("acme/other", {"alice": "write"})
    world.add_installation(app, "acme")
    world.add_hook(app, url="http://127.0.0.1:9/webhooks/github/", secret="s")
    settings.TRACKER_GITHUB_APP_ID, settings.TRACKER_GITHUB_APP_KEY = str(app.id), app.private_key_pem
    public_sync.add_repository(REPOSITORY)
    world.act("alice", REPOSITORY).open_issue("ours")
    world.act("alice", "acme/other").open_issue("not ours")
    world.deliver(drop=True)
    ours = [d for d in world.deliveries if d.event == "issues"]
    assert len(ours) == 2
    public_sync.redeliver(timezone.now())
    again = [d for d in world.deliveries if d.redelivery and d.event == "issues"]
    assert [d.guid for d in again] == [ours[0].guid]


def test_hooks_are_checked(github: GithubHere, listener: Any, settings: Any) -> None:
    world = github.server.world
    world.set_permission(REPOSITORY, US, "admin")
    settings.PUBLIC_URL = ""

    def check() -> list[tuple[bool, str]]:
        return [(finding.is_ok, finding.what) for finding in public_sync.check_hooks(github.repository.id)]

    assert "PUBLIC_URL" in check()[0][1]
    settings.PUBLIC_URL = base = listener.url.removesuffix("/webhooks")
    assert check() == [(False, f"no webhook sends to {base}/webhooks/github/")]
    hook = world.add_hook(REPOSITORY, url=f"{base}/webhooks/github/", events=("issues",))
    assert [is_ok for is_ok, _ in check()] == [True, False]
    hook.events = ("*",)
    github.as_person("alice").open_issue("x")
    world.deliver()
    assert check()[-1] == (True, "1 of 1 deliveries came in")
    listener.status = 401
    github.as_person("alice").open_issue("y")
    world.deliver()
    assert check()[-1] == (False, "its latest delivery failed (Invalid HTTP Response: 401), 1 of 2 did")


# --- everything ------------------------------------------------------------------------------------------------------------


def fill(here: GithubHere) -> dict[str, int]:
    """A tree, blockers, comments and a pull request; numbers by name."""
    alice = here.as_person("alice")
    made = {name: alice.open_issue(name, body=f"{name}!") for name in ("root", "one", "two", "other")}
    alice.add_sub_issue(made["root"], made["two"])
    alice.add_sub_issue(made["root"], made["one"])
    alice.add_blocker(made["one"], made["two"])
    alice.add_label(made["root"], "agent:waiting")
    alice.close(made["two"])
    here.as_person("rita").comment(made["one"], "first")
    alice.comment(made["one"], "second")
    made["pull"] = make_pull(here)
    return made


def picture(here: GithubHere) -> Any:
    """All that the mirror says, by names that survive a lost database."""
    return {
        row.key: (
            row.title,
            row.body,
            row.is_open,
            row.agent_state,
            row.author_trust if row.is_open else "",
            row.parent.key if row.parent else None,
            [child.key for child in row.children.order_by("position")],
            sorted(link.blocker.key for link in row.blocker_links.all()),
            [(c.author, c.body, c.author_trust) for c in row.comments.order_by("created_at", "remote_id")],
        )
        for row in Issue.objects.filter(repository_id=here.repository.id).order_by("pk")
    }


def test_a_backfill_reads_what_refreshing_each_issue_would(github: GithubHere) -> None:
    made = fill(github)
    told: list[public_sync.Progress] = []
    done = public_sync.backfill(github.repository.id, progress=told.append)
    assert (done.issues, done.comments, done.changes, done.has_resumed) == (5, 2, 1, False)
    assert [step.phase for step in told] == ["issues", "comments", "pull requests", "done"]
    assert told[0].total == 5
    filled = picture(github)
    assert filled[str(made["root"])][6] == [str(made["two"]), str(made["one"])]
    Issue.objects.update(parent=None)
    Issue.objects.all().delete()
    for name in ("root", "one", "two", "other"):
        github.refresh(made[name])
    assert picture(github) == filled
    assert Change.objects.get().head_branch == "topic"
    assert Repository.objects.get().swept_until is not None


def test_a_second_backfill_asks_little_and_hides_no_change(github: GithubHere) -> None:
    made = fill(github)
    public_sync.backfill(github.repository.id)
    before = picture(github)
    public_sync.backfill(github.repository.id)
    assert picture(github) == before
    github.server.world.advance(5)
    github.as_person("alice").add_label(made["other"], "agent:ready")
    public_sync.backfill(github.repository.id)
    # The sweep has to see the difference: stored by a backfill, nobody would act on it.
    assert github.row(made["other"]).agent_state == ""
    assert (HintKind.ISSUE, str(made["other"])) in hints(github)


@pytest.mark.parametrize("path", ["/issues$", "/issues/comments$", "/pulls$", "/sub_issues$", "/permission$"])
def test_a_broken_backfill_goes_on(github: GithubHere, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 2)
    made = fill(github)
    for fault in ("403-secondary", "disconnect"):
        github.server.world.faults.append(Fault(kind=fault, path=path, times=5))
        with pytest.raises((RateLimitedError, UnavailableError)):
            public_sync.backfill(github.repository.id)
        github.server.world.faults.clear()
        Quota.objects.all().delete()
    done = public_sync.backfill(github.repository.id)
    assert done.has_resumed
    filled = picture(github)
    assert set(filled) == {str(made[name]) for name in ("root", "one", "two", "other")}
    public_sync.backfill(github.repository.id, afresh=True)
    assert picture(github) == filled
    assert {key: len(row[8]) for key, row in filled.items() if row[8]} == {str(made["one"]): 2}


# --- names ---------------------------------------------------------------------------------------------------------------


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


# --- comparing -------------------------------------------------------------------------------------------------------------


def test_every_difference_is_found(github: GithubHere) -> None:
    made = fill(github)
    public_sync.backfill(github.repository.id)
    assert public_sync.compare(github.repository.id) == []
    alice = github.as_person("alice")
    alice.edit_issue(made["one"], title="renamed", body="rewritten")
    alice.add_label(made["root"], "agent:running")
    alice.add_label(made["two"], "agent:failed")
    alice.close(made["other"])
    new = alice.open_issue("new")
    ghost = Issue.objects.get(key=str(made["other"]))
    ghost.pk, ghost.key, ghost.remote_id = None, "4711", None
    ghost.save()
    found = {(drift.key, drift.what) for drift in public_sync.compare(github.repository.id)}
    assert found == {
        (str(made["one"]), "title"),
        (str(made["one"]), "body"),
        (str(made["root"]), "two state labels"),
        (str(made["two"]), "label on a closed issue"),
        (str(made["other"]), "state"),
        (str(new), "missing here"),
        ("4711", "gone there"),
    }
