"""A fake GitHub, our settings pointed at it, and `acme/widgets` under care."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY, Clone, furnish
from tracker import public_sync
from tracker.fake_github import Actor, FakeGithub
from tracker.models import Issue
from tracker.public_types import HintKind, RepositoryView

US = "agent-bot"
POLICY = "agent: {adapter: command, options: {command: 'true'}}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubHere:
    """The server and our repository on it."""

    server: FakeGithub
    repository: RepositoryView

    def as_person(self, login: str) -> Actor:
        """Somebody at work."""
        return self.server.world.act(login, REPOSITORY)

    def refresh(self, number: int) -> public_sync.Seen:
        """Read an issue whole."""
        return public_sync.refresh(self.repository.id, str(number))

    def row(self, number: int) -> Issue:
        """Our row of an issue."""
        return Issue.objects.get(repository_id=self.repository.id, key=str(number))

    def spent(self) -> int:
        """Requests that counted against a quota so far; unchanged answers do not."""
        return sum(used for _, used in self.server.world.spent.values())


@pytest.fixture
def github_server(settings: Any, tmp_path: Any) -> Iterator[FakeGithub]:
    """A fake GitHub with our machine user's token; quick, and forgotten afterwards."""
    cache.clear()
    with FakeGithub.start(git_root=tmp_path / "github") as server:
        furnish(server, files={"app.txt": "one\n", ".agentgrid.yml": POLICY})
        server.world.set_permission(REPOSITORY, US, "write")
        server.world.add_token("our-token", US)
        settings.TRACKER_GITHUB_API_URL = server.url
        settings.TRACKER_GITHUB_GIT_URL = server.url
        settings.TRACKER_GITHUB_TOKEN = "our-token"
        settings.TRACKER_GITHUB_APP_ID = settings.TRACKER_GITHUB_APP_KEY = ""
        settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 0
        settings.TRACKER_GITHUB_MACHINE_USER = ""
        yield server
    cache.clear()


@pytest.fixture
def github(github_server: FakeGithub, transactional_db: None) -> GithubHere:
    """The repository under care."""
    repository = public_sync.add_repository(REPOSITORY)
    return GithubHere(server=github_server, repository=repository)


def swept(here: GithubHere) -> public_sync.Swept:
    """Sweep and move the cursor."""
    found = public_sync.sweep(here.repository.id, timezone.now())
    public_sync.settle(here.repository.id, found, taken=len(found.steps))
    return found


def hints(here: GithubHere) -> list[tuple[HintKind, str]]:
    """What a sweep has to say, sorted."""
    return sorted((step.hint.kind, step.hint.key) for step in swept(here).steps)


def make_pull(here: GithubHere, login: str = "alice", branch: str = "topic") -> int:
    """A pull request with one commit."""
    with tempfile.TemporaryDirectory() as folder:
        Clone(here.server, Path(folder) / "clone").commit(branch, "app.txt", branch)
    return here.as_person(login).open_pull(branch, title=branch)
