"""Webhooks of a fake GitHub, brought in by the door that GitHub uses, when a test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from coordinator.issues import inbound
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import GithubHere
from tracker.models import Delivery

SECRET = "s3cret-of-the-hook"
EVENTS = ("issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment", "push")


@dataclass(slots=True)
class Post:
    """What GitHub has to tell us, and has not yet."""

    github: GithubHere
    sent: int = field(default=0)

    def bring(self) -> None:
        """Bring in all that happened since, each delivery twice, and take it up."""
        deliveries = self.github.server.world.deliveries
        for one in deliveries[self.sent :] * 2:
            answer = Client().post("/webhooks/github/", one.body, content_type="application/json", headers=one.headers)
            assert answer.status_code == 202, answer.content
            inbound.take_up_due()
        self.sent = len(deliveries)
        assert not Delivery.objects.exclude(state__in=["done", "ignored"]).exists()


@pytest.fixture
def post(github: GithubHere, settings: Any, tmp_path: Any) -> Post:
    """The hook of `acme/widgets`; nothing is delivered before `bring`."""
    settings.STATIC_ROOT = tmp_path
    settings.TRACKER_GITHUB_WEBHOOK_SECRETS = [SECRET]
    world = github.server.world
    world.auto_deliver = False
    world.add_hook(REPOSITORY, url="http://127.0.0.1:9/nobody", secret=SECRET, events=EVENTS)
    return Post(github)
