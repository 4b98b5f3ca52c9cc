"""What only the GitHub tracker must do; what every tracker must do is in tests/contracts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from tests.integration.tracker.fake_github_world import REPOSITORY, Clone
from tests.integration.tracker.github_account import APP, PERSON, account, make_repository, sent
from tracker import public_api, public_sync, public_writes
from tracker.fake_github import Actor, FakeGithub
from tracker.github.tracker import GithubTracker
from tracker.models import Comment, Creation, Issue, Repository
from tracker.public_errors import InvalidError, NotFoundError, UnavailableError
from tracker.public_types import AgentState, CloseReason, IssueDraft, Ref, Write, WriteKind

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[APP, PERSON])
def server(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[FakeGithub]:
    with account(settings, request.param, git_root=tmp_path / "github") as started:
        yield started


@pytest.fixture
def repository(server: FakeGithub) -> Repository:
    return make_repository()


@pytest.fixture
def tracker(repository: Repository) -> GithubTracker:
    return GithubTracker(repository)


@pytest.fixture
def alice(server: FakeGithub) -> Actor:
    return server.world.act("alice", REPOSITORY)


def ref(number: int) -> Ref:
    return Ref(REPOSITORY, str(number))


def row_of(number: int) -> Issue:
    return Issue.objects.get(repository__scope=REPOSITORY, key=str(number))


def comments_of(alice: Actor, number: int) -> list[str]:
    return [str(comment["body"]) for comment in alice.comments(number)]


# --- as an App and as a machine user -------------------------------------------------------------------------------


def test_wished_writes_are_carried_out_once_and_mirrored(
    server: FakeGithub, repository: Repository, alice: Actor
) -> None:
    parent = alice.open_issue("A feature")
    public_writes.wish(
        repository.pk,
        [
            Write(
                key=key,
                kind=WriteKind.CREATE_ISSUE,
                payload={
                    "title": key,
                    "body": "Do it.",
                    "labels": ["agent:ready"],
                    "parent": str(parent),
                    "blockers": blockers,
                },
            )
            for key, blockers in (("first", []), ("second", [{"from": "first"}]))
        ]
        + [
            Write(
                key="status",
                kind=WriteKind.UPSERT_COMMENT,
                payload={"ref": {"from": "first"}, "slot": "status", "data": {"seq": 1}, "markdown": "Running"},
            )
        ],
    )
    results = public_writes.drain(repository.pk, now=timezone.now())
    assert [(result.is_done, result.error) for result in results] == [(True, "")] * 3
    first, second = (int(result.value["key"]) for result in results[:2])
    assert alice.sub_issues(parent) == [first, second]
    assert alice.blockers(second) == [first]
    assert alice.labels(first) == ["agent:ready"]
    assert public_api.children_ids(row_of(parent).pk) == [row_of(first).pk, row_of(second).pk]
    assert public_api.open_blockers(row_of(second).pk) == [ref(first)]
    (comment,) = public_api.comments(row_of(first).pk)
    assert (comment.body, comment.slot, comment.is_ours) == ("Running", "status", True)
    known, shown = public_api.get_issue(row_of(first).pk), GithubTracker(repository).get(ref(first))
    assert replace(known, updated_at=shown.updated_at) == shown


def test_reading_everything_again_changes_no_row(repository: Repository, tracker: GithubTracker, alice: Actor) -> None:
    made = tracker.create(REPOSITORY, IssueDraft(title="New", body="Do it.", labels=("bug",)), "key").ref
    parent = ref(alice.open_issue("Parent"))
    tracker.link_child(parent, made)
    tracker.set_blockers(made, {ref(alice.open_issue("Blocker"))})
    tracker.set_state(made, AgentState.RUNNING)
    tracker.upsert_comment(made, "status", {"seq": 1}, "Running")
    pk = row_of(int(made.key)).pk

    def known() -> object:
        rows = Comment.objects.filter(issue=pk).values_list("slot", "body", "data", "remote_id", "is_ours")
        view = public_api.get_issue(pk)
        return view.labels, view.body, view.is_open, public_api.parent_id(pk), public_api.open_blockers(pk), list(rows)

    before = known()
    public_sync.refresh(repository.pk, made.key)
    assert known() == before


def test_nothing_is_asked_inside_a_transaction(tracker: GithubTracker, alice: Actor) -> None:
    number = alice.open_issue("One")
    with transaction.atomic(), pytest.raises(RuntimeError):
        tracker.get(ref(number))


# --- our rows and people's acts ------------------------------------------------------------------------------------


def test_a_write_does_not_hide_what_people_changed_meanwhile(
    repository: Repository, tracker: GithubTracker, alice: Actor
) -> None:
    number = alice.open_issue("One", "Old words")
    public_sync.refresh(repository.pk, str(number))
    alice.edit_issue(number, body="New words")
    alice.add_label(number, "agent:ready")
    alice.assign(number, "alice")
    tracker.upsert_comment(ref(number), "status", {}, "Running")
    tracker.set_label(ref(number), "bug", present=True)
    seen = public_sync.refresh(repository.pk, str(number))
    assert seen.before is not None
    assert (seen.before.body, seen.before.agent_state, seen.before.assignees) == ("Old words", AgentState.NONE, ())
    assert (seen.after.body, seen.after.agent_state, seen.after.assignees) == (
        "New words",
        AgentState.READY,
        ("alice",),
    )


def test_reads_leave_the_mirror_to_those_who_compare(
    repository: Repository, tracker: GithubTracker, alice: Actor
) -> None:
    number = alice.open_issue("One", "Old words")
    public_sync.refresh(repository.pk, str(number))
    alice.edit_issue(number, body="New words")
    assert tracker.get(ref(number)).body == "New words"
    assert tracker.list_changed(REPOSITORY, timezone.now() - timedelta(hours=1)).items[0].body == "New words"
    assert row_of(number).body == "Old words"


def test_links_to_other_repositories_are_peoples_and_left_alone(
    server: FakeGithub, tracker: GithubTracker, alice: Actor
) -> None:
    server.world.add_repository("acme/gadgets", {"alice": "admin"})
    foreign = server.world.act("alice", "acme/gadgets")
    other = foreign.issue(foreign.open_issue("Elsewhere"))
    parent, child = alice.open_issue("Parent"), alice.open_issue("Child")
    alice.api("POST", f"/issues/{parent}/sub_issues", {"sub_issue_id": other["id"]})
    alice.api("POST", f"/issues/{parent}/dependencies/blocked_by", {"issue_id": other["id"]})
    assert tracker.children(ref(parent)) == []
    assert tracker.blockers(ref(parent)) == []
    tracker.link_child(ref(parent), ref(child))
    tracker.set_blockers(ref(parent), {ref(child)})
    tracker.set_blockers(ref(parent), set())
    assert tracker.children(ref(parent)) == [ref(child)]
    assert len(alice.api("GET", f"/issues/{parent}/dependencies/blocked_by")) == 1


# --- labels --------------------------------------------------------------------------------------------------------


def test_state_labels_get_our_colour_and_lists_are_never_replaced(
    server: FakeGithub, tracker: GithubTracker, alice: Actor
) -> None:
    number = alice.open_issue("One", labels=["bug"])
    tracker.set_state(ref(number), AgentState.RUNNING)
    found = alice.api("GET", "/labels/agent:running")
    assert (found["color"], found["description"]) == ("1d76db", "An agent is at work")
    assert not sent(server, "PUT")


def test_states_that_a_crash_or_a_person_left_are_cleared_away(tracker: GithubTracker, alice: Actor) -> None:
    number = alice.open_issue("One", labels=["agent:ready", "agent:running", "Agent:Failed", "agent:hold", "bug"])
    tracker.set_state(ref(number), AgentState.WAITING)
    assert sorted(alice.labels(number)) == ["agent:hold", "agent:waiting", "bug"]
    alice.add_label(number, "agent:blocked")
    tracker.close(ref(number), CloseReason.COMPLETED)
    assert sorted(alice.labels(number)) == ["agent:hold", "bug"]
    alice.add_label(number, "agent:ready")
    tracker.set_state(ref(number), AgentState.RUNNING)
    assert sorted(alice.labels(number)) == ["agent:hold", "bug"]


def test_a_state_that_is_shown_already_costs_no_write(server: FakeGithub, tracker: GithubTracker, alice: Actor) -> None:
    number = alice.open_issue("One")
    tracker.set_state(ref(number), AgentState.RUNNING)
    server.traffic.clear()
    tracker.set_state(ref(number), AgentState.RUNNING)
    assert [line[0] for line in server.traffic] == ["GET"]


# --- people --------------------------------------------------------------------------------------------------------


def test_the_machine_user_is_no_person_who_takes_over(
    settings: Settings, server: FakeGithub, tracker: GithubTracker, alice: Actor
) -> None:
    settings.TRACKER_GITHUB_MACHINE_USER = "Adam"
    number = alice.open_issue("One")
    tracker.comments(ref(number))
    assert tracker.assign(ref(number), "adam")
    assert not public_api.facts([row_of(number).pk])[row_of(number).pk].held
    assert tracker.assign(ref(number), "alice")
    assert public_api.facts([row_of(number).pk])[row_of(number).pk].hold_reason == "assigned to alice"


@pytest.mark.parametrize("actor", ["", "no body", "a/../../b", "\x00", "x" * 500, "mallory"])
def test_nobody_is_assigned_who_cannot_be(tracker: GithubTracker, alice: Actor, actor: str) -> None:
    number = alice.open_issue("One")
    assert not tracker.assign(ref(number), actor)


# --- comments ------------------------------------------------------------------------------------------------------


def test_a_comment_that_a_person_edited_is_written_anew_at_the_next_transition(
    repository: Repository, server: FakeGithub, tracker: GithubTracker, alice: Actor
) -> None:
    number = alice.open_issue("One")
    made = tracker.upsert_comment(ref(number), "status", {"seq": 4}, "Running")
    server.world.act("adam", REPOSITORY).edit_comment(int(made.id), "My own words")
    public_sync.refresh(repository.pk, str(number))
    (row,) = Comment.objects.filter(issue=row_of(number))
    assert (row.slot, row.body, row.data) == ("status", "My own words", {"seq": 4})
    (shown,) = tracker.comments(ref(number))
    assert (shown.slot, shown.body) == ("status", "My own words")
    late = tracker.upsert_comment(ref(number), "status", {"seq": 3}, "Too late")
    assert late.body == "My own words"
    again = tracker.upsert_comment(ref(number), "status", {"seq": 5}, "Waiting")
    assert (again.id, again.body) == (made.id, "Waiting")
    assert len(comments_of(alice, number)) == 1


def test_a_deleted_comment_is_written_anew_once_it_is_surely_gone(
    repository: Repository, server: FakeGithub, tracker: GithubTracker, alice: Actor
) -> None:
    number = alice.open_issue("One")
    made = tracker.upsert_comment(ref(number), "status", {"seq": 1}, "Running")
    server.world.act("adam", REPOSITORY).delete_comment(int(made.id))
    with pytest.raises(UnavailableError):
        tracker.upsert_comment(ref(number), "status", {"seq": 2}, "Waiting")
    Issue.objects.update(written_at=timezone.now() - timedelta(minutes=2))
    again = tracker.upsert_comment(ref(number), "status", {"seq": 2}, "Waiting")
    assert again.id != made.id
    assert len(comments_of(alice, number)) == 1


def test_a_comment_too_long_with_its_marker_is_shortened(tracker: GithubTracker, alice: Actor) -> None:
    number = alice.open_issue("One")
    made = tracker.upsert_comment(ref(number), "status", {"seq": 1}, "x" * 65_400)
    assert made.body.endswith("xx\n\n… (shortened)")
    assert len(comments_of(alice, number)[0]) == 65_000
    tracker.upsert_comment(ref(number), "status", {"seq": 1}, "x" * 65_400)
    (shown,) = tracker.comments(ref(number))
    assert shown.edited_at is None


# --- pull requests -------------------------------------------------------------------------------------------------

BRANCH = "agent/1-one"


@pytest.fixture
def issue(alice: Actor) -> Ref:
    return ref(alice.open_issue("One"))


@pytest.fixture
def clone(server: FakeGithub, tmp_path: Path) -> Clone:
    made = Clone(server, tmp_path / "clone")
    made.commit(BRANCH, "b.txt", "work\n")
    return made


def open_change(tracker: GithubTracker, issue: Ref, *, title: str = "Fix", body: str = "Closes #1") -> Ref:
    return tracker.open_change(issue, head=BRANCH, base="main", title=title, body=body)


def test_a_comment_in_a_pull_requests_conversation_is_edited_in_place_and_found_again(
    tracker: GithubTracker, alice: Actor, issue: Ref, clone: Clone
) -> None:
    change = open_change(tracker, issue)
    number = int(change.key)
    first = tracker.upsert_comment(change, "answer-1", {}, "One")
    assert tracker.upsert_comment(change, "answer-1", {}, "One") == first
    again = tracker.upsert_comment(change, "answer-1", {}, "Two")
    other = tracker.upsert_comment(change, "answer-2", {}, "Three")
    assert (again.id, again.body, other.body) == (first.id, "Two", "Three")
    assert other.id != first.id
    assert [text.partition("-->\n")[2].strip() for text in comments_of(alice, number)] == ["Two", "Three"]
    assert not Issue.objects.filter(key=change.key).exists()
    assert not Creation.objects.exists()


def test_texts_of_a_pull_request_follow_and_peoples_words_stay(
    tracker: GithubTracker, alice: Actor, issue: Ref, clone: Clone
) -> None:
    change = open_change(tracker, issue)
    number = int(change.key)
    alice.api("PATCH", f"/pulls/{number}", {"body": f"Look here first.\n\n{alice.pull(number)['body']}\n\nThanks!"})
    assert open_change(tracker, issue, title="Fix it", body="Closes #1, done") == change
    shown = alice.pull(number)
    assert shown["title"] == "Fix it"
    assert shown["body"].startswith("Look here first.")
    assert shown["body"].endswith("Thanks!")
    assert "Closes #1, done" in shown["body"]
    alice.api("PATCH", f"/pulls/{number}", {"title": "My title"})
    open_change(tracker, issue, title="Fix it now", body="Closes #1, all done")
    assert alice.pull(number)["title"] == "My title"
    assert "Closes #1, all done" in alice.pull(number)["body"]
    alice.api("PATCH", f"/pulls/{number}", {"body": "Mine."})
    open_change(tracker, issue, title="Fix it", body="Closes #1")
    assert alice.pull(number)["body"] == "Mine."


def test_texts_that_are_the_same_cost_no_write(
    server: FakeGithub, tracker: GithubTracker, issue: Ref, clone: Clone
) -> None:
    open_change(tracker, issue)
    server.traffic.clear()
    open_change(tracker, issue)
    assert {line[0] for line in server.traffic} == {"GET"}


def test_a_branch_without_commits_or_not_there_is_refused_for_ever(
    tracker: GithubTracker, issue: Ref, clone: Clone
) -> None:
    for head in ("main", "agent/none"):
        with pytest.raises(InvalidError):
            tracker.open_change(issue, head=head, base="main", title="Fix", body="")


def test_a_closed_pull_request_is_followed_by_a_new_one(
    tracker: GithubTracker, alice: Actor, issue: Ref, clone: Clone
) -> None:
    first = open_change(tracker, issue)
    alice.close_pull(int(first.key))
    tracker.mark_ready(issue, head=BRANCH)
    second = open_change(tracker, issue)
    assert second != first
    tracker.mark_ready(issue, head=BRANCH)
    tracker.mark_ready(issue, head=BRANCH)
    assert alice.pull(int(second.key))["draft"] is False


def test_a_pull_request_is_no_issue_but_can_be_reacted_to(
    tracker: GithubTracker, alice: Actor, issue: Ref, clone: Clone
) -> None:
    change = open_change(tracker, issue)
    for act in (tracker.get, tracker.reopen, tracker.comments):
        with pytest.raises(NotFoundError):
            act(change)
    assert tracker.list_changed(REPOSITORY, timezone.now() - timedelta(hours=1)).items[-1].ref == issue
    comment = alice.comment(int(change.key), "Please rework")
    tracker.react(change, "eyes", str(comment))
    (reaction,) = alice.api("GET", f"/issues/comments/{comment}/reactions")
    assert reaction["content"] == "eyes"
