"""Rows added and changed by statements that Django builds once in a process: what `grid.statements.prepared` does for queries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Field, Model, QuerySet
from django.db.models.expressions import DatabaseDefault
from django.db.models.sql import UpdateQuery

from grid.statements import plain
from grid.statements.prepared import filled, given, stored


class PreparedUpdate:
    """A change of the rows that a query finds, with places for values in the query; what is set may differ from call to call."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]]) -> None:
        self._build = build

    def run(
        self, changes: Mapping[str, Any], *, returning: Sequence[str] = ("pk",), **values: Any
    ) -> list[tuple[Any, ...]]:
        """Change the rows and return some columns of each that was changed, as the database gives them.

        Args:
            changes: New values and expressions by field. Expressions are kept with the statement: what differs from call to call
                is `given` in them.
            returning: Fields.
            values: For the places of the query.
        """
        connection = connections[plain.ALIAS]
        parts = tuple((name, value if _is_expression(value) else None) for name, value in changes.items())
        statement = _update(self._build, parts, tuple(returning), connection.vendor)
        model_fields = _fields(self.model)
        new = {
            _set(name): _prepared(model_fields[name], value, connection)
            for name, value in changes.items()
            if not _is_expression(value)
        }
        return plain.run(*filled(*statement, {**values, **new}))

    @functools.cached_property
    def model(self) -> type[Model]:
        """Whose rows it changes."""
        return self._build().model


def insert(row: Model) -> None:
    """Store a new row as `row.save(force_insert=True)` does, its fields with their values; no signal is sent.

    What the database fills in, keys and defaults, is on the row afterwards.
    """
    connection = connections[plain.ALIAS]
    fields, values = list[Any](), list[Any]()
    for field in type(row)._meta.concrete_fields:
        value = field.pre_save(row, add=True)
        if not isinstance(value, DatabaseDefault) and not (value is None and field.primary_key):
            fields.append(field)
            values.append(_prepared(field, value, connection))
    compiled = _insert(type(row), tuple(fields), connection.vendor)
    for found in plain.run(compiled.sql, values):
        for (field, converters), value in zip(compiled.returned, found, strict=True):
            for convert, expression in converters:
                value = convert(value, expression, connection)
            setattr(row, field.attname, value)
    row._state.adding, row._state.db = False, plain.ALIAS


@dataclass(frozen=True, slots=True)
class _Insert:
    sql: str
    returned: tuple[tuple[Any, tuple[tuple[Any, Any], ...]], ...]
    """Each field that the database fills in, with what makes of its value what Python has."""


@functools.lru_cache(maxsize=256)
def _insert(model: type[Model], fields: tuple[Field[Any, Any], ...], vendor: str) -> _Insert:
    connection = connections[plain.ALIAS]
    quote: Any = connection.ops.quote_name
    returned = []
    for field in model._meta.concrete_fields:
        if field not in fields:
            column = field.get_col(model._meta.db_table)
            converters = (*connection.ops.get_db_converters(column), *field.get_db_converters(connection))
            returned.append((field, tuple((convert, column) for convert in converters)))
    names = ", ".join(quote(field.column) for field in fields)
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({plain.places(fields)})"  # noqa: S608
    told = ", ".join(quote(field.column) for field, _ in returned)
    return _Insert(f"{sql} RETURNING {told}" if told else sql, tuple(returned))


@functools.cache
def _fields(model: type[Model]) -> dict[str, Any]:
    return {name: field for field in model._meta.concrete_fields for name in (field.name, field.attname)}


@functools.lru_cache(maxsize=512)
def _update(
    build: Callable[[], QuerySet[Any, Any]], parts: tuple[tuple[str, Any], ...], returning: tuple[str, ...], vendor: str
) -> tuple[str, tuple[Any, ...]]:
    connection, rows = connections[plain.ALIAS], build()
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(
        {name: given(_set(name), takes_none=True) if value is None else value for name, value in parts}
    )
    query.clear_ordering(force=True)
    sql, params = query.get_compiler(connection=connection).as_sql()
    model: Any = rows.model
    fields = _fields(model) | {"pk": model._meta.pk}
    quote: Any = connection.ops.quote_name
    columns = ", ".join(quote(fields[name].column) for name in returning)
    return f"{sql} RETURNING {columns}", tuple(params)


def _prepared(field: Any, value: Any, connection: Any) -> Any:
    if isinstance(value, Model):
        value = value.prepare_database_save(field)
    return stored(field.get_db_prep_save(value, connection))


def _set(name: str) -> str:
    """Name of the place of a new value, apart from those of the query."""
    return f"new {name}"


def _is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")
