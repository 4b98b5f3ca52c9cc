"""A furnished fake GitHub and our settings pointed at it, as our App or as a machine user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from tests.integration.tracker.fake_github_world import REPOSITORY, furnish
from tracker.fake_github import App, FakeGithub
from tracker.github.session import Session
from tracker.models import Repository

TOKEN = "ghp_0123456789abcdefOURS"
APP = "app"
PERSON = "person"


@contextlib.contextmanager
def account(settings: Any, kind: str, git_root: Path | None = None) -> Iterator[FakeGithub]:
    """A fake GitHub that knows us as `APP` or `PERSON`."""
    cache.clear()
    with FakeGithub.start(git_root=git_root) as server:
        furnish(server, files={"a.txt": "one\n"} if git_root else None)
        settings.TRACKER_GITHUB_API_URL = settings.TRACKER_GITHUB_GIT_URL = server.url
        settings.TRACKER_GITHUB_SECONDS_BETWEEN_WRITES = 0
        settings.TRACKER_GITHUB_APP_ID = settings.TRACKER_GITHUB_APP_KEY = settings.TRACKER_GITHUB_TOKEN = ""
        if kind == APP:
            app = server.world.add_app()
            settings.TRACKER_GITHUB_APP_ID, settings.TRACKER_GITHUB_APP_KEY = str(app.id), app.private_key_pem
            server.world.add_installation(app)
        else:
            settings.TRACKER_GITHUB_TOKEN = TOKEN
            server.world.set_permission(REPOSITORY, "agent-bot", "write")
            server.world.add_token(TOKEN, "agent-bot")
        yield server
    cache.clear()


@pytest.fixture
def server(settings: Any) -> Iterator[FakeGithub]:
    """It knows us as a person."""
    with account(settings, PERSON) as found:
        yield found


@pytest.fixture
def app_server(settings: Any) -> Iterator[FakeGithub]:
    """It knows us as an App."""
    with account(settings, APP) as found:
        yield found


def our_app(server: FakeGithub) -> App:
    """Our App."""
    return server.world.state.apps[1]


def our_installation(server: FakeGithub) -> int:
    """The number of our App's installation."""
    return next(one.id for one in server.world.state.installations.values() if one.app_id == 1)


def make_repository() -> Repository:
    """`acme/widgets` under care."""
    return Repository.objects.create(tracker="github", scope=REPOSITORY, source="x", default_branch="main")


def sent(server: FakeGithub, method: str = "", path: str = "") -> list[Any]:
    """Requests that the server has seen: `[method, path template, request, status, response]`."""
    return [line for line in server.traffic if line[0].startswith(method) and path in line[1]]


def create_issue(session: Session, title: str = "A title") -> int:
    """An issue, by a write of the session; returns its number."""
    with session.calling(write=True):
        return session.repo.create_issue(title).number
