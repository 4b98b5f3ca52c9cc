"""Envelopes as rows: made, found, paused, given limits. Each change of one is an event on the stream of whom it belongs to.

`coordinator.money.budgets` moves what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from coordinator.models import Agent, Envelope
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, NotAllowedError
from coordinator.public_types import EnvelopeView, ScopeKind
from coordinator.rules import budget_rules
from coordinator.rules.budget_rules import DIMENSIONS
from grid import public_events as grid_events
from grid.public_sql import Prepared, given_all

FLEET = "fleet"
_THOSE = Prepared(lambda: Envelope.objects.filter(pk__in=given_all("ids")).order_by())
_OWN_EVENT = (ScopeKind.FLEET, ScopeKind.REPOSITORY, ScopeKind.DAY)
"""The others are told with the agent that they are made for."""
_VIEWED = tuple(name for name in EnvelopeView.__slots__ if name not in ("kind", "depth", "since_progress_micros"))


def ensure(*, kind: ScopeKind, key: str, parent: Envelope | None, limits: Mapping[str, int | None]) -> Envelope:
    """The envelope of a scope, made with these limits when it is new. Limits raised by hand later are kept."""
    row = Envelope.objects.filter(key=key).first()
    if row is not None:
        return row
    above = {"parent": parent, "ancestors": fitting(parent.lineage) if parent is not None else ""}
    with transaction.atomic():
        row, is_new = Envelope.objects.get_or_create(key=key, defaults={"kind": kind, **above, **limits})
        if is_new and kind in _OWN_EVENT:
            record(row, "budget.opened", {"scope": key}, rows=[grid_events.row(row)])
    return row


def fitting(ancestors: str) -> str:
    """The same, when a row can hold it: some twenty agents one below the other, and trackers have eight. Raises NotAllowedError."""
    most = Envelope._meta.get_field("ancestors").max_length or 0
    if len(ancestors) > most:
        levels = ancestors.count("/")
        raise NotAllowedError(
            f"nothing can be put so deep: {levels} levels are above it. Put it under an agent further up"
        )
    return ancestors


def rename(envelope: Envelope, key: str) -> None:
    """Give a scope its lasting name; whoever made it tells of it."""
    Envelope.objects.filter(pk=envelope.pk).update(key=key)
    envelope.key = key


def lower(envelope: Envelope, **caps: int) -> dict[str, int]:
    """Bring limits down to caps where they are higher or missing; returns those that changed."""
    changed: dict[str, int] = {}
    with transaction.atomic():
        for name, cap in caps.items():
            rows = Envelope.objects.filter(Q(**{name: None}) | Q(**{f"{name}__gt": cap}), pk=envelope.pk)
            if rows.update(**{name: cap}):
                changed[name] = cap
                setattr(envelope, name, cap)
        if changed:
            record(envelope, "budget.lowered", dict(changed), rows=[grid_events.row(envelope, *changed)])
    return changed


def follow_setting(envelope: Envelope, **limits: int) -> None:
    """Give a scope limits that are no person's decision of the moment, but a setting's."""
    with transaction.atomic():
        Envelope.objects.filter(pk=envelope.pk).update(**limits)
        for name, value in limits.items():
            setattr(envelope, name, value)
        record(envelope, "budget.limits", dict(limits), rows=[grid_events.row(envelope, *limits)])


def path_of(envelope: Envelope) -> list[Envelope]:
    """The envelopes from the fleet down to this one, in one query; days are none of them."""
    ids = envelope.path_ids
    found = {row.pk: row for row in _THOSE.rows(ids=ids)}
    return [found[pk] for pk in ids]


def paused_by(envelopes: Iterable[Envelope]) -> dict[int, str]:
    """By the id of each envelope that is paused by itself or from above: the outermost paused level. One query."""
    paused = {row.pk: str(row.kind) for row in Envelope.objects.filter(paused_at__isnull=False)}
    if not paused:
        return {}
    outermost = {row.pk: next((paused[pk] for pk in row.path_ids if pk in paused), "") for row in envelopes}
    return {pk: kind for pk, kind in outermost.items() if kind}


def get(key: str) -> Envelope:
    """An envelope by key. Raises AgentNotFoundError."""
    row = Envelope.objects.filter(key=key).first()
    if row is None:
        raise AgentNotFoundError(f"no scope {key!r}")
    return row


def below(envelope: Envelope) -> list[Envelope]:
    """The envelope and everything under it, the widest first."""
    return [envelope, *Envelope.objects.filter(ancestors__startswith=envelope.lineage).order_by("pk")]


def pause(key: str, *, actor: str, now: datetime) -> Envelope:
    """Close a scope: launches that commit later are refused. Raises AgentNotFoundError."""
    with transaction.atomic():
        done = Envelope.objects.filter(key=key, paused_at=None).update(paused_at=now, paused_by=actor[:150])
        row = get(key)
        if done:
            record(row, "budget.paused", {"by": row.paused_by}, rows=[grid_events.row(row, "paused_at", "paused_by")])
    return row


def unpause(key: str) -> Envelope:
    """Open a scope again. Raises AgentNotFoundError."""
    with transaction.atomic():
        done = Envelope.objects.filter(key=key, paused_at__isnull=False).update(paused_at=None, paused_by="")
        row = get(key)
        if done:
            record(row, "budget.unpaused", {}, rows=[grid_events.row(row, "paused_at", "paused_by")])
    return row


def rest(until: datetime | None) -> None:
    """Open the fleet's breaker until then, or close it."""
    with transaction.atomic():
        if Envelope.objects.filter(key=FLEET).exclude(rest_until=until).update(rest_until=until):
            row = get(FLEET)
            record(row, "budget.rest", {}, rows=[grid_events.row(row, "rest_until")])


