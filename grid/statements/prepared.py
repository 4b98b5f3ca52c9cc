"""Queries that Django builds once in a process, and that are run as often as they are asked (decision 0030).

Django takes 0.3 to 0.9 ms to build a short query, anew at each call: several times what a database takes to answer it. What is
asked some times for every run is therefore written down once, as any query, with `given` in place of what differs:

    _OPEN = Prepared(lambda: Nudge.objects.filter(agent=given("agent"), is_open=True))

    nudge = _OPEN.one(agent=agent.pk)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.query import FlatValuesListIterable, ModelIterable, ValuesListIterable, get_related_populators
from django.db.transaction import TransactionManagementError

from grid.statements import plain

_ITERABLES = (ModelIterable, ValuesListIterable, FlatValuesListIterable)


def given(name: str, *, takes_none: bool = False) -> Any:
    """The place of a value that each call gives by this name: text, a number, a boolean, a UUID or a time.

    Args:
        takes_none: Where something is set. In a condition None would silently fit to nothing, and is refused.
    """
    return _Given(name, takes_none)


def given_all(name: str) -> Any:
    """The same for any number of values, behind `__in`."""
    return _GivenAll(name)


class Prepared[Row]:
    """A query with places for values, for rows of a model, tuples or single values.

    Its QuerySet is made at the first call and kept: it must not depend on the time, on settings or on what is stored.
    """

    def __init__(self, build: Callable[[], QuerySet[Any, Row]]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, **values: Any) -> list[Row]:
        """Every row, in the order of the query.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is None.
            TransactionManagementError: It locks rows, and there is no transaction.
        """
        connection = connections[plain.ALIAS]
        compiled = self._compiled.get(connection.vendor)
        if compiled is None:
            compiled = self._compiled[connection.vendor] = _compile(self._build(), connection)
        if compiled.locks and connection.get_autocommit():
            raise TransactionManagementError("a query that locks rows needs a transaction")
        found = plain.run(*filled(compiled.sql, compiled.params, values))
        return [compiled.row(row, connection) for row in found]

    def one(self, **values: Any) -> Row | None:
        """The first row, of a query that finds one at most, or says in which order; else None."""
        found = self.rows(**values)
        return found[0] if found else None

    def get(self, **values: Any) -> Row:
        """The same row; the model's DoesNotExist says that there is none."""
        row = self.one(**values)
        if row is None:
            raise self._build().model.DoesNotExist
        return row

    def exists(self, **values: Any) -> bool:
        """Whether there is a row; for queries that are cut off at one row."""
        return bool(self.rows(**values))


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a value, among the parameters of a compiled query."""

    name: str
    takes_none: bool = False
    marker: str = ""
    """In the SQL, for as many places as there are values."""


class _Given(Expression):
    def __init__(self, name: str, takes_none: bool = False) -> None:  # noqa: FBT001, FBT002 - by place, which tells two apart
        super().__init__(output_field=Field())
        self.place = _Place(name, takes_none)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        return "%s", (self.place,)


class _GivenAll(_Given):
    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        marker = f"/* {self.place.name} */%s"
        return f"({marker})", (_Place(self.place.name, marker=marker),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """What Django finds out anew for each query: its SQL, and how a row becomes what the caller gets."""

    sql: str
    params: tuple[Any, ...]
    locks: bool
    converters: tuple[tuple[int, Any, Any], ...]
    """Column, function and expression: what Django makes of stored values."""
    iterable: type
    model: type[Model]
    names: Sequence[str]
    columns: slice
    """Of the model; those of related rows, and annotations, are beside them."""
    populators: Sequence[Any]
    annotations: Sequence[tuple[str, int]]

    def row(self, values: Sequence[Any], connection: Any) -> Any:
        """What Django's own iterables make of a row."""
        values = list(values)
        for at, convert, expression in self.converters:
            values[at] = convert(values[at], expression, connection)
        if self.iterable is FlatValuesListIterable:
            return values[0]
        if self.iterable is ValuesListIterable:
            return tuple(values)
        row = self.model.from_db(plain.ALIAS, self.names, values[self.columns])
        for populator in self.populators:
            populator.populate(values, row)
        for name, at in self.annotations:
            setattr(row, name, values[at])
        return row


def _compile(queryset: QuerySet[Any, Any], connection: Any) -> _Compiled:
    iterable = queryset._iterable_class  # what values_list() leaves behind
    if iterable not in _ITERABLES:
        raise TypeError(f"{iterable.__name__} cannot be prepared: rows of a model, or values_list()")
    compiler = queryset.query.get_compiler(connection=connection)
    sql, params = compiler.as_sql()
    selected = [column for column, _, _ in compiler.select[: compiler.col_count]]
    converters = compiler.get_converters(selected).items()
    first, last, names, populators = 0, 0, list[str](), list[Any]()
    if iterable is ModelIterable:
        info = compiler.klass_info
        first, last = info["select_fields"][0], info["select_fields"][-1] + 1
        names = [column.target.attname for column, _, _ in compiler.select[first:last]]
        populators = get_related_populators(info, compiler.select, plain.ALIAS)  # type: ignore[call-arg]  # the stubs are for 6.1
    return _Compiled(
        sql=sql,
        params=tuple(params),
        locks=queryset.query.select_for_update,
        converters=tuple((at, convert, expression) for at, (several, expression) in converters for convert in several),
        iterable=iterable,
        model=queryset.model,
        names=names,
        columns=slice(first, last),
        populators=populators,
        annotations=tuple((compiler.annotation_col_map or {}).items()),
    )


def filled(sql: str, params: Iterable[Any], values: Mapping[str, Any]) -> plain.Statement:
    """A compiled statement with the values of one call in their places."""
    found = list[Any]()
    for one in params:
        if type(one) is not _Place:
            found.append(one)
        elif one.marker:
            several = [stored(value) for value in values[one.name]]
            sql = sql.replace(one.marker, plain.places(several) or "NULL", 1)
            found += several
        else:
            value = values[one.name]
            if value is None and not one.takes_none:
                raise ValueError(f"None is no value for {one.name!r}: it is equal to nothing")
            found.append(stored(value))
    return sql, found


def stored(value: Any) -> Any:
    """A value as the database stores it."""
    if isinstance(value, UUID):
        return plain.uuid(value)
    if isinstance(value, datetime):
        return plain.time(value)
    return value
