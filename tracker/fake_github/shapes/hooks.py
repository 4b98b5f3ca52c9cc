"""Webhooks and their deliveries as the API writes them."""

from __future__ import annotations

import json
from http import HTTPStatus

from tracker.fake_github.errors import Json
from tracker.fake_github.hook_records import Delivery, Hook
from tracker.fake_github.records import Repository
from tracker.fake_github.store import Store


def hook(store: Store, repository: Repository, found: Hook) -> Json:
    """A repository's webhook; its secret is masked."""
    url = f"{store.url}/repos/{store.full_name(repository)}/hooks/{found.id}"
    return {
        "type": "Repository",
        "id": found.id,
        "name": "web",
        "active": found.active,
        "events": list(found.events),
        "config": config(found),
        "updated_at": found.created_at,
        "created_at": found.created_at,
        "url": url,
        "test_url": url + "/test",
        "ping_url": url + "/pings",
        "deliveries_url": url + "/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }


def config(found: Hook) -> Json:
    """Where a hook sends to."""
    made: Json = {"content_type": "json", "insecure_ssl": "0", "url": found.url}
    return made | {"secret": "********"} if found.secret else made


def delivery(found: Delivery, *, full: bool = False) -> Json:
    """One attempt; with `full` also what was sent."""
    code = found.status_code or 0
    if code in {one.value for one in HTTPStatus}:
        status = "OK" if code < HTTPStatus.MULTIPLE_CHOICES else f"Invalid HTTP Response: {code}"
    else:
        status = "failed to connect to host"
    made: Json = {
        "id": found.id,
        "guid": found.guid,
        "delivered_at": found.delivered_at or found.created_at,
        "redelivery": found.redelivery,
        "duration": round(found.duration_seconds, 2),
        "status": status,
        "status_code": code,
        "event": found.event,
        "action": found.action,
        "installation_id": found.installation_id,
        "repository_id": found.repository_id,
        "throttled_at": None,
    }
    if full:
        made["url"] = found.url
        made["request"] = {"headers": found.headers, "payload": json.loads(found.body)}
        made["response"] = {"headers": None, "payload": None}
    return made