def set_limits(key: str, limits: Mapping[str, int | None]) -> tuple[Envelope, Envelope]:
    """Change what a scope may use; None leaves a limit as it is. Returns the row before and after.

    What was warned of or stopped for want of progress is so no more: a person has looked at the scope.

    Args:
        limits: By dimension, see `budget_rules.DIMENSIONS`.

    Raises:
        AgentNotFoundError: No such scope.
        InvalidInputError: A limit would be lower than what is used or reserved.
    """
    before = get(key)
    changes = budget_rules.columns({name: value for name, value in limits.items() if value is not None})
    if not changes:
        return before, before
    # The condition is part of the UPDATE: a launch in between must not end up above the new limit.
    fits = Q(pk=before.pk)
    for name, value in limits.items():
        item = DIMENSIONS[name]
        if value is not None and item.reserved:
            fits &= Q(**{f"{item.reserved}__lte": value - F(item.spent)})
        elif value is not None:
            fits &= Q(**{f"{item.spent}__lte": value})
    looked = {"warned_at": None, "warning": "", "warning_told_at": None}
    closed = {"breaker_opened_at": None, "progress_mark_micros": F("usd_spent_micros")}
    with transaction.atomic():
        if not Envelope.objects.filter(fits).update(**changes, **looked, **closed):
            words = ", ".join(
                item.words(item.used(before)) for name, item in DIMENSIONS.items() if limits.get(name) is not None
            )
            raise InvalidInputError(
                f"{key} has used {words} already, what is reserved included; give no less than that"
            )
        after = get(key)
        body = {"scope": key, **{name: value for name, value in limits.items() if value is not None}}
        record(after, "budget.raised", body, rows=[grid_events.row(after, *changes, *looked, *closed)])
    return before, after


def record(envelope: Envelope, kind: str, body: Mapping[str, Any], *, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Tell a change of an envelope, in the caller's transaction."""
    stream, root = stream_of(envelope.key, envelope.path_ids)
    grid_events.append_events(stream=stream, root=root, events=[(kind, {**body, "rows": list(rows)})])


def stream_of(key: str, path: Sequence[int]) -> tuple[str, str]:
    """Name of the stream and of the root on which an envelope's changes are told: those of its agent, if it has one.

    Args:
        key: Of the envelope.
        path: Ids of the envelopes from the fleet down to it.
    """
    kind, _, number = key.partition(":")
    if kind == ScopeKind.TREE and number.isdecimal():
        return f"agent:{number}", key
    if kind == ScopeKind.AGENT and number.isdecimal():
        tree = Envelope.objects.filter(pk__in=path, kind=ScopeKind.TREE).values_list("key", flat=True).first()
        return key, tree or key
    return f"scope:{key}"[:64], FLEET


def agents_of(envelope: Envelope) -> tuple[int | None, int | None]:
    """Ids of the agent whose envelope it is (of a tree, its root) and of that one's parent; None where there is none."""
    kind, _, number = envelope.key.partition(":")
    if kind not in (ScopeKind.TREE, ScopeKind.AGENT) or not number.isdecimal():
        return None, None
    row = Agent.objects.filter(pk=int(number)).values_list("pk", "parent_id").first()
    return row or (None, None)


def view(row: Envelope) -> EnvelopeView:
    """Freeze a row."""
    values = {name: getattr(row, name) for name in _VIEWED}
    since = row.usd_spent_micros - row.progress_mark_micros if row.kind == ScopeKind.TREE else 0
    depth = row.ancestors.count("/")
    return EnvelopeView(kind=ScopeKind(row.kind), depth=depth, since_progress_micros=since, **values)


def now() -> datetime:
    """Aware UTC time, for the callers that stamp a pause."""
    return timezone.now()
