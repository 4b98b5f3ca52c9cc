"""A fake GitHub for tests of its API, a fresh repository on it for each, and PyGithub to speak with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from github import GithubException
from github.Repository import Repository

from tests.integration.tracker.fake_github_world import furnish, repository
from tracker.fake_github import FakeGithub


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGithub]:
    """One for all tests of a module."""
    with FakeGithub.start() as started:
        yield started


@pytest.fixture
def repo(server: FakeGithub) -> Iterator[Repository]:
    """A fresh repository for each test, on one server."""
    world = server.world
    with world.writing():
        world.state.repositories.clear()
    furnish(server)
    with repository(server) as found:
        yield found


def raw(repo: Repository, method: str, path: str, **body: Any) -> Any:
    """The answer to a request below the repository, as JSON."""
    _, data = repo.requester.requestJsonAndCheck(method, f"{repo.url}{path}", input=body or None)
    return data


def refused(status: int) -> Any:
    """A block that ends with this status of the API."""
    return pytest.raises(GithubException, check=lambda error: error.status == status)
