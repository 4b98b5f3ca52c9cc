"""Issues, labels and comments of the fake GitHub, through PyGithub."""

from __future__ import annotations

import datetime as dt

import pytest
from github import UnknownObjectException
from github.Issue import Issue
from github.Repository import Repository

from tests.integration.tracker.fake_github_here import raw, refused, repo, server
from tests.integration.tracker.fake_github_world import client, repository
from tracker.fake_github import ApiError, FakeGithub

__all__ = ["repo", "server"]


def test_ids_are_far_from_numbers(repo: Repository) -> None:
    issues = [repo.create_issue(f"Issue {index}") for index in range(3)]

    assert [issue.number for issue in issues] == [1, 2, 3]
    assert all(issue.id > 7_000_000_000 for issue in issues)
    assert len({issue.id for issue in issues}) == 3


def test_an_issue_is_edited_closed_with_a_reason_and_reopened(repo: Repository) -> None:
    issue = repo.create_issue("Wrong", body="x")

    issue.edit(title="Right", body="y")
    issue.edit(state="closed", state_reason="not_planned")

    closed = repo.get_issue(issue.number)
    assert (closed.title, closed.body, closed.state, closed.state_reason) == ("Right", "y", "closed", "not_planned")
    assert closed.closed_by.login == "alice"
    issue.edit(state="open")
    assert repo.get_issue(issue.number).state_reason == "reopened"


@pytest.mark.parametrize("changes", [{"state": "done"}, {"body": "x" * 65_537}, {"title": ""}, {"title": "x" * 257}])
def test_what_github_refuses_is_a_422(repo: Repository, changes: dict[str, str]) -> None:
    issue = repo.create_issue("One")

    with refused(422):
        issue.edit(**changes)


def test_a_body_of_exactly_65536_characters_is_kept(repo: Repository) -> None:
    assert len(repo.create_issue("Long", body="x" * 65_536).body) == 65_536
    with refused(422):
        repo.create_issue("Longer", body="x" * 65_537)


def test_lists_are_filtered_sorted_and_paged(server: FakeGithub, repo: Repository) -> None:
    for index in range(1, 8):
        repo.create_issue(f"Issue {index}", labels=["odd"] if index % 2 else [])
    server.world.advance(100)
    repo.get_issue(2).edit(state="closed")
    since = server.world.now() - dt.timedelta(seconds=10)

    assert [issue.number for issue in repo.get_issues()] == [7, 6, 5, 4, 3, 1]
    assert [issue.number for issue in repo.get_issues(labels=["odd"], direction="asc", sort="created")] == [1, 3, 5, 7]
    assert [issue.number for issue in repo.get_issues(state="all", since=since)] == [2]
    newest = repo.get_issues(state="all", sort="updated", direction="desc")
    assert newest[0].number == 2
    small = client(server, "alice")
    small.per_page = 3
    pages = small.get_repo(repo.full_name).get_issues(state="all", sort="created", direction="asc")
    assert pages.totalCount == 7
    assert [issue.number for issue in pages] == [1, 2, 3, 4, 5, 6, 7]
    assert [issue.number for issue in pages.get_page(1)] == [4, 5, 6]
    small.close()


def test_pull_requests_are_in_the_list_of_issues(repo: Repository) -> None:
    repo.create_issue("One")
    repo.create_pull(base="main", head="feature", title="Two")

    found = {issue.number: issue.pull_request is not None for issue in repo.get_issues()}

    assert found == {1: False, 2: True}


def test_labels_appear_when_used_and_keep_their_case(repo: Repository) -> None:
    issue = repo.create_issue("One", labels=["Bug"])

    issue.add_to_labels("BUG", "agent:ready")
    issue.remove_from_labels("bug")

    assert [label.name for label in issue.get_labels()] == ["agent:ready"]
    assert {label.name for label in repo.get_labels()} == {"Bug", "agent:ready"}
    with refused(404):
        issue.remove_from_labels("bug")
    with refused(422):
        repo.create_label("AGENT:READY", "ededed")


def test_a_repository_label_is_made_changed_and_deleted(repo: Repository) -> None:
    label = repo.create_label("agent:hold", "b60205", "A person holds it")
    issue = repo.create_issue("One", labels=["agent:hold"])

    label.edit("agent:held", "ffffff")
    assert [one.name for one in repo.get_issue(issue.number).labels] == ["agent:held"]
    label.delete()

    assert repo.get_issue(issue.number).labels == []


def test_assignees_that_cannot_be_are_dropped_silently(repo: Repository) -> None:
    issue = repo.create_issue("One", assignees=["tim", "nobody"])

    issue.add_to_assignees("alice", "mallory", "agent-grid[bot]")

    assert [user.login for user in issue.assignees] == ["tim", "alice"]
    issue.remove_from_assignees("tim")
    assert [user.login for user in repo.get_issue(issue.number).assignees] == ["alice"]


