"""Changes of an execution's columns other than its state, each with its event, so that the log can build the row again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from grid import event_log, returning
from grid.events import rows
from grid.events.own_tables import EXECUTION
from grid.models import Execution
from grid.models.executions import stream_of


def row(pk: UUID, values: Mapping[str, Any]) -> rows.Row:
    """What the event says of the columns that count."""
    return rows.made(EXECUTION.table, pk, {name: value for name, value in values.items() if EXECUTION.counts(name)})


def change(
    chosen: QuerySet[Execution], *, kind: str, body: Mapping[str, Any] | None = None, **fields: Any
) -> list[dict[str, Any]]:
    """Change columns of executions other than their state, with one event for each; in the caller's transaction or its own.

    Args:
        chosen: The executions, with every condition of the UPDATE.
        kind: Of the events.
        body: What they say beside the columns.
        fields: Columns and their new values, expressions too.

    Returns:
        Id and changed columns of each row.
    """
    columns = ["id", "seq", "root", *fields]
    with transaction.atomic(savepoint=False):
        changed = [
            returning.values(Execution, columns, one)
            for one in returning.update(chosen, *columns, seq=F("seq") + 1, **fields)
        ]
        event_log.insert(
            (
                stream_of(one["id"]),
                one["seq"],
                one["root"],
                kind,
                {**(body or {}), "rows": [row(one["id"], {name: one[name] for name in fields})]},
            )
            for one in changed
        )
    return changed
