"""Who is calling, and what they may do: personal tokens, Apps' JWTs, installation tokens, levels and permissions."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from tracker.fake_github.errors import ApiError, not_found
from tracker.fake_github.records import Issue, Repository
from tracker.fake_github.store import Store

_JWT_LIFE_SECONDS = 600
_CLOCK_SKEW_SECONDS = 60
_DENIED_APP = "Resource not accessible by integration"
_DENIED_PERSON = "Must have admin rights to Repository."


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request."""

    kind: str
    """`person`; `installation`: an App acting as its bot; `app`: an App as itself, by JWT."""
    user_id: int
    identity: str
    """Whose rate limit pays."""
    app_id: int | None = None
    installation_id: int | None = None
    permissions: Mapping[str, str] | None = None
    """Of an installation token."""
    repository_ids: frozenset[int] | None = None
    """What an installation token is restricted to; None: all that the installation has."""


def identify(store: Store, authorization: str) -> Caller:
    """The caller behind an `Authorization` header.

    Raises:
        ApiError: 401 without a header, for unknown and expired tokens, and for JWTs that do not verify.
    """
    scheme, _, credentials = authorization.strip().partition(" ")
    if not credentials:
        raise ApiError(401, "Requires authentication")
    token = _password(credentials) if scheme.lower() == "basic" else credentials.strip()
    if token.count(".") == 2:
        return _app(store, token)
    if (grant := store.installation_tokens.get(token)) is not None:
        if grant.expires_at <= store.timestamp() or grant.installation_id not in store.state.installations:
            raise ApiError(401, "Bad credentials")
        return for_installation(
            store, grant.installation_id, permissions=grant.permissions, repository_ids=grant.repository_ids
        )
    user_id = store.tokens.get(token)
    if user_id is None:
        raise ApiError(401, "Bad credentials")
    return for_person(user_id)


def for_person(user_id: int) -> Caller:
    """A person with a token of their own."""
    return Caller(kind="person", user_id=user_id, identity=f"user:{user_id}")


def for_installation(
    store: Store,
    installation_id: int,
    *,
    permissions: Mapping[str, str] | None = None,
    repository_ids: frozenset[int] | None = None,
) -> Caller:
    """An App acting through one of its installations; with all that it was granted unless told otherwise."""
    installation = store.state.installations[installation_id]
    return Caller(
        kind="installation",
        user_id=store.state.apps[installation.app_id].bot_id,
        identity=f"installation:{installation_id}",
        app_id=installation.app_id,
        installation_id=installation_id,
        permissions=installation.permissions if permissions is None else permissions,
        repository_ids=repository_ids,
    )


def check(
    store: Store, caller: Caller, repository: Repository, *, app: str, person: str, item: Issue | None = None
) -> None:
    """Let a caller through, or not.

    Args:
        app: What an App's token needs, such as `issues:write`; empty: nothing but the repository.
        person: The level that a person needs.
        item: What it is about; on a pull request the permission for pull requests does for `issues` too.

    Raises:
        ApiError: 404 when the repository is not theirs to see; 403 when they may see it, but not do this.
    """
    if caller.kind == "installation":
        if not sees(store, caller, repository):
            raise not_found()
        name, _, access = app.partition(":")
        names = (name, "pull_requests") if item is not None and item.pull and name == "issues" else (name,)
        if app and not any(grants(caller.permissions or {}, one, access) for one in names):
            raise ApiError(403, _DENIED_APP)
    elif not store.may(repository, caller.user_id, "read"):
        raise not_found()
    elif not store.may(repository, caller.user_id, person):
        raise ApiError(403, _DENIED_PERSON)


def sees(store: Store, caller: Caller, repository: Repository) -> bool:
    """Whether a repository exists, as far as the caller can tell."""
    if caller.installation_id is None:
        return store.may(repository, caller.user_id, "read")
    installation = store.state.installations[caller.installation_id]
    if installation.account_id != repository.owner_id:
        return False
    return all(
        allowed is None or repository.id in allowed for allowed in (installation.repository_ids, caller.repository_ids)
    )


def grants(permissions: Mapping[str, str], name: str, access: str) -> bool:
    """Whether permissions hold that access; `metadata:read` comes with every App."""
    if name == "metadata" and access == "read":
        return True
    held = permissions.get(name)
    return held in ("write", "admin") or (held == "read" and access == "read")


def may_triage(store: Store, caller: Caller, repository: Repository) -> bool:
    """Whether labels and assignees given along with a new issue count; GitHub drops them silently otherwise."""
    if caller.kind == "installation":
        return grants(caller.permissions or {}, "issues", "write")
    return store.may(repository, caller.user_id, "triage")


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ApiError(401, "Bad credentials") from error


def _app(store: Store, token: str) -> Caller:
    try:
        issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.PyJWTError as error:
        raise ApiError(401, "A JSON web token could not be decoded") from error
    app = store.state.apps.get(int(issuer)) if issuer.isascii() and issuer.isdigit() else None
    if app is None:
        raise ApiError(404, "Integration not found")
    claims = _claims(token, app.public_key_pem)
    # The times are compared here, because PyJWT knows only the machine's clock and not the fake's.
    now = store.now().timestamp()
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(expires, int | float) or expires <= now:
        raise ApiError(401, "'Expiration time' claim ('exp') must be a numeric value representing the future time at "
                            "which the assertion expires")  # fmt: skip
    if expires > now + _JWT_LIFE_SECONDS + _CLOCK_SKEW_SECONDS:
        raise ApiError(401, "'Expiration time' claim ('exp') is too far in the future")
    if not isinstance(issued, int | float) or issued > now + _CLOCK_SKEW_SECONDS:
        raise ApiError(401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion "
                            "was issued")  # fmt: skip
    return Caller(kind="app", user_id=app.bot_id, identity=f"app:{app.id}", app_id=app.id)


def _claims(token: str, public_key_pem: str) -> dict[str, Any]:
    unchecked = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_iss": False}
    try:
        return jwt.decode(token, public_key_pem, algorithms=["RS256"], options=unchecked)  # type: ignore[arg-type,unused-ignore]  # PyJWT's options are a TypedDict
    except jwt.PyJWTError as error:
        raise ApiError(401, "A JSON web token could not be decoded") from error


def expiry(store: Store) -> str:
    """When a token made now ends."""
    end = store.now() + dt.timedelta(seconds=store.token_lifetime_seconds)
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")
