"""Bearer tokens with which agents call our tools and the model gateway: one for each execution, stored as a hash.

A token opens something only while its execution is live, its lease runs, and the claim that it was made for holds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from grid import changing, event_log
from grid.event_log import Draft
from grid.events.tokens import PREFIX
from grid.models import Execution
from grid.public_types import ON_HOST, Caller

_MAX_LENGTH = 100
_NUMBERS = """
    UPDATE grid_execution SET seq = seq + %s WHERE id = %s AND token = %s AND state IN ({}) RETURNING seq, root
""".format(", ".join(["%s"] * len(ON_HOST)))  # noqa: S608 - nothing but places for values


def mint(execution_id: UUID, *, fence: int) -> str:
    """Make the token of one claim; an earlier one of the same execution is dead from now on. Empty: no longer ours."""
    bearer = PREFIX + secrets.token_urlsafe(32)
    ours = Execution.objects.filter(pk=execution_id, token=fence, state__in=sorted(ON_HOST))
    return bearer if ours.update(bearer_sha256=digest(bearer), bearer_fence=fence) else ""


def digest(bearer: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(bearer.encode("utf-8", "replace")).hexdigest()


def caller(bearer: str) -> Caller | None:
    """Whose token it is; None for a wrong, an old or an ended one."""
    if not bearer.startswith(PREFIX) or len(bearer) > _MAX_LENGTH:
        return None
    rows = Execution.objects.filter(
        bearer_sha256=digest(bearer), bearer_fence=F("token"), state__in=sorted(ON_HOST), lease_until__gt=Now()
    )
    row = rows.only("pk", "token", "subject", "root", "agent", "spec").first()
    if row is None:
        return None
    return Caller(
        execution_id=row.pk,
        fence=row.token,
        subject=row.subject,
        root=row.root,
        agent=row.agent,
        profile=row.spec.get("profile") or {},
    )


def record(execution_id: UUID, *, fence: int, events: Sequence[Draft]) -> bool:
    """Add events to a running execution's stream; False when the claim is over. Nothing is written then."""
    with transaction.atomic(savepoint=False):
        # By hand, as in `event_log`: every model call waits for this, and Django has no UPDATE … RETURNING.
        native = connection.features.has_native_uuid_field
        values = [len(events), execution_id if native else execution_id.hex, fence, *sorted(ON_HOST)]
        with connection.cursor() as db:
            db.execute(_NUMBERS, values)
            row = db.fetchone()
        if row is None:
            return False
        seq, root = row
        stream = f"execution:{execution_id}"
        event_log.insert_numbered(stream=stream, root=root, first_seq=seq - len(events) + 1, events=events)
    return True


def note_connection(execution_id: UUID, *, fence: int) -> None:
    """Remember that the agent reached our tools."""
    rows = Execution.objects.filter(pk=execution_id, token=fence, connected_at=None)
    if rows.exists():  # as a rule it is known, and an UPDATE would wait for other writers
        changing.change(rows, kind="agent.connected", connected_at=Now())


def report(execution_id: UUID, *, fence: int, outcome: Mapping[str, Any]) -> bool:
    """Store the outcome that the agent reported by a tool; False when the claim is over."""
    rows = Execution.objects.filter(pk=execution_id, token=fence, state__in=sorted(ON_HOST))
    return bool(changing.change(rows, kind="agent.reported", report=dict(outcome)))
