"""Where our GitHub App is installed, and which repositories of ours a delivery may be about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.dateparse import parse_datetime

from tracker.conf import conf
from tracker.github import payloads
from tracker.models import Installation, Repository

_ACTIVE_GITHUB = Q(tracker=Repository.Kind.GITHUB, is_active=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Repositories that an installation event names, to be looked at: its order among others is not known."""

    wanted: tuple[str, ...]
    """Of accounts that we take repositories from, or under care already."""
    gone: tuple[str, ...]
    """Under care, and not ours to reach any more by this event's word."""


def home(*, scope: str, remote_id: int | None, installation_id: int | None) -> str | None:
    """Our name of the repository that GitHub calls so; None when it is not under care, or another App's.

    GitHub's number decides: names change, and may be somebody else's afterwards.
    """
    # Asked for every delivery, and so in the fewest words: wording a query costs more than its answer.
    rows = Repository.objects.values_list("scope", "installation_id", "tracker", "is_active")
    found = list(rows.filter(remote_id=remote_id)) if remote_id is not None else []
    if not found and scope:
        found = list(rows.filter(remote_id=None, scope__iexact=scope))
    for our_scope, ours, tracker, is_active in found:
        if tracker == Repository.Kind.GITHUB and is_active:
            return our_scope if installation_id is None or ours in (None, installation_id) else None
    return None


def is_known(installation_id: int | None) -> bool:
    """Whether our App is installed there, as far as we were told."""
    rows = Installation.objects.filter(is_deleted=False)
    return installation_id is not None and rows.filter(installation_id=installation_id).exists()


def record(event: str, payload: Mapping[str, Any], *, now: datetime) -> Named:
    """Write down what an installation event says about the installation, and tell which repositories it names."""
    given = payloads.child(payload, "installation")
    number, action = payloads.number(given, "id"), payloads.action(payload)
    if number is None:
        return Named(wanted=(), gone=())
    is_deleted = event == "installation" and action == "deleted"
    with transaction.atomic():
        is_deleted = _upsert(number, given, is_deleted=is_deleted, now=now)
        if is_deleted:
            Repository.objects.filter(_ACTIVE_GITHUB, installation_id=number).update(is_active=False)
    if is_deleted:  # its number never comes back: whatever else is said of it is old
        return Named(wanted=(), gone=())
    account = payloads.login(payloads.child(given, "account")).lower()
    added = _scopes(payload, "repositories") + _scopes(payload, "repositories_added")
    care, removed = _under_care(), _scopes(payload, "repositories_removed")
    # Where a name is in other hands now, what happens to whatever has it is no news of ours.
    strangers = {scope for scope, number in (*added, *removed) if _is_another(number, care.get(scope.lower()))}
    return Named(
        wanted=tuple(
            scope
            for scope, _ in added
            if scope not in strangers and (account in conf().owners or scope.lower() in care)
        ),
        gone=tuple(care[scope.lower()][0] for scope, _ in removed if scope not in strangers and scope.lower() in care),
    )


def deactivate(scope: str) -> bool:
    """Nothing is listed, started or written in a repository any more; returns whether it was active."""
    return bool(Repository.objects.filter(_ACTIVE_GITHUB, scope__iexact=scope).update(is_active=False))


def _upsert(number: int, given: Mapping[str, Any], *, is_deleted: bool, now: datetime) -> bool:
    """Keep the newest of what was said; returns whether the installation is deleted."""
    said_at = _time(given.get("updated_at")) or now
    permissions = payloads.child(given, "permissions")
    facts = {
        "account": payloads.login(payloads.child(given, "account")),
        "is_suspended": given.get("suspended_at") is not None,
        "permissions": {name: level for name, level in permissions.items() if isinstance(level, str)},
        "updated_at": said_at,
    }
    row, is_new = Installation.objects.get_or_create(
        installation_id=number, defaults={**facts, "is_deleted": is_deleted}
    )
    if not is_new and said_at >= row.updated_at:
        Installation.objects.filter(pk=row.pk).update(**facts)
    if is_deleted and not row.is_deleted:
        Installation.objects.filter(pk=row.pk).update(is_deleted=True)
    return is_deleted or row.is_deleted


def _scopes(payload: Mapping[str, Any], name: str) -> list[tuple[str, int | None]]:
    found = payloads.children(payload, name)
    return [(scope, payloads.number(item, "id")) for item in found if (scope := payloads.scope(item))]


def _under_care() -> dict[str, tuple[str, int | None]]:
    """Names and GitHub's numbers by name in lower case."""
    rows = Repository.objects.filter(_ACTIVE_GITHUB).values_list("scope", "remote_id")
    return {scope.lower(): (scope, number) for scope, number in rows}


def _is_another(number: int | None, ours: tuple[str, int | None] | None) -> bool:
    return ours is not None and number is not None and ours[1] is not None and number != ours[1]


def _time(value: object) -> datetime | None:
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
