"""Rows of state tables as they travel in events, so that the log can be replayed into an empty database."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model

type Row = dict[str, Any]
"""`{"table": …, "id": …, "set": {column: plain value}}`, or `{"table": …, "id": …, "gone": True}`."""


def row(instance: Model, *columns: str) -> Row:
    """What an event says of a row that it creates or changes.

    Args:
        instance: Stored by now, its attributes as the database has them.
        columns: Names of fields or columns (`agent`, `agent_id`); all concrete ones when none is named.

    Raises:
        TypeError: A value is an expression (`Now()`, `F(…)`), so nobody knows here what the database made of it.
        FieldDoesNotExist: No such column.
    """
    meta, fields = instance._meta, _fields(type(instance))
    try:
        chosen = [fields[name] for name in columns] or [one for one in meta.concrete_fields if not one.primary_key]
    except KeyError as error:
        raise FieldDoesNotExist(f"{meta.db_table} has no column {error.args[0]!r}") from error
    values = {str(one.column): getattr(instance, one.attname) for one in chosen}
    return made(meta.db_table, instance.pk, values)


def made(table: str, pk: Any, values: Mapping[str, Any]) -> Row:
    """The same from plain values: columns by their names in the table. Raises TypeError."""
    return {"table": table, "id": plain(pk), "set": {name: plain(value) for name, value in values.items()}}


def gone(instance_or_table: Model | str, pk: Any = None) -> Row:
    """What an event says of a row that it deletes."""
    if isinstance(instance_or_table, str):
        return {"table": instance_or_table, "id": plain(pk), "gone": True}
    key = instance_or_table.pk if pk is None else pk
    return {"table": instance_or_table._meta.db_table, "id": plain(key), "gone": True}


def plain(value: Any) -> Any:
    """A value of a column as JSON has it: dates as ISO text in UTC, uuids as text. Raises TypeError."""
    if value is None or type(value) in (str, int, bool, float):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (str, int, float)):  # a subclass
        return str(value) if isinstance(value, str) else value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(
        f"{value!r} is no plain value: give events what the database made of it (timezone.now() instead of Now(), "
        "RETURNING instead of F(…))"
    )


@functools.cache
def _fields(model: type[Model]) -> dict[str, Field[Any, Any]]:
    """Concrete fields by their names and by their attributes (`agent`, `agent_id`)."""
    concrete = model._meta.concrete_fields
    return {field.name: field for field in concrete} | {field.attname: field for field in concrete}
