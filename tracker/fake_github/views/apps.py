"""Apps, their installations and their tokens."""

from __future__ import annotations

import secrets
from typing import Any

from tracker.fake_github import access, deliveries, events
from tracker.fake_github.errors import ApiError, Json, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import Installation, InstallationToken, Repository
from tracker.fake_github.routing import REPOSITORY, Call, route
from tracker.fake_github.shapes import accounts, hooks

_APP = ("app",)


@route("GET", "/app", by=_APP)
def get(call: Call) -> tuple[int, Any]:
    """The App itself."""
    return 200, accounts.app(call.store, call.store.state.apps[_app_id(call)])


def _app_id(call: Call) -> int:
    if call.caller.app_id is None:
        raise not_found()
    return call.caller.app_id


@route("GET", "/app/installations", by=_APP)
def list_installations(call: Call) -> tuple[int, Any]:
    """Where the App is installed."""
    found = [one for one in call.store.state.installations.values() if one.app_id == _app_id(call)]
    return 200, Listing(items=[accounts.installation(call.store, one) for one in found])


def _installation(call: Call) -> Installation:
    found = call.store.state.installations.get(int(call.arguments["installation_id"]))
    if found is None or found.app_id != _app_id(call):
        raise not_found()
    return found


@route("GET", "/app/installations/{installation_id}", by=_APP)
def get_installation(call: Call) -> tuple[int, Any]:
    """One installation."""
    return 200, accounts.installation(call.store, _installation(call))


@route("POST", "/app/installations/{installation_id}/access_tokens", by=_APP)
def create_token(call: Call) -> tuple[int, Any]:
    """Mint a token, restricted to permissions and repositories when asked."""
    store, installation = call.store, _installation(call)
    asked = call.fields().get("permissions")
    permissions = installation.permissions
    if asked not in (None, {}):  # PyGithub sends {} when it wants no restriction
        if not isinstance(asked, dict):
            raise ApiError(422, "Invalid request.\n\nFor 'properties/permissions', the value is not an object.")
        if not all(access.grants(permissions, str(name), str(value)) for name, value in asked.items()):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
        permissions = {**asked, "metadata": "read"}
    chosen = _chosen(call, installation)
    token = f"ghs_{secrets.token_urlsafe(27).replace('.', '_')}"
    expires_at = access.expiry(store)
    store.installation_tokens[token] = InstallationToken(
        installation_id=installation.id,
        permissions=permissions,
        repository_ids=None if chosen is None else frozenset(one.id for one in chosen),
        expires_at=expires_at,
    )
    shape: Json = {"token": token, "expires_at": expires_at, "permissions": permissions}
    if chosen is not None:
        shape["repositories"] = [accounts.repository(store, one) for one in chosen]
    selected = chosen is not None or installation.repository_ids is not None
    return 201, shape | {"repository_selection": "selected" if selected else "all"}


def _chosen(call: Call, installation: Installation) -> list[Repository] | None:
    names, ids = call.fields().get("repositories"), call.fields().get("repository_ids")
    if names is None and ids is None:
        return None
    reachable = _reachable(call, installation)
    found = [one for one in reachable if one.name in (names or ()) or one.id in (ids or ())]
    if len(found) != len(set(names or ())) + len(set(ids or ())):
        raise ApiError(422, "There is at least one repository that does not exist or is not accessible to the parent "
                            "installation.")  # fmt: skip
    return found


def _reachable(call: Call, installation: Installation) -> list[Repository]:
    return [
        one
        for one in call.store.state.repositories.values()
        if one.owner_id == installation.account_id and events.reaches(installation, one.id)
    ]


@route("GET", "/installation/repositories", by=("installation",))
def list_repositories(call: Call) -> tuple[int, Any]:
    """What an installation token reaches."""
    found = [one for one in call.store.state.repositories.values() if access.sees(call.store, call.caller, one)]
    items = [accounts.repository(call.store, one) for one in found]
    selection = {"repository_selection": "all" if call.caller.repository_ids is None else "selected"}
    return 200, Listing(items=items, key="repositories", extra=selection)


@route("GET", REPOSITORY + "/installation", by=_APP)
def of_repository(call: Call) -> tuple[int, Any]:
    """The App's installation on a repository."""
    found = events.installation_on(call.store, _app_id(call), call.repository)
    if found is None:
        raise not_found()
    return 200, accounts.installation(call.store, found)


@route("GET", "/orgs/{account}/installation", by=_APP)
def of_organization(call: Call) -> tuple[int, Any]:
    """The App's installation on an organization."""
    return _of_account(call)


@route("GET", "/users/{account}/installation", by=_APP)
def of_user(call: Call) -> tuple[int, Any]:
    """The App's installation on a user."""
    return _of_account(call)


def _of_account(call: Call) -> tuple[int, Any]:
    account = call.store.user(call.arguments["account"]).id
    for one in call.store.state.installations.values():
        if (one.app_id, one.account_id) == (_app_id(call), account):
            return 200, accounts.installation(call.store, one)
    raise not_found()


def _hook_ids(call: Call) -> set[int]:
    return {hook.id for hook in call.store.hooks.values() if hook.app_id == _app_id(call)}


@route("GET", "/app/hook/config", by=_APP)
def hook_config(call: Call) -> tuple[int, Any]:
    """Where the App's webhook goes."""
    for hook in call.store.hooks.values():
        if hook.app_id == _app_id(call):
            return 200, hooks.config(hook)
    raise not_found()


@route("GET", "/app/hook/deliveries", by=_APP)
def list_deliveries(call: Call) -> tuple[int, Any]:
    """The attempts to deliver to the App's webhook, newest first."""
    ids = _hook_ids(call)
    made = deliveries.made(call.store, ids, wanted=call.query.get("status"))
    return 200, Listing(items=[hooks.delivery(one) for one in made], by_cursor=True)


@route("GET", "/app/hook/deliveries/{delivery_id}", by=_APP)
def get_delivery(call: Call) -> tuple[int, Any]:
    """One attempt with what was sent."""
    ids = _hook_ids(call)
    for one in call.store.outbound.all:
        if one.id == int(call.arguments["delivery_id"]) and one.hook_id in ids:
            return 200, hooks.delivery(one, full=True)
    raise not_found()


@route("POST", "/app/hook/deliveries/{delivery_id}/attempts", by=_APP)
def redeliver(call: Call) -> tuple[int, Any]:
    """Deliver again, under the same GUID."""
    deliveries.redeliver(call.store, _hook_ids(call), int(call.arguments["delivery_id"]))
    return 202, {}
