"""Installation tokens, minted once for all processes: kept encrypted in the cache until shortly before they expire."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.fernet import Fernet, InvalidToken
from django.core.cache import cache
from django.utils import timezone
from redis.exceptions import RedisError

from tracker.conf import conf

SPARE = timedelta(minutes=5)
"""A token is not handed out for the last minutes of its life: a push must not outlive it."""
_MINTING_SECONDS = 10
_POLL_SECONDS = 0.05
_CACHE_FAULTS = (RedisError, OSError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token is for."""

    installation_id: int
    repository: str
    """Its name without the owner."""
    repository_id: int | None = None
    """GitHub's number of it. With one the token is for that repository, whatever its name is by then."""
    permissions: Mapping[str, str] | None = None
    """As GitHub names them, `{"contents": "write"}`; None: all that the installation has."""

    @property
    def cache_key(self) -> str:
        """Tells apart Apps, servers, installations, repositories and permissions."""
        asked = None if self.permissions is None else sorted(self.permissions.items())
        place = self.repository_id or self.repository.lower()
        facts = [conf().api_url, conf().app_id, self.installation_id, place, asked]
        return f"tracker:github:token:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token and its end."""

    secret: str = field(repr=False)
    expires_at: datetime

    def lasts(self, now: datetime) -> bool:
        """Whether it may still be handed out."""
        return self.expires_at - SPARE > now


def get(grant: Grant, *, mint: Callable[[Grant], Token]) -> Token:
    """The token of this grant; of many who ask at once, one mints and the others wait for it.

    Raises:
        TrackerError: Whatever `mint` raises.
    """
    gives_up = time.monotonic() + _MINTING_SECONDS
    while True:
        found = _stored(grant)
        if found:
            return found
        if _lock(grant):
            break
        if time.monotonic() >= gives_up:
            # Whoever holds the lock has died or is slow: better a token too many than none.
            return mint(grant)
        time.sleep(_POLL_SECONDS)
    try:
        # Between our look and our lock somebody else may have finished.
        return _stored(grant) or _store(grant, mint(grant))
    finally:
        _forget(_lock_key(grant))


def drop(grant: Grant, refused: str) -> None:
    """Forget a token that GitHub refuses, unless a newer one has taken its place."""
    found = _stored(grant)
    if found and found.secret == refused:
        _forget(grant.cache_key)


def cached(key: str) -> object:
    """What the cache holds; None when it holds nothing or is away."""
    try:
        found: object = cache.get(key)
    except _CACHE_FAULTS as error:
        _cache_failed(error)
        return None
    return found


def keep(key: str, value: object, *, seconds: float) -> None:
    """Put a value into the cache, if it is there."""
    try:
        cache.set(key, value, timeout=int(seconds))
    except _CACHE_FAULTS as error:
        _cache_failed(error)


def _fernet() -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"github tokens:" + conf().marker_key).digest()))


def _stored(grant: Grant) -> Token | None:
    sealed = cached(grant.cache_key)
    if not isinstance(sealed, bytes):
        return None
    try:
        values = json.loads(_fernet().decrypt(sealed))
    except InvalidToken:  # sealed with another SECRET_KEY
        return None
    found = Token(secret=values["secret"], expires_at=datetime.fromisoformat(values["expires_at"]))
    return found if found.lasts(timezone.now()) else None


def _store(grant: Grant, made: Token) -> Token:
    lifetime = (made.expires_at - SPARE - timezone.now()).total_seconds()
    if lifetime > 0:
        plain = json.dumps({"secret": made.secret, "expires_at": made.expires_at.isoformat()})
        keep(grant.cache_key, _fernet().encrypt(plain.encode()), seconds=lifetime)
    return made


def _lock_key(grant: Grant) -> str:
    return f"{grant.cache_key}:minting"


def _lock(grant: Grant) -> bool:
    try:
        return bool(cache.add(_lock_key(grant), 1, timeout=_MINTING_SECONDS))
    except _CACHE_FAULTS as error:
        _cache_failed(error)
        return True


def _forget(key: str) -> None:
    try:
        cache.delete(key)
    except _CACHE_FAULTS as error:
        _cache_failed(error)


def _cache_failed(error: Exception) -> None:
    # Without a cache every task mints its own token; slower, but right.
    logger.warning("cache unavailable", extra={"action": "github_token", "error": type(error).__name__})
