from __future__ import annotations

from pathlib import Path

import pytest

from tracker.fake_github import ApiError, World


@pytest.fixture
def world() -> World:
    return World(url="http://127.0.0.1:1", git_root=None)


@pytest.mark.parametrize("name", ["widgets", "acme/", "/widgets", "acme/a/b", "acme/.."])
def test_a_repository_is_owner_and_name(world: World, name: str) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        world.add_repository(name)


def test_people_are_added_once_and_a_free_login_is_somebody_else(world: World) -> None:
    alice = world.add_user("alice")

    assert world.add_user("Alice") == alice
    world.rename_user("alice", "alicia")
    assert world.add_user("alice") != alice
    with pytest.raises(ValueError, match="taken"):
        world.rename_user("alice", "ALICIA")
    with pytest.raises(ValueError, match="use 'User'"):
        world.add_user("x", type="Robot")


def test_a_level_is_changed_and_taken_away(world: World) -> None:
    world.add_repository("acme/widgets", {"alice": "write"})
    world.set_permission("acme/widgets", "alice", "none")

    with pytest.raises(ApiError, match="404"):
        world.act("alice").open_issue("x")
    with pytest.raises(ValueError, match="is no level"):
        world.set_permission("acme/widgets", "alice", "push")


def test_acting_needs_a_person(world: World) -> None:
    world.add_repository("acme/widgets")

    with pytest.raises(ApiError, match="404"):
        world.act("nobody")


def test_a_first_commit_stays_inside_its_repository(tmp_path: Path) -> None:
    world = World(url="http://127.0.0.1:1", git_root=tmp_path)

    with pytest.raises(ValueError, match="no path inside"):
        world.add_repository("acme/widgets", files={"../x": "1"})
