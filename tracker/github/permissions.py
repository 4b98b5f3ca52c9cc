"""What people may do in a repository: looked up at GitHub, kept for five minutes, NONE when in doubt."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tracker.conf import conf
from tracker.github import errors
from tracker.github.calls import Calls
from tracker.models import Permission, Repository
from tracker.public_errors import NotFoundError, TrackerError
from tracker.public_types import Trust

KEPT = timedelta(minutes=5)
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}")
_LEVELS = {"admin": Trust.ADMIN, "write": Trust.WRITE, "read": Trust.READ}

logger = logging.getLogger(__name__)


def known(repository: Repository, login: str, *, now: datetime) -> Trust | None:
    """What somebody may do, without asking GitHub; None when it has to be asked.

    Bots are no collaborators, so GitHub has no answer for them: those on our list may write, the others nothing.
    """
    name = login.lower()
    if name.endswith("[bot]"):
        return Trust.WRITE if name in conf().allowed_bots else Trust.NONE
    if not _LOGIN.fullmatch(name):
        return Trust.NONE
    row = Permission.objects.filter(repository=repository, login=name, checked_at__gt=now - KEPT).first()
    return Trust(row.trust) if row else None


def look_up(calls: Calls, repository: Repository, login: str, *, now: datetime) -> Trust:
    """What somebody may do, from our row if it is fresh, else from GitHub.

    Fails closed: NONE when GitHub cannot be asked; that is not kept, so the next call asks again.
    """
    try:
        return ask(calls, repository, login, now=now)
    except TrackerError as error:
        doubt(repository, login, error)
        return Trust.NONE


def doubt(repository: Repository, login: str, error: TrackerError) -> None:
    """Log that somebody is not trusted, because nobody could be asked."""
    facts = {"action": "permission", "repository": repository.scope, "login": login, "error": type(error).__name__}
    logger.warning("permission unknown, not trusted", extra=facts)


def ask(calls: Calls, repository: Repository, login: str, *, now: datetime) -> Trust:
    """The same for callers that would rather try again: NONE is GitHub's own word then.

    Raises:
        TrackerError: GitHub could not be asked.
    """
    found = known(repository, login, now=now)
    if found is not None:
        return found
    try:
        _, _, answer = calls.json("GET", f"/repos/{repository.scope}/collaborators/{login}/permission")
    except NotFoundError:  # no such person, or no such repository: not kept, because either may change
        return Trust.NONE
    trust = level(answer)
    if trust is None:
        raise errors.misfit("no permission", maybe_applied=False)
    Permission.objects.update_or_create(
        repository=repository, login=login.lower(), defaults={"trust": trust, "checked_at": now}
    )
    return trust


def level(answer: Any) -> Trust | None:
    """GitHub's answer as ours; None when it is no answer.

    `permission` knows neither triage (told as read) nor maintain (told as write); `role_name` knows triage, but also
    roles that organizations make up.
    """
    if not isinstance(answer, Mapping):
        return None
    permission, role = answer.get("permission"), answer.get("role_name")
    if permission == "none":
        return Trust.NONE
    if permission == "read" and role == "triage":
        return Trust.TRIAGE
    return _LEVELS.get(permission) if isinstance(permission, str) else None
