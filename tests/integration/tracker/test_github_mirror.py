"""Rows that follow GitHub and never go back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tracker import public_api
from tracker.conf import conf
from tracker.github import markers, mirror, wire, written
from tracker.github.wire import RemoteComment, RemoteIssue
from tracker.models import Comment, Issue, Repository
from tracker.public_errors import InvalidError
from tracker.public_types import AgentState, ChecksState, CloseReason, Ref, Trust

pytestmark = pytest.mark.django_db
US = "agent-grid[bot]"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def remote(number: int = 1, *, changed: int = 0, **fields: Any) -> RemoteIssue:
    data = {
        "id": 7_000_000_000 + number,
        "number": number,
        "repository_url": "https://api.github.com/repos/acme/widgets",
        "html_url": f"https://github.com/acme/widgets/issues/{number}",
        "title": f"Issue {number}",
        "body": "Text",
        "state": "open",
        "user": {"login": "alice"},
        "labels": [],
        "assignees": [],
        "created_at": at(0),
        "updated_at": at(changed),
    }
    return wire.issue(data | fields, us=US)


def remote_comment(number: int, body: str, *, login: str = "alice", edited: int = 0) -> RemoteComment:
    data = {
        "id": number,
        "issue_url": "https://api.github.com/repos/acme/widgets/issues/1",
        "body": body,
        "user": {"login": login},
        "created_at": at(0),
        "updated_at": at(edited),
    }
    return wire.comment(data, us=US)


def marked(markdown: str, *, slot: str = "status", seq: int = 1, issue: int = 7_000_000_001) -> str:
    return markers.comment_body(
        slot=slot, issue_id=issue, data={"seq": seq}, markdown=markdown, secret=conf().marker_key
    )


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(tracker="github", scope="acme/widgets", source="x", default_branch="main")


@pytest.fixture
def issue(repository: Repository) -> Issue:
    return mirror.store_issue(repository, remote(), trust=Trust.WRITE)


def view(row: Issue) -> Any:
    return public_api.get_issue(row.pk)


# --- issues --------------------------------------------------------------------------------------------------------


def test_an_issue_is_stored_whole(settings: Any, repository: Repository) -> None:
    settings.TRACKER_GITHUB_MACHINE_USER = "Robo"
    found = remote(
        body=markers.issue_body("Do it.", dedupe_key="key", secret=b"x"),
        labels=[{"name": "bug"}, {"name": "agent:running"}, {"name": "agent:ready"}],
        assignees=[{"login": "alice"}, {"login": "robo"}, {"login": "Agent-Grid[bot]"}],
    )
    row = mirror.store_issue(repository, found, trust=Trust.WRITE)
    shown = view(row)
    assert (shown.ref, shown.body, shown.author_trust) == (Ref("acme/widgets", "1"), "Do it.", Trust.WRITE)
    assert (shown.labels, shown.agent_state) == (("agent:running", "bug"), AgentState.RUNNING)
    assert dict(row.assignees.values_list("login", "is_ours")) == {
        "alice": False,
        "robo": True,
        "Agent-Grid[bot]": True,
    }
    assert row.synced_at is not None


def test_a_newer_change_wins_and_an_older_one_loses(repository: Repository) -> None:
    new = remote(changed=9, title="New", labels=[{"name": "b"}], assignees=[{"login": "bob"}], state="closed")
    old = remote(changed=5, title="Old", labels=[{"name": "a"}], assignees=[{"login": "alice"}])
    mirror.store_issue(repository, old, trust=Trust.READ)
    row = mirror.store_issue(repository, new, trust=None)
    shown = view(row)
    assert (shown.title, shown.labels, shown.assignees, shown.is_open) == ("New", ("b",), ("bob",), False)
    assert (shown.close_reason, shown.author_trust) == (CloseReason.COMPLETED, Trust.READ)
    mirror.store_issue(repository, old, trust=Trust.ADMIN)
    assert view(row) == shown


def test_a_read_begun_before_our_write_takes_none_of_it_back(repository: Repository, issue: Issue) -> None:
    began = timezone.now() - timedelta(seconds=5)
    written.state(issue, AgentState.RUNNING)
    written.label(issue, "agent:hold", present=True)
    mirror.store_issue(repository, remote(changed=3, body="New text"), trust=None, synced_at=began)
    shown = view(issue)
    assert (shown.body, shown.labels) == ("New text", ("agent:hold", "agent:running"))
    # A read begun afterwards tells all.
    mirror.store_issue(repository, remote(changed=4, body="New text"), trust=None)
    assert view(issue).labels == ()


def test_our_writes_leave_the_time_of_change_to_reads(issue: Issue) -> None:
    before = view(issue).updated_at
    written.closed(issue, reason=CloseReason.NOT_PLANNED, at=START)
    written.reopened(issue)
    written.assigned(issue, "bob", is_ours=False)
    assert view(issue).updated_at == before


def test_an_issue_met_in_passing_is_made_but_not_changed(repository: Repository, issue: Issue) -> None:
    mirror.ensure_issue(repository, remote(changed=9, title="New"))
    assert view(issue).title == "Issue 1"
    passing = mirror.ensure_issue(repository, remote(2, changed=9, labels=[{"name": "bug"}]))
    assert passing.synced_at is None
    # Even a read that saw it earlier is worth more: it is whole.
    mirror.store_issue(repository, remote(2, changed=3, title="Whole"), trust=None)
    assert view(passing).title == "Whole"


def test_a_pull_request_is_never_stored_as_an_issue(repository: Repository) -> None:
    found = remote(pull_request={"url": "x"})
    with pytest.raises(InvalidError):
        mirror.store_issue(repository, found, trust=None)
    with pytest.raises(InvalidError):
        mirror.ensure_issue(repository, found)
    assert not Issue.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_who_store_one_issue_at_once_make_one_row(repository: Repository) -> None:
    barrier, errors = threading.Barrier(4), []

    def store(changed: int) -> None:
        try:
            barrier.wait(10)
            labels = [{"name": f"label {changed}"}, {"name": "bug"}]
            mirror.store_issue(repository, remote(changed=changed, labels=labels), trust=None)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=store, args=(changed,)) for changed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    (row,) = Issue.objects.all()
    assert view(row).labels == ("bug", "label 3")


# --- structure -----------------------------------------------------------------------------------------------------


def test_structure_becomes_what_was_read(repository: Repository, issue: Issue) -> None:
    rows = {number: mirror.ensure_issue(repository, remote(number)) for number in range(2, 7)}
    mirror.store_structure(issue, "6", ["3", "2", "77"], ["4", "5", "88"])
    assert public_api.children_ids(issue.pk) == [rows[3].pk, rows[2].pk]
    assert public_api.parent_id(issue.pk) == rows[6].pk
    assert [ref.key for ref in public_api.open_blockers(issue.pk)] == ["4", "5"]
    mirror.store_structure(issue, None, ["2", "4", "3"], ["5"])
    assert public_api.children_ids(issue.pk) == [rows[2].pk, rows[4].pk, rows[3].pk]
    assert public_api.parent_id(issue.pk) is None
    assert [ref.key for ref in public_api.open_blockers(issue.pk)] == ["5"]


def test_a_child_read_by_itself_comes_last_and_then_keeps_its_place(repository: Repository, issue: Issue) -> None:
    rows = {number: mirror.ensure_issue(repository, remote(number)) for number in range(2, 5)}
    mirror.store_structure(issue, None, ["2", "3"], [])
    mirror.store_structure(rows[4], "1", [], [])
    mirror.store_structure(rows[2], "1", [], [])
    assert public_api.children_ids(issue.pk) == [rows[2].pk, rows[3].pk, rows[4].pk]


def test_links_that_we_made_meanwhile_are_not_taken_back(repository: Repository, issue: Issue) -> None:
    child = mirror.ensure_issue(repository, remote(2))
    began = timezone.now() - timedelta(seconds=5)
    written.children(issue, [child.remote_id or 0])
    written.blockers(issue, [child.remote_id or 0])
    assert not mirror.store_structure(issue, None, [], [], read_at=began)
    assert not mirror.store_structure(child, None, [], [], read_at=began)
    assert public_api.children_ids(issue.pk) == [child.pk]
    assert mirror.store_structure(issue, None, [], [], read_at=timezone.now())
    assert public_api.children_ids(issue.pk) == []


def test_nonsense_links_are_left_out(repository: Repository, issue: Issue) -> None:
    mirror.store_structure(issue, "1", ["1", "1"], ["1"])
    assert public_api.parent_id(issue.pk) is None
    assert public_api.children_ids(issue.pk) == []
    found = mirror.same_repository(
        repository,
        [
            remote(2),
            remote(3, repository_url="https://api.github.com/repos/acme/gadgets"),
            remote(4, pull_request={"url": "x"}),
        ],
    )
    assert [one.key for one in found] == ["2"]


# --- comments ------------------------------------------------------------------------------------------------------


def test_comments_are_stored_with_trust_slots_and_data(issue: Issue) -> None:
    ours, theirs = remote_comment(11, marked("Running"), login=US), remote_comment(12, "Hello")
    mirror.store_comments(issue, [ours, theirs], {"alice": Trust.WRITE})
    first, second = public_api.comments(issue.pk)
    assert (first.id, first.slot, first.body, first.is_ours) == ("11", "status", "Running", True)
    assert (second.id, second.slot, second.body, second.trust) == ("12", "", "Hello", Trust.WRITE)
    assert Comment.objects.get(remote_id=11).data == {"seq": 1}


@pytest.mark.parametrize(
    ("body", "login"),
    [
        (marked("Forged"), "alice"),
        (marked("From elsewhere", issue=7_000_000_002), US),
        (marked("Altered").replace('"seq":1', '"seq":2'), US),
    ],
)
def test_a_marker_that_is_not_ours_takes_no_slot(issue: Issue, body: str, login: str) -> None:
    mirror.store_comments(issue, [remote_comment(11, body, login=login)], {})
    row = Comment.objects.get()
    assert (row.slot, row.data, row.body) == ("", {}, body)


def test_of_two_comments_in_one_slot_the_first_holds_it(issue: Issue) -> None:
    copies = [remote_comment(number, marked("Running"), login=US) for number in (12, 11)]
    mirror.store_comments(issue, copies, {})
    assert dict(Comment.objects.values_list("remote_id", "slot")) == {11: "status", 12: ""}


def test_deleted_comments_go_and_parts_of_a_listing_delete_nothing(issue: Issue) -> None:
    mirror.store_comments(issue, [remote_comment(11, "a"), remote_comment(12, "b")], {})
    mirror.store_comments(issue, [remote_comment(13, "c")], {}, is_all=False)
    assert Comment.objects.count() == 3
    began = timezone.now() - timedelta(seconds=5)
    written.commented(issue)
    mirror.store_comments(issue, [remote_comment(11, "a")], {}, read_at=began)
    assert Comment.objects.count() == 3
    mirror.store_comments(issue, [remote_comment(11, "a")], {}, read_at=timezone.now())
    assert [row.remote_id for row in Comment.objects.all()] == [11]


def test_an_older_edit_of_a_comment_loses(issue: Issue) -> None:
    mirror.store_comments(issue, [remote_comment(11, "new", edited=9)], {})
    mirror.store_comments(issue, [remote_comment(11, "old", edited=5)], {})
    assert Comment.objects.get().body == "new"


# --- pull requests -------------------------------------------------------------------------------------------------


def remote_pull(*, changed: int = 0, sha: str = "a", **fields: Any) -> wire.RemotePull:
    repo = {"full_name": "acme/widgets"}
    data = {
        "id": 8,
        "number": 5,
        "title": "Fix",
        "state": "open",
        "draft": True,
        "user": {"login": US},
        "head": {"ref": "agent/1", "sha": sha * 40, "repo": repo},
        "base": {"ref": "main", "repo": repo},
        "created_at": at(0),
        "updated_at": at(changed),
    }
    return wire.pull(data | fields, us=US)


def test_a_change_keeps_its_checks_until_its_commit_changes(repository: Repository) -> None:
    row = mirror.store_change(repository, remote_pull(), checks=ChecksState.FAILURE)
    assert (row.is_ours, row.is_draft, row.checks) == (True, True, "failure")
    assert mirror.store_change(repository, remote_pull(changed=1)).checks == "failure"
    assert mirror.store_change(repository, remote_pull(changed=2, sha="b")).checks == ""
    assert mirror.store_change(repository, remote_pull(changed=1)).head_sha == "b" * 40


def test_a_merged_change_is_closed(repository: Repository) -> None:
    mirror.store_change(repository, remote_pull())
    row = mirror.store_change(repository, remote_pull(changed=1, state="closed", merged_at=at(1)))
    assert (row.is_open, row.is_merged) == (False, True)
