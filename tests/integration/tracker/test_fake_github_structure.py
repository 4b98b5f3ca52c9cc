"""Sub-issues and dependencies of the fake GitHub, through PyGithub."""

from __future__ import annotations

import itertools

from github.Issue import Issue
from github.Repository import Repository

from tests.integration.tracker.fake_github_here import raw, refused, repo, server
from tracker.fake_github import FakeGithub

__all__ = ["repo", "server"]


def family(repo: Repository, count: int) -> tuple[Issue, list[Issue]]:
    parent = repo.create_issue("Parent")
    children = [repo.create_issue(f"Child {index}") for index in range(count)]
    for child in children:
        parent.add_sub_issue(child.id)
    return parent, children


def test_children_keep_their_order_and_can_be_moved(repo: Repository) -> None:
    parent, (first, second, third) = family(repo, 3)

    def order() -> list[int]:
        return [child.number for child in parent.get_sub_issues()]

    assert order() == [2, 3, 4]
    parent.prioritize_sub_issue(first.id, third.id)
    assert order() == [3, 4, 2]
    raw(repo, "PATCH", f"/issues/{parent.number}/sub_issues/priority", sub_issue_id=first.id, before_id=second.id)
    assert order() == [2, 3, 4]
    with refused(422):
        raw(repo, "PATCH", f"/issues/{parent.number}/sub_issues/priority", sub_issue_id=first.id)


def test_adding_a_child_answers_the_parent_and_wants_the_id(repo: Repository) -> None:
    parent, child = repo.create_issue("Parent"), repo.create_issue("Child")

    answer = raw(repo, "POST", f"/issues/{parent.number}/sub_issues", sub_issue_id=child.id)

    assert answer["number"] == parent.number
    assert answer["sub_issues_summary"] == {"total": 1, "completed": 0, "percent_completed": 0}
    assert raw(repo, "GET", f"/issues/{child.number}/parent")["number"] == parent.number
    assert repo.get_issue(child.number).parent_issue_url.endswith(f"/issues/{parent.number}")
    with refused(404):
        raw(repo, "POST", f"/issues/{parent.number}/sub_issues", sub_issue_id=child.number)


def test_a_child_has_one_parent_unless_it_is_replaced(repo: Repository) -> None:
    parent, (child,) = family(repo, 1)
    other = repo.create_issue("Other")

    with refused(422):
        other.add_sub_issue(child.id)
    with refused(422):
        parent.add_sub_issue(child.id)
    raw(repo, "POST", f"/issues/{other.number}/sub_issues", sub_issue_id=child.id, replace_parent=True)

    assert list(parent.get_sub_issues()) == []
    other.remove_sub_issue(child.id)
    with refused(404):
        raw(repo, "GET", f"/issues/{child.number}/parent")


def test_a_parent_takes_a_hundred_children_closed_ones_included(server: FakeGithub, repo: Repository) -> None:
    alice = server.world.act("alice")
    parent = alice.open_issue("Parent")
    for index in range(100):
        child = alice.open_issue(f"Child {index}")
        alice.add_sub_issue(parent, child)
        if index < 5:
            alice.close(child)
    last = repo.create_issue("One too many")

    with refused(422):
        repo.get_issue(parent).add_sub_issue(last.id)

    summary = repo.get_issue(parent).sub_issues_summary
    assert (summary.total, summary.completed, summary.percent_completed) == (100, 5, 5)


def test_a_tree_has_eight_levels_and_no_cycle(repo: Repository) -> None:
    chain = [repo.create_issue(f"Level {level}") for level in range(1, 10)]
    for upper, lower in itertools.pairwise(chain[:8]):
        upper.add_sub_issue(lower.id)

    with refused(422):
        chain[7].add_sub_issue(chain[8].id)
    with refused(422):
        chain[7].add_sub_issue(chain[0].id)
    with refused(422):
        chain[8].add_sub_issue(chain[0].id)


def test_an_issue_is_not_its_own_ancestor(repo: Repository) -> None:
    upper, lower = repo.create_issue("Upper"), repo.create_issue("Lower")
    upper.add_sub_issue(lower.id)

    for parent, child in ((lower, upper), (upper, upper)):
        with refused(422):
            parent.add_sub_issue(child.id)


def test_dependencies_count_open_blockers_and_refuse_cycles(repo: Repository) -> None:
    first, second, third = (repo.create_issue(name) for name in ("First", "Second", "Third"))
    second.add_blocked_by(first)
    third.add_blocked_by(second)

    with refused(422):
        first.add_blocked_by(third)
    with refused(422):
        second.add_blocked_by(first)
    assert [issue.number for issue in second.get_blocked_by()] == [first.number]
    assert [issue.number for issue in second.get_blocking()] == [third.number]
    first.edit(state="closed")

    summary = repo.get_issue(second.number).issue_dependencies_summary
    assert (summary.blocked_by, summary.total_blocked_by) == (0, 1)
    second.remove_blocked_by(first)
    assert list(second.get_blocked_by()) == []
    with refused(404):
        second.remove_blocked_by(first)


def test_fifty_blockers_are_the_most(server: FakeGithub, repo: Repository) -> None:
    alice = server.world.act("alice")
    issue = alice.open_issue("Waits")
    for index in range(50):
        alice.add_blocker(issue, alice.open_issue(f"Blocker {index}"))

    with refused(422):
        repo.get_issue(issue).add_blocked_by(repo.create_issue("One too many"))
