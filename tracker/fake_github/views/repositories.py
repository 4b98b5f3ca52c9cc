"""Repositories, their collaborators and git refs; users and rate limits."""

from __future__ import annotations

from typing import Any

from tracker.fake_github import access, quota
from tracker.fake_github.errors import ApiError, Json, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.routing import REPOSITORY, Call, route
from tracker.fake_github.shapes import accounts

_ALL = ("person", "installation", "app")
_LEGACY = {"maintain": "write", "triage": "read"}


@route("GET", REPOSITORY)
def get(call: Call) -> tuple[int, Any]:
    """One repository."""
    shape = accounts.repository(call.store, call.repository)
    if call.caller.kind == "person":
        names = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage", "pull": "read"}
        may = call.store.may
        shape["permissions"] = {name: may(call.repository, call.actor_id, level) for name, level in names.items()}
    return 200, shape


@route("GET", REPOSITORY + "/collaborators/{username}/permission")
def permission(call: Call) -> tuple[int, Any]:
    """What somebody may do. `permission` knows neither triage nor maintain: see `role_name`."""
    if not call.store.has_user(call.arguments["username"]):
        raise ApiError(404, f"{call.arguments['username']} is not a user")
    user = call.store.user(call.arguments["username"])
    level = call.store.level(call.repository, user.id)
    permission = _LEGACY.get(level, level)
    shape: Json = {"permission": permission, "role_name": level, "user": accounts.user(call.store, user.id)}
    return 200, shape


@route("GET", REPOSITORY + "/collaborators/{username}")
def is_collaborator(call: Call) -> tuple[int, Any]:
    """204 for collaborators, else 404."""
    if call.store.user(call.arguments["username"]).id not in call.repository.permissions:
        raise not_found()
    return 204, None


@route("GET", REPOSITORY + "/assignees")
def list_assignees(call: Call) -> tuple[int, Any]:
    """Those who may be assigned."""
    users = [user_id for user_id in call.repository.permissions if call.store.state.users[user_id].type == "User"]
    return 200, Listing(items=[accounts.user(call.store, user_id) for user_id in users])


@route("GET", "/user")
def me(call: Call) -> tuple[int, Any]:
    """The person behind a token; Apps have none."""
    if call.caller.kind == "installation":
        raise ApiError(403, "Resource not accessible by integration")
    return 200, accounts.user(call.store, call.actor_id)


@route("GET", "/users/{username}", by=_ALL)
def get_user(call: Call) -> tuple[int, Any]:
    """Anybody, by login."""
    return 200, accounts.user(call.store, call.store.user(call.arguments["username"]).id)


@route("GET", "/user/{account_id}", by=_ALL)
def get_user_by_id(call: Call) -> tuple[int, Any]:
    """Anybody, by id: logins change, ids stay."""
    user_id = int(call.arguments["account_id"])
    if user_id not in call.store.state.users:
        raise not_found()
    return 200, accounts.user(call.store, user_id)


@route("GET", "/user/repos")
def my_repositories(call: Call) -> tuple[int, Any]:
    """The repositories that a person can see."""
    found = [one for one in call.store.state.repositories.values() if access.sees(call.store, call.caller, one)]
    return 200, Listing(items=[accounts.repository(call.store, one) for one in found])


@route("GET", "/rate_limit", by=_ALL)
def rate_limit(call: Call) -> tuple[int, Any]:
    """What is left of the hour's requests; asking is free."""
    core = quota.peek(call.store, call.caller.identity)
    return 200, {"resources": {"core": core, "search": core, "graphql": core}, "rate": core}