def test_comments_are_listed_by_issue_and_by_repository(server: FakeGithub, repo: Repository) -> None:
    first, second = repo.create_issue("One"), repo.create_issue("Two")
    old = first.create_comment("old")
    server.world.advance(100)
    since = server.world.now()
    new = second.create_comment("new")

    assert [comment.id for comment in first.get_comments()] == [old.id]
    assert [comment.id for comment in repo.get_issues_comments("updated", "desc", since)] == [new.id]
    old.edit("changed")
    assert {comment.body for comment in repo.get_issues_comments(since=since)} == {"changed", "new"}
    new.delete()
    assert repo.get_issue(second.number).comments == 0
    with pytest.raises(UnknownObjectException):
        second.get_comment(new.id)
    with refused(422):
        first.create_comment("x" * 65_537)


def test_a_comment_can_be_pinned_and_hidden(repo: Repository) -> None:
    comment = repo.create_issue("One").create_comment("status")

    pinned = raw(repo, "PUT", f"/issues/comments/{comment.id}/pin")
    comment.minimize()

    assert pinned["pin"]["pinned_by"]["login"] == "alice"
    assert raw(repo, "GET", f"/issues/comments/{comment.id}")["minimized"] == {"reason": "outdated"}


def test_a_reaction_exists_once_for_each_person(server: FakeGithub, repo: Repository) -> None:
    comment = repo.create_issue("One").create_comment("/agent run")

    assert comment.create_reaction("eyes").id == comment.create_reaction("eyes").id
    with repository(server, "rita") as hers:
        hers.get_issue(1).get_comment(comment.id).create_reaction("eyes")

    assert sorted(one.user.login for one in comment.get_reactions()) == ["alice", "rita"]
    with refused(422):
        comment.create_reaction("shrug")


def family(repo: Repository, count: int) -> tuple[Issue, list[Issue]]:
    parent = repo.create_issue("Parent")
    children = [repo.create_issue(f"Child {index}") for index in range(count)]
    for child in children:
        parent.add_sub_issue(child.id)
    return parent, children


def test_the_timeline_names_who_labelled_and_assigned(server: FakeGithub, repo: Repository) -> None:
    issue = repo.create_issue("One")
    tim = server.world.act("tim")
    tim.add_label(issue.number, "agent:ready")
    tim.assign(issue.number, "alice")
    issue.create_comment("hello")

    found = [(event.event, event.actor.login) for event in issue.get_timeline()]

    assert found == [("labeled", "tim"), ("assigned", "tim"), ("commented", "alice")]
    labeled = next(iter(issue.get_events()))
    assert (labeled.event, labeled.label.name) == ("labeled", "agent:ready")


def test_a_renamed_person_keeps_id_token_and_permissions(server: FakeGithub, repo: Repository) -> None:
    issue = repo.create_issue("One")
    before = issue.user.id
    server.world.rename_user("alice", "alicia")
    try:
        assert repo.get_issue(issue.number).user.login == "alicia"
        assert repo.get_issue(issue.number).user.id == before
        assert repo.get_collaborator_permission("alicia") == "write"
        with refused(404):
            repo.get_collaborator_permission("alice")
    finally:
        server.world.rename_user("alicia", "alice")


def test_a_deleted_issue_is_gone_and_a_repository_without_issues_says_so(server: FakeGithub, repo: Repository) -> None:
    parent, (child,) = family(repo, 1)
    with pytest.raises(ApiError, match="Must have admin rights"):
        server.world.act("alice").delete_issue(child.number)
    server.world.act("adam").delete_issue(child.number)

    with refused(410):
        repo.get_issue(child.number)
    assert list(parent.get_sub_issues()) == []
    server.world.repository("acme/widgets").has_issues = False
    with refused(410):
        repo.create_issue("One")


def test_an_unchanged_answer_costs_nothing(server: FakeGithub, repo: Repository) -> None:
    issue = repo.create_issue("One")
    status, headers, _ = repo.requester.requestJson("GET", issue.url)
    left = int(headers["x-ratelimit-remaining"])

    again = repo.requester.requestJson("GET", issue.url, headers={"If-None-Match": headers["etag"]})
    assert (status, again[0], again[2]) == (200, 304, "")
    assert int(again[1]["x-ratelimit-remaining"]) == left
    issue.edit(title="Two")
    status, changed, _ = repo.requester.requestJson("GET", issue.url, headers={"If-None-Match": headers["etag"]})

    assert status == 200
    assert int(changed["x-ratelimit-remaining"]) == left - 2


def test_the_hourly_quota_ends_and_comes_back(server: FakeGithub, repo: Repository) -> None:
    world = server.world
    used = repo.requester.requestJsonAndCheck("GET", "/rate_limit")[1]["rate"]["used"]
    world.rate_limit = used + 2
    try:
        repo.create_issue("One")
        repo.create_issue("Two")
        with refused(403):
            repo.create_issue("Three")
        world.advance(3_601)
        assert repo.create_issue("Three").number == 3
    finally:
        world.rate_limit = 5_000
