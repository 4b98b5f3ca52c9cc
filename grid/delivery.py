"""Messages to running agents: stored with the execution, written by its host to the program's standard input.

A program is told while it works only where its adapter says that it listens. Whether it took a message in is told by events:
`message.taken` when its pipe has it, `agent.inbox` when the program says that its model was shown it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from grid import bearers
from grid.agents import registry
from grid.models import Execution, InboxItem
from grid.public_types import ON_HOST, State

MAX_JSON_BYTES = 48_000
"""A shim takes commands of 64 KiB."""
_PRUNED_AT_ONCE = 500
REFUSED, TAKEN = "message.refused", "message.taken"

type Post = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Sends one command to a shim; None when it does not answer."""


def deliver(execution_id: UUID, *, key: str, sender: str, text: str) -> bool:
    """Have a message written to a running agent; False when it does not run, or its program takes nothing while it works.

    The same key twice is delivered once.
    """
    row = Execution.objects.filter(pk=execution_id, state__in=[str(State.CLAIMED), str(State.RUNNING)]).first()
    if row is None or not registry.get(row.agent).listens:
        return False
    with transaction.atomic():
        _, is_new = InboxItem.objects.get_or_create(
            execution=row, key=key, defaults={"sender": sender[:150], "text": _fitting(text)}
        )
        if is_new:  # the host reads the row at every tick, and the items only when this has grown
            live = Execution.objects.filter(pk=row.pk, state__in=sorted(ON_HOST))
            live.update(inbox_count=F("inbox_count") + 1)
    return True


def hand_over(execution_id: UUID, *, fence: int, post: Post) -> bool:
    """Write what waits to the program, oldest first.

    Returns:
        False when the shim did not answer: try again later.
    """
    for item in InboxItem.objects.filter(execution_id=execution_id, state=InboxItem.State.WAITING):
        message = {"type": "message", "id": item.key, "from": item.sender, "text": item.text}
        answer = post({"op": "deliver", "id": item.key, "message": message})
        if answer is None:
            return False
        is_taken = bool(answer.get("ok"))
        new, kind = (InboxItem.State.TAKEN, TAKEN) if is_taken else (InboxItem.State.REFUSED, REFUSED)
        with transaction.atomic():
            mine = InboxItem.objects.filter(pk=item.pk, state=InboxItem.State.WAITING)
            if mine.update(state=new):
                bearers.record(execution_id, fence=fence, events=[(kind, {"id": item.key})])
    return True


def prune(*, before: datetime) -> int:
    """Remove what was for the programs of executions that ended before a time; returns how many."""
    removed = 0
    old = InboxItem.objects.filter(execution__ended_at__lt=before).order_by("pk")
    while ids := list(old.values_list("pk", flat=True)[:_PRUNED_AT_ONCE]):
        removed += InboxItem.objects.filter(pk__in=ids).delete()[0]
    return removed


def _fitting(text: str) -> str:
    """As much of a text as fits into a command: as JSON, one character may be twelve bytes."""
    while len(json.dumps(text)) > MAX_JSON_BYTES:
        text = text[: len(text) * 3 // 4]
    return text
