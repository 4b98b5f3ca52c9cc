"""One fixture for each contract, parametrised over what must keep it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.contracts.tracker_worlds import TrackerWorld, github_world, local_world
from tracker.fake_github import FakeGithub

_WORLDS = [
    # Network and transactions do not mix: a test inside one could ask GitHub for nothing.
    pytest.param("github", marks=pytest.mark.django_db(transaction=True)),
    pytest.param("local", marks=pytest.mark.django_db),
]


@pytest.fixture(scope="session")
def fake_github() -> Iterator[FakeGithub]:
    """A GitHub on loopback, for all tests of this process; every world in it has a repository of its own."""
    with FakeGithub.start() as server:
        yield server


@pytest.fixture(params=_WORLDS)
def world(request: pytest.FixtureRequest, settings: Settings, fake_github: FakeGithub) -> TrackerWorld:
    """A tracker of every kind, with one empty repository."""
    return local_world() if request.param == "local" else github_world(fake_github, settings)
