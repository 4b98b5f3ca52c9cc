"""Envelopes: pause, concurrency, executions and wall time, reserved and settled along a whole path.

The path of an agent is fleet → repository → tree → its own. Rows are always locked in that order (their ids ascend), so two
launches cannot deadlock, and each level's gates are one conditional UPDATE: a reader's figures may be stale, this is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from coordinator.admission import Full
from coordinator.models import Envelope, LedgerEntry
from coordinator.public_errors import AgentNotFoundError, InvalidInputError
from coordinator.public_types import EnvelopeView, ScopeKind

FLEET = "fleet"


def ensure(*, kind: ScopeKind, key: str, parent: Envelope | None, limits: Mapping[str, int | None]) -> Envelope:
    """The envelope of a scope, made with these limits when it is new. Limits raised by hand later are kept."""
    row, _ = Envelope.objects.get_or_create(key=key, defaults={"kind": kind, "parent": parent, **limits})
    return row


def rename(envelope: Envelope, key: str) -> None:
    """Give a scope its lasting name."""
    Envelope.objects.filter(pk=envelope.pk).update(key=key)
    envelope.key = key


def lower(envelope: Envelope, **caps: int) -> None:
    """Bring limits down to caps where they are higher or missing."""
    for name, cap in caps.items():
        Envelope.objects.filter(Q(**{name: None}) | Q(**{f"{name}__gt": cap}), pk=envelope.pk).update(**{name: cap})


def path_of(envelope: Envelope) -> list[Envelope]:
    """The envelopes from the fleet down to this one."""
    path = [envelope]
    while path[0].parent is not None:
        path.insert(0, path[0].parent)
    return path


def reserve(*, path: Sequence[Envelope], execution_id: UUID, wall_seconds: int) -> bool:
    """Set one execution and its wall time aside on every level, or on none; call it in the launch's transaction.

    Args:
        path: From the fleet down; see `path_of`.
        wall_seconds: Upper bound of the run, as the shim's limits allow it.

    Returns:
        False when a level is paused, full or spent. Nothing is written then.
    """
    ids = [envelope.pk for envelope in path]
    with transaction.atomic(savepoint=False):
        # Locked in one order, and only those with room: what a waiter sees after the wait is checked anew.
        open_rows = Envelope.objects.filter(_has_room(wall_seconds), pk__in=ids)
        locked = open_rows.select_for_update().order_by("pk").values_list("pk", flat=True)
        if len(locked) != len(ids):
            return False
        Envelope.objects.filter(pk__in=ids).update(
            live=F("live") + 1,
            executions_reserved=F("executions_reserved") + 1,
            wall_reserved_seconds=F("wall_reserved_seconds") + wall_seconds,
        )
        LedgerEntry.objects.bulk_create(
            LedgerEntry(
                envelope_id=pk,
                execution_id=execution_id,
                kind=LedgerEntry.Kind.RESERVE,
                executions=1,
                wall_seconds=wall_seconds,
            )
            for pk in ids
        )
    return True


def settle(*, execution_id: UUID, executions: int, wall_seconds: int) -> bool:
    """Replace a reservation by what was really used, exactly once, on every level that holds it.

    Args:
        executions: 1, or 0 for a run that never started or was interrupted by us.

    Returns:
        False when there was nothing to settle.
    """
    with transaction.atomic():
        holding = Envelope.objects.select_for_update(of=("self",)).filter(
            entries__execution_id=execution_id, entries__kind=LedgerEntry.Kind.RESERVE
        )
        reserved = dict(holding.order_by("pk").values_list("pk", "entries__wall_seconds"))
        # Asked under the locks: two settlers may have come this far together.
        settled = LedgerEntry.objects.filter(execution_id=execution_id, kind=LedgerEntry.Kind.SETTLE)
        if not reserved or settled.exists():
            return False
        LedgerEntry.objects.bulk_create(
            LedgerEntry(
                envelope_id=pk,
                execution_id=execution_id,
                kind=LedgerEntry.Kind.SETTLE,
                executions=executions,
                wall_seconds=wall_seconds,
            )
            for pk in reserved
        )
        Envelope.objects.filter(pk__in=reserved).update(
            live=F("live") - 1,
            executions_reserved=F("executions_reserved") - 1,
            executions_spent=F("executions_spent") + executions,
            wall_reserved_seconds=F("wall_reserved_seconds") - max(reserved.values()),
            wall_spent_seconds=F("wall_spent_seconds") + wall_seconds,
        )
    return True


def full(path: Sequence[Envelope], *, wall_seconds: int) -> tuple[Full, ...]:
    """Which limits of which levels leave no room for one more execution, outermost first."""
    found = []
    for envelope in path:
        used = {
            "running": (envelope.live, 1, envelope.max_live),
            "executions": (envelope.executions_reserved + envelope.executions_spent, 1, envelope.executions_limit),
            "wall seconds": (
                envelope.wall_reserved_seconds + envelope.wall_spent_seconds,
                wall_seconds,
                envelope.wall_limit_seconds,
            ),
        }
        for what, (have, more, limit) in used.items():
            if limit is not None and have + more > limit:
                found.append(Full(scope=envelope.kind, what=what, used=have, limit=limit))
    return tuple(found)


def paused_scope(path: Sequence[Envelope]) -> str:
    """The outermost paused level, or empty."""
    return next((str(envelope.kind) for envelope in path if envelope.paused_at), "")


def is_paused(execution_id: UUID) -> bool:
    """Whether a level is paused on which this execution has its reservation, settled by now or not."""
    path = Envelope.objects.filter(entries__execution_id=execution_id, entries__kind=LedgerEntry.Kind.RESERVE)
    return path.filter(paused_at__isnull=False).exists()


def pause(key: str, *, actor: str, now: datetime) -> Envelope:
    """Close a scope: launches that commit later are refused. Raises AgentNotFoundError."""
    Envelope.objects.filter(key=key, paused_at=None).update(paused_at=now, paused_by=actor[:150])
    return get(key)


def unpause(key: str) -> Envelope:
    """Open a scope again. Raises AgentNotFoundError."""
    Envelope.objects.filter(key=key).update(paused_at=None, paused_by="")
    return get(key)


def set_limits(
    key: str,
    *,
    executions: int | None,
    wall_seconds: int | None,
    usd_micros: int | None = None,
    tokens: int | None = None,
) -> tuple[Envelope, Envelope]:
    """Change what a scope may use; None leaves a limit as it is. Returns the row before and after.

    Raises:
        AgentNotFoundError: No such scope.
        InvalidInputError: A limit would be lower than what is used or reserved.
    """
    before = get(key)
    wanted = {
        "executions_limit": executions,
        "wall_limit_seconds": wall_seconds,
        "usd_limit_micros": usd_micros,
        "tokens_limit": tokens,
    }
    changes = {name: value for name, value in wanted.items() if value is not None}
    # The condition is part of the UPDATE: a launch in between must not end up above the new limit.
    fits = Q(pk=before.pk)
    if executions is not None:
        fits &= Q(executions_reserved__lte=executions - F("executions_spent"))
    if wall_seconds is not None:
        fits &= Q(wall_reserved_seconds__lte=wall_seconds - F("wall_spent_seconds"))
    if usd_micros is not None:
        fits &= Q(usd_reserved_micros__lte=usd_micros - F("usd_spent_micros"))
    if tokens is not None:
        fits &= Q(tokens_reserved__lte=tokens - F("tokens_spent"))
    if changes and not Envelope.objects.filter(fits).update(**changes):
        used = before.executions_reserved + before.executions_spent
        used_wall = before.wall_reserved_seconds + before.wall_spent_seconds
        usd = (before.usd_reserved_micros + before.usd_spent_micros) / 1_000_000
        raise InvalidInputError(
            f"{key} has used {used} executions, {used_wall} wall seconds, ${usd:.2f} and "
            f"{before.tokens_reserved + before.tokens_spent} tokens; give more than that"
        )
    return before, get(key)


def rest(until: datetime | None) -> None:
    """Open the fleet's breaker until then, or close it."""
    Envelope.objects.filter(key=FLEET).exclude(rest_until=until).update(rest_until=until)


