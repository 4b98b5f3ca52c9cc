"""UPDATE … RETURNING, which Django does not have: what a conditional UPDATE left, without reading the rows again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.sql import UpdateQuery


def update(rows: QuerySet[Any], *columns: str, **values: Any) -> list[tuple[Any, ...]]:
    """Change rows as `rows.update(**values)` does and return these columns of each row that was changed.

    Args:
        rows: Of one table, not sliced. Call it inside a transaction: an error in it undoes the transaction.
        columns: Texts and numbers; they come as the database gives them.
    """
    query = cast(UpdateQuery, rows.query.chain(UpdateQuery))
    query.add_update_values(values)
    query.clear_ordering(force=True)
    try:
        sql, params = query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:  # a condition that nothing can meet: `subject IN ()`
        return []
    names = ", ".join(connection.ops.quote_name(column) for column in columns)
    with connection.cursor() as db:
        db.execute(f"{sql} RETURNING {names}", params)
        changed: list[tuple[Any, ...]] = db.fetchall()
    return changed


def values(model: type[Model], columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """The same columns as Python has them: dates, uuids and JSON, not what the database gave."""
    found = {}
    for name, value in zip(columns, row, strict=True):
        field: Any = model._meta.get_field(name)
        column = field.get_col(model._meta.db_table)
        for convert in (*connection.ops.get_db_converters(column), *field.get_db_converters(connection)):
            value = convert(value, column, connection)
        found[name] = value
    return found
