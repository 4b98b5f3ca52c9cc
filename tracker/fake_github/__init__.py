"""A stateful fake GitHub: REST, webhooks, Apps and git over HTTP on 127.0.0.1. See docs/fake-github.md."""

from __future__ import annotations

from tracker.fake_github.acting import Actor
from tracker.fake_github.errors import ApiError
from tracker.fake_github.faults import Fault
from tracker.fake_github.hook_records import Delivery, Hook
from tracker.fake_github.records import App
from tracker.fake_github.server import FakeGithub
from tracker.fake_github.world import World

__all__ = ["Actor", "ApiError", "App", "Delivery", "FakeGithub", "Fault", "Hook", "World"]
