"""Statements written by hand, for the few acts that everybody waits for: locks, reservations, events.

The ORM builds a statement for longer than the database needs to run it, and on SQLite, where running one costs little, so do
Django's cursors. docs/performance.md has the figures.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence, Sized
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections

ALIAS = "default"
_LONG = 4_000
"""Characters of statements that are not kept: those of many rows are seldom the same."""

type Statement = tuple[str, Sequence[Any]]
"""SQL with `%s` for each value and `%%` for a percent sign; values as the database stores them, see `uuid` and `time`."""


def run(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, as the database stores values; of one that returns none: nothing.

    Raises:
        django.db.DatabaseError: As from any cursor of Django's.
    """
    db = connections[ALIAS]
    db.close_if_health_check_failed()
    # What counts statements, or stands in their way, gets them all.
    if db.connection is None or db.queries_logged or db.execute_wrappers:
        with db.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []
    db.validate_no_broken_transaction()
    with db.wrap_database_errors:
        if db.vendor == "sqlite":
            text = _known(sql) if len(sql) < _LONG else _with_question_marks(sql)
            return db.connection.execute(text, values).fetchall()  # type: ignore[no-any-return]
        with _cursor(db.connection) as cursor:
            cursor.execute(sql, values)
            return _rows(cursor)


def run_all(statements: Sequence[Statement]) -> list[tuple[Any, ...]]:
    """Run statements one after the other and return the rows of the last; on PostgreSQL they share one round trip."""
    db = connections[ALIAS]
    if len(statements) == 1 or db.vendor != "postgresql" or db.queries_logged or db.execute_wrappers:
        return [run(sql, values) for sql, values in statements][-1]
    db.validate_no_broken_transaction()
    with db.wrap_database_errors, _cursor(db.connection) as cursor:
        with db.connection.pipeline():
            for sql, values in statements:
                cursor.execute(sql, values)
        return _rows(cursor)


def uuid(value: UUID) -> UUID | str:
    """A UUID as the database stores it."""
    return value if connections[ALIAS].features.has_native_uuid_field else value.hex


def time(value: datetime) -> Any:
    """A point in time as the database stores it."""
    return connections[ALIAS].ops.adapt_datetimefield_value(value)


def now() -> str:
    """The database's clock as an expression: at the moment, not at the beginning of the transaction."""
    if connections[ALIAS].vendor == "postgresql":
        return "clock_timestamp()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"


def places(values: Sized) -> str:
    """As many `%s` as there are values, for an IN or VALUES."""
    return ", ".join(["%s"] * len(values))


def _cursor(connection: Any) -> Any:
    """A cursor whose values go to the server apart from the SQL, so that it can keep the plan (DATABASE_PREPARED_STATEMENTS)."""
    import psycopg  # noqa: PLC0415 - not installed where SQLite is the database

    return psycopg.Cursor(connection)


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.pgresult.nfields else []  # `description` takes as long as a short statement


def _with_question_marks(sql: str) -> str:
    return sql.replace("%s", "?") % ()


_known = functools.lru_cache(maxsize=512)(_with_question_marks)
