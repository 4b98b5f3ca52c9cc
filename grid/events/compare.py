"""Whether two databases hold the same state, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grid.events import rows, tokens
from grid.events.models_of import fields_of, model_of
from grid.events.tables import REGISTER, StateTable


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same in both; `column` is empty where a whole row is missing."""

    table: str
    row: str
    column: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        if not self.column:
            missing = "the other has it, we do not" if self.ours is None else "we have it, the other does not"
            return f"{self.table} {self.row}: {missing}"
        return f"{self.table} {self.row}, {self.column}: {_short(self.ours)} here, {_short(self.theirs)} there"


def compare(theirs: str, *, ours: str = "default") -> Iterator[Difference]:
    """Every difference between the state tables of two databases, by their aliases; nothing when they are the same."""
    for state in REGISTER.state.values():
        here, there = _rows(state, ours), _rows(state, theirs)
        for key in sorted(here.keys() | there.keys(), key=str):
            name = str(key)
            if key not in here or key not in there:
                yield Difference(state.table, name, "", here.get(key), there.get(key))
                continue
            for column, value in here[key].items():
                if value != there[key][column]:
                    yield Difference(state.table, name, column, value, there[key][column])


def counts(alias: str = "default") -> dict[str, int]:
    """How many rows each state table has."""
    return {table: model_of(table)._default_manager.using(alias).count() for table in REGISTER.state}


def _rows(state: StateTable, alias: str) -> dict[Any, dict[str, Any]]:
    """A table's rows by their primary keys, each with the columns that count."""
    known = fields_of(state.table)
    columns = [name for name in known if name not in state.ignored]
    found, names = {}, [known[name].attname for name in columns]
    for row in model_of(state.table)._default_manager.using(alias).order_by().values_list("pk", *names).iterator():
        values = zip(columns, row[1:], strict=True)
        found[rows.plain(row[0])] = {name: _plain(state, name, value) for name, value in values}
    return found


def _plain(state: StateTable, column: str, value: Any) -> Any:
    cut = state.normalise.get(column)
    # No log has a bearer token of ours, wherever an agent wrote its own.
    return tokens.without_tokens(rows.plain(cut(value) if cut is not None else value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
