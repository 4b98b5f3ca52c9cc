from __future__ import annotations

from typing import Any

import pytest

from tracker.fake_github import World
from tracker.fake_github.access import for_person
from tracker.fake_github.routing import Answer, dispatch


@pytest.fixture
def world() -> World:
    made = World(url="http://127.0.0.1:1", git_root=None)
    made.add_repository("acme/widgets", {"alice": "admin"})
    return made


def ask(world: World, method: str, path: str, body: Any = None, **query: str) -> Answer:
    return dispatch(world, for_person(world.user("alice").id), method, f"/repos/acme/widgets{path}", query, body)


def test_branches_with_slashes_do_not_swallow_what_follows(world: World) -> None:
    sha = "a" * 40

    assert ask(world, "GET", f"/commits/{sha}/check-runs").template.endswith("/commits/{ref}/check-runs")
    assert ask(world, "GET", f"/commits/{sha}").template.endswith("/commits/{ref}")
    assert ask(world, "GET", "/commits/agent/1/status").template.endswith("/commits/{ref}/status")


def test_an_unknown_path_is_not_found(world: World) -> None:
    assert ask(world, "GET", "/gists").status == 404
    assert ask(world, "PUT", "/issues").status == 404
    assert ask(world, "GET", "/issues/one").status == 404


@pytest.mark.parametrize(
    ("page", "size", "numbers", "links"),
    [("1", "2", [5, 4], ["next", "last"]), ("2", "2", [3, 2], ["prev", "next", "last", "first"]),
     ("3", "2", [1], ["prev", "first"]), ("9", "2", [], ["prev", "first"]), ("1", "100", [5, 4, 3, 2, 1], []),
     ("0", "-1", [5, 4, 3, 2, 1], []), ("x", "99999999999", [5, 4, 3, 2, 1], [])],
)  # fmt: skip
def test_pages_have_links(world: World, page: str, size: str, numbers: list[int], links: list[str]) -> None:
    for index in range(5):
        ask(world, "POST", "/issues", {"title": f"Issue {index}"})

    answer = ask(world, "GET", "/issues", page=page, per_page=size)

    assert [issue["number"] for issue in answer.body] == numbers
    assert [link.split('rel="')[1][:-1] for link in answer.headers.get("Link", "").split(", ") if link] == links


@pytest.mark.parametrize(
    "body", [[], "text", 7, {}, {"title": 7}, {"title": "  "}, {"title": "x", "labels": "bug"}, {"title": "x", "labels": [7]},
             {"title": "x", "body": ["y"]}, {"title": "x", "assignees": {"a": 1}}],
)  # fmt: skip
def test_a_body_of_the_wrong_form_is_invalid_and_changes_nothing(world: World, body: Any) -> None:
    assert ask(world, "POST", "/issues", body).status == 422
    assert ask(world, "GET", "/issues").body == []


def test_a_true_is_no_id(world: World) -> None:
    ask(world, "POST", "/issues", {"title": "x"})

    assert ask(world, "POST", "/issues/1/sub_issues", {"sub_issue_id": True}).status == 422
    assert ask(world, "POST", "/issues/1/sub_issues", {"sub_issue_id": "1"}).status == 422


def test_an_archived_repository_is_read_only(world: World) -> None:
    ask(world, "POST", "/issues", {"title": "x"})
    world.repository("acme/widgets").archived = True

    assert ask(world, "POST", "/issues", {"title": "y"}).status == 403
    assert ask(world, "GET", "/issues/1").status == 200
