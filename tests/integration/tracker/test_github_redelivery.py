"""Webhook deliveries that GitHub could not bring: asked for again, and hooks are looked at, over HTTP against the fake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.tracker.fake_github_world import REPOSITORY, Listener
from tests.integration.tracker.github_here import US, GithubHere, github, github_server
from tracker import public_sync
from tracker.fake_github import FakeGithub
from tracker.models import Delivery

__all__ = ["github", "github_server"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def test_failed_deliveries_are_asked_for_again_and_not_for_ever(
    github: GithubHere, listener: Any, settings: Any
) -> None:
    settings.PUBLIC_URL = base = listener.url.removesuffix("/webhooks")
    world = github.server.world
    github.server.world.set_permission(REPOSITORY, US, "admin")
    world.add_hook(REPOSITORY, url=f"{base}/webhooks/github/", secret="s")
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/elsewhere", secret="s", drop=True)
    alice = github.as_person("alice")
    issue = alice.open_issue("lost")
    world.deliver(drop=True)
    alice.add_label(issue, "bug")
    world.deliver()
    assert len(listener.received) == 1
    assert public_sync.redeliver(timezone.now()) == 1
    world.deliver()
    assert [headers["X-GitHub-Event"] for headers, _ in listener.received] == ["issues", "issues"]
    assert public_sync.redeliver(timezone.now()) == 0
    listener.status = 500
    alice.add_label(issue, "worse")
    world.deliver()
    asked = []
    for _ in range(4):
        asked.append(public_sync.redeliver(timezone.now()))
        world.deliver()
    assert asked == [1, 1, 0, 0]


def test_deliveries_that_we_have_are_not_asked_for(github: GithubHere, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    world = github.server.world
    world.set_permission(REPOSITORY, US, "admin")
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/webhooks/github/")
    github.as_person("alice").open_issue("x")
    world.deliver(drop=True)
    guid = world.deliveries[0].guid
    Delivery.objects.create(guid=guid, event="issues", payload={}, received_at=timezone.now())
    assert public_sync.redeliver(timezone.now()) == 0
    Delivery.objects.all().delete()
    assert public_sync.redeliver(timezone.now()) == 1


def test_a_token_that_may_not_see_webhooks_is_no_error(github: GithubHere, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    assert public_sync.redeliver(timezone.now()) == 0
    (finding,) = public_sync.check_hooks(github.repository.id)
    assert not finding.is_ok
    assert "right to read webhooks" in finding.remedy
    Delivery.objects.create(guid="g", event="issues", scope=REPOSITORY, payload={}, received_at=timezone.now())
    (finding,) = public_sync.check_hooks(github.repository.id)
    assert finding.is_ok and "they come in" in finding.what
    Delivery.objects.update(received_at=timezone.now() - timedelta(days=8))
    assert [finding.is_ok for finding in public_sync.check_hooks(github.repository.id)] == [False]


def test_an_apps_deliveries_of_other_repositories_stay_failed(
    github_server: FakeGithub, transactional_db: None, settings: Any
) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    world = github_server.world
    app = world.add_app(7)
    world.add_repository("acme/other", {"alice": "write"})
    world.add_installation(app, "acme")
    world.add_hook(app, url="http://127.0.0.1:9/webhooks/github/", secret="s")
    settings.TRACKER_GITHUB_APP_ID, settings.TRACKER_GITHUB_APP_KEY = str(app.id), app.private_key_pem
    public_sync.add_repository(REPOSITORY)
    world.act("alice", REPOSITORY).open_issue("ours")
    world.act("alice", "acme/other").open_issue("not ours")
    world.deliver(drop=True)
    ours = [d for d in world.deliveries if d.event == "issues"]
    assert len(ours) == 2
    public_sync.redeliver(timezone.now())
    again = [d for d in world.deliveries if d.redelivery and d.event == "issues"]
    assert [d.guid for d in again] == [ours[0].guid]


def test_hooks_are_checked(github: GithubHere, listener: Any, settings: Any) -> None:
    world = github.server.world
    world.set_permission(REPOSITORY, US, "admin")
    settings.PUBLIC_URL = ""

    def check() -> list[tuple[bool, str]]:
        return [(finding.is_ok, finding.what) for finding in public_sync.check_hooks(github.repository.id)]

    assert "PUBLIC_URL" in check()[0][1]
    settings.PUBLIC_URL = base = listener.url.removesuffix("/webhooks")
    assert check() == [(False, f"no webhook sends to {base}/webhooks/github/")]
    hook = world.add_hook(REPOSITORY, url=f"{base}/webhooks/github/", events=("issues",))
    assert [is_ok for is_ok, _ in check()] == [True, False]
    hook.events = ("*",)
    github.as_person("alice").open_issue("x")
    world.deliver()
    assert check()[-1] == (True, "1 of 1 deliveries came in")
    listener.status = 401
    github.as_person("alice").open_issue("y")
    world.deliver()
    assert check()[-1] == (False, "its latest delivery failed (Invalid HTTP Response: 401), 1 of 2 did")