def get(key: str) -> Envelope:
    """An envelope by key. Raises AgentNotFoundError."""
    row = Envelope.objects.filter(key=key).first()
    if row is None:
        raise AgentNotFoundError(f"no scope {key!r}")
    return row


def below(envelope: Envelope) -> list[Envelope]:
    """The envelope and everything under it."""
    found, level = [envelope], [envelope.pk]
    while level:
        children = list(Envelope.objects.filter(parent_id__in=level))
        found += children
        level = [child.pk for child in children]
    return found


def totals(envelope: Envelope) -> dict[str, Any]:
    """What the ledger says the envelope's columns must be."""
    entries = LedgerEntry.objects.filter(envelope=envelope)
    settled = set(entries.filter(kind=LedgerEntry.Kind.SETTLE).values_list("execution_id", flat=True))
    spent = entries.filter(kind=LedgerEntry.Kind.SETTLE).aggregate(n=Sum("executions"), wall=Sum("wall_seconds"))
    reserved = [
        wall
        for execution_id, wall in entries.filter(kind=LedgerEntry.Kind.RESERVE).values_list(
            "execution_id", "wall_seconds"
        )
        if execution_id not in settled
    ]
    return {
        "live": len(reserved),
        "executions_reserved": len(reserved),
        "executions_spent": spent["n"] or 0,
        "wall_reserved_seconds": sum(reserved),
        "wall_spent_seconds": spent["wall"] or 0,
    }


def view(row: Envelope) -> EnvelopeView:
    """Freeze a row."""
    return EnvelopeView(
        key=row.key,
        kind=ScopeKind(row.kind),
        paused_at=row.paused_at,
        rest_until=row.rest_until,
        live=row.live,
        max_live=row.max_live,
        executions_limit=row.executions_limit,
        executions_reserved=row.executions_reserved,
        executions_spent=row.executions_spent,
        wall_limit_seconds=row.wall_limit_seconds,
        wall_reserved_seconds=row.wall_reserved_seconds,
        wall_spent_seconds=row.wall_spent_seconds,
        usd_limit_micros=row.usd_limit_micros,
        usd_reserved_micros=row.usd_reserved_micros,
        usd_spent_micros=row.usd_spent_micros,
        tokens_limit=row.tokens_limit,
        tokens_reserved=row.tokens_reserved,
        tokens_spent=row.tokens_spent,
        unpriced_tokens=row.unpriced_tokens,
    )


def now() -> datetime:
    """Aware UTC time, for the callers that stamp a pause."""
    return timezone.now()


def _has_room(wall_seconds: int) -> Q:
    no_cap = Q(max_live=None) | Q(live__lt=F("max_live"))
    executions = Q(executions_limit=None) | Q(executions_limit__gt=F("executions_reserved") + F("executions_spent"))
    wall = Q(wall_limit_seconds=None) | Q(
        wall_limit_seconds__gte=F("wall_reserved_seconds") + F("wall_spent_seconds") + wall_seconds
    )
    return Q(paused_at=None) & no_cap & executions & wall
