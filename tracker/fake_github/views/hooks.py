"""The webhooks of repositories."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import deliveries, events
from tracker.fake_github.errors import Json, invalid, not_found
from tracker.fake_github.hook_records import Hook
from tracker.fake_github.paging import Listing
from tracker.fake_github.routing import REPOSITORY, Call, route
from tracker.fake_github.shapes import accounts
from tracker.fake_github.shapes import hooks as shapes

HOOK = REPOSITORY + "/hooks/{hook_id}"
_HOOKS_MAX = 20


def _hook(call: Call) -> Hook:
    found = call.store.hooks.get(int(call.arguments["hook_id"]))
    if found is None or found.repository_id != call.repository.id:
        raise not_found()
    return found


def _of_repository(call: Call) -> list[Hook]:
    return [hook for hook in call.store.hooks.values() if hook.repository_id == call.repository.id]


@route("GET", REPOSITORY + "/hooks", app="repository_hooks:read", person="admin")
def list_hooks(call: Call) -> tuple[int, Any]:
    """A repository's webhooks."""
    return 200, Listing(items=[shapes.hook(call.store, call.repository, one) for one in _of_repository(call)])


@route("POST", REPOSITORY + "/hooks", app="repository_hooks:write", person="admin")
def create(call: Call) -> tuple[int, Any]:
    """Add a webhook; it is pinged at once."""
    config = _config(call)
    if not isinstance(config.get("url"), str) or not config["url"].startswith(("http://", "https://")):
        raise invalid(resource="Hook", field="url", message="url is missing or no http address")
    if any(hook.url == config["url"] for hook in _of_repository(call)):
        raise invalid(resource="Hook", field="url", message="Hook already exists on this repository")
    if len(_of_repository(call)) >= _HOOKS_MAX:
        raise invalid(resource="Hook", field="base", message=f"A repository has at most {_HOOKS_MAX} hooks")
    hook = Hook(
        id=call.store.new_id(),
        url=config["url"],
        secret=str(config.get("secret") or ""),
        events=tuple(call.texts("events")) or ("push",),
        active=call.fields().get("active", True) is True,
        repository_id=call.repository.id,
        created_at=call.store.timestamp(),
    )
    call.store.hooks[hook.id] = hook
    _ping(call, hook)
    return 201, shapes.hook(call.store, call.repository, hook)


def _config(call: Call) -> Json:
    config = call.fields().get("config", {})
    if not isinstance(config, dict):
        raise invalid(resource="Hook", field="config")
    return config


def _ping(call: Call, hook: Hook) -> None:
    payload = {
        "zen": "Design for failure.",
        "hook_id": hook.id,
        "hook": shapes.hook(call.store, call.repository, hook),
        "repository": accounts.repository(call.store, call.repository),
        "sender": accounts.user(call.store, call.actor_id),
    }
    events.queue(call.store, hook, "ping", payload, repository_id=call.repository.id)


@route("GET", HOOK, app="repository_hooks:read", person="admin")
def get(call: Call) -> tuple[int, Any]:
    """One webhook."""
    return 200, shapes.hook(call.store, call.repository, _hook(call))


@route("PATCH", HOOK, app="repository_hooks:write", person="admin")
def change(call: Call) -> tuple[int, Any]:
    """Change address, secret or events."""
    hook, config, fields = _hook(call), _config(call), call.fields()
    hook.url = str(config.get("url") or hook.url)
    if "secret" in config:
        hook.secret = str(config["secret"] or "")
    if "events" in fields:
        hook.events = tuple(call.texts("events"))
    hook.active = fields.get("active", hook.active) is True
    return 200, shapes.hook(call.store, call.repository, hook)


@route("DELETE", HOOK, app="repository_hooks:write", person="admin")
def delete(call: Call) -> tuple[int, Any]:
    """Remove a webhook."""
    del call.store.hooks[_hook(call).id]
    return 204, None


@route("POST", HOOK + "/pings", app="repository_hooks:write", person="admin")
def ping(call: Call) -> tuple[int, Any]:
    """Send a ping."""
    _ping(call, _hook(call))
    return 204, None


@route("GET", HOOK + "/deliveries", app="repository_hooks:read", person="admin")
def list_deliveries(call: Call) -> tuple[int, Any]:
    """The attempts to deliver, newest first."""
    hook = _hook(call)
    made = deliveries.made(call.store, {hook.id}, wanted=call.query.get("status"))
    return 200, Listing(items=[shapes.delivery(one) for one in made], by_cursor=True)


@route("GET", HOOK + "/deliveries/{delivery_id}", app="repository_hooks:read", person="admin")
def get_delivery(call: Call) -> tuple[int, Any]:
    """One attempt with what was sent."""
    hook = _hook(call)
    for one in call.store.outbound.all:
        if one.hook_id == hook.id and one.id == int(call.arguments["delivery_id"]):
            return 200, shapes.delivery(one, full=True)
    raise not_found()


@route("POST", HOOK + "/deliveries/{delivery_id}/attempts", app="repository_hooks:write", person="admin")
def redeliver(call: Call) -> tuple[int, Any]:
    """Deliver again, under the same GUID."""
    deliveries.redeliver(call.store, {_hook(call).id}, int(call.arguments["delivery_id"]))
    return 202, {}
