"""Build the state tables from a log: fold the rows in its events, in the order in which they happened."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.color import no_style
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.db.models import Field, Model

from grid.events import verify
from grid.events.databases import ReplayError, require_empty
from grid.events.models_of import fields_of, model_of
from grid.events.tables import REGISTER, StateTable

_AT_ONCE = 500
_EVENT = "INSERT INTO grid_event (id, stream, seq, root, kind, v, at, body, rows) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
_STREAM = "INSERT INTO grid_eventstream (name, root, seq) VALUES (%s, %s, %s)"

_HARMLESS = ("unknown-kind", "body")
"""An event that nobody knows happened all the same; what it says of rows counts."""


@dataclass(slots=True)
class Fold:
    """The rows as the events so far have left them."""

    rows: dict[str, dict[int | str, dict[str, Any]]] = field(default_factory=dict)

    def take(self, row: Mapping[str, Any], *, where: str, at: str = "") -> None:
        """Take in one row of an event.

        Args:
            where: File and line, for complaints.
            at: The event's time.

        Raises:
            ReplayError: It is of no state table, has unknown columns, or changes what nobody made.
        """
        table, known = row["table"], fields_of(row["table"])
        state = REGISTER.state.get(table)
        key = row["id"]
        of_table = self.rows.setdefault(table, {})
        if row.get("gone"):
            of_table.pop(key, None)
            return
        unknown = row["set"].keys() - known.keys()
        if unknown:
            raise ReplayError(f"{where}: {table} has no column {sorted(unknown)[0][:60]!r}")
        kept = {name: value for name, value in row["set"].items() if state is None or state.counts(name)}
        if key not in of_table:
            of_table[key] = {"": at}
        of_table[key].update(kept)


def replay(files: Iterable[Path], *, into: str) -> dict[str, int]:
    """Build the tables of the database of this alias from exported logs, all or nothing.

    Args:
        files: Logs of trees, or one of all; together they are read in the order of their events.
        into: An alias whose database has our tables, and nothing in them.

    Returns:
        How many rows each table has now.

    Raises:
        ReplayError: The database is not empty, a file has something wrong (the message names the line), or rows do not fit.
    """
    require_empty(into)
    try:
        return _replay(files, into)
    except IntegrityError as error:
        first = str(error).splitlines()[0][:200]
        raise ReplayError(f"the rows of the log do not fit together: {first}; is a tree's log missing?") from error
    except (DatabaseError, ValidationError, ValueError, TypeError, AttributeError, OverflowError) as error:
        # A file that was written by somebody else: its values need not be those of our columns.
        raise ReplayError(f"a value of the log is none that its column takes: {str(error)[:200]}") from error


def _replay(files: Iterable[Path], into: str) -> dict[str, int]:
    with transaction.atomic(using=into):
        fold, base, streams = Fold(), list[tuple[str, dict[str, Any]]](), dict[str, tuple[str, int]]()
        count, batch = 0, list[tuple[Any, ...]]()
        for where, event in _merged([_lines(path, base) for path in files]):
            for row in event.get("rows") or ():
                fold.take(row, where=where, at=event["at"])
            streams[event["stream"]] = (event["root"], event["seq"])
            batch.append(_values(event, into))
            count += 1
            if len(batch) >= _AT_ONCE:
                _insert(_EVENT, batch, into)
                batch = []
        _insert(_EVENT, batch, into)
        counted = [(name, *facts) for name, facts in streams.items() if not name.startswith("execution:")]
        _insert(_STREAM, counted, into)
        for where, row in base:
            fold.take(row, where=where)
        written = {table: _write(table, rows, into) for table, rows in fold.rows.items()}
        _number_on(into)
        for state in REGISTER.state.values():
            if state.derive is not None:
                state.derive(into)
    return {"grid_event": count, **written}


def _lines(path: Path, base: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Events of a file with their ids and places; rows that are no events' go to `base`. Raises ReplayError."""
    try:
        with path.open("rb") as file:
            for number, value, problem in verify.read(file):
                where = f"{path}, line {number}"
                if problem is not None and problem[0] not in _HARMLESS:
                    raise ReplayError(f"{where}: {problem[1]}")
                if "base" in value:
                    base.append((where, value["base"]))
                elif "kind" in value:
                    yield value["id"], where, value
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error


def _merged(sources: list[Iterator[tuple[int, str, dict[str, Any]]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    last = 0
    for number, where, event in heapq.merge(*sources, key=lambda one: one[0]):
        if number == last:
            raise ReplayError(f"{where}: event {number} is in another file, too")
        last = number
        yield where, event


def _values(event: Mapping[str, Any], alias: str) -> tuple[Any, ...]:
    at = connections[alias].ops.adapt_datetimefield_value(datetime.fromisoformat(event["at"]))
    rows = json.dumps(event["rows"]) if event.get("rows") else None
    head = (event["id"], event["stream"], event["seq"], event["root"], event["kind"], event["v"])
    return (*head, at, json.dumps(event["body"]), rows)


def _insert(sql: str, values: list[tuple[Any, ...]], alias: str) -> None:
    if values:
        with connections[alias].cursor() as db:
            db.executemany(sql, values)


def _write(table: str, rows: Mapping[int | str, dict[str, Any]], alias: str) -> int:
    model, state = model_of(table), REGISTER.state.get(table)
    instances = [_instance(model, state, pk, values) for pk, values in rows.items()]
    model._default_manager.using(alias).bulk_create(instances, batch_size=_AT_ONCE)
    return len(instances)


def _instance(model: type[Model], state: StateTable | None, pk: int | str, values: dict[str, Any]) -> Model:
    known, at = fields_of(model._meta.db_table), values.pop("")
    missing = _needed(model, state) - values.keys()
    if missing:
        name = f"{model._meta.db_table} {pk}"
        raise ReplayError(
            f"no event of the log made {name}, which later ones change: {sorted(missing)[0]} is nowhere said"
        )
    found = {known[name].attname: _python(known[name], value) for name, value in values.items()}
    if state is not None and state.fill is not None:
        state.fill(found, datetime.fromisoformat(at) if at else None)
    key = model._meta.pk
    return model(**{**found, key.attname: _python(key, pk)})


def _needed(model: type[Model], state: StateTable | None) -> set[str]:
    """Columns that an event must have set."""
    if state is None:
        return set()
    key = model._meta.pk
    return {name for name in fields_of(state.table) if state.counts(name) and name != key.column}


def _python(column: Field[Any, Any], value: Any) -> Any:
    """A plain value as the column has it in Python."""
    if value is None or column.get_internal_type() == "JSONField":
        return value
    target: Any = getattr(column, "target_field", column)  # of a foreign key: the key that it holds
    return target.to_python(value)


def _number_on(alias: str) -> None:
    """Have the database number new rows after those that are there."""
    connection = connections[alias]
    models = [model_of("grid_event"), *(model_of(table) for table in (*REGISTER.base, *REGISTER.state))]
    with connection.cursor() as db:
        for sql in connection.ops.sequence_reset_sql(no_style(), models):
            db.execute(sql)
