"""Which tables and columns are state: what the log must be able to build again. All others follow from them, or are caches.

A table counts with all its columns but those named here, each for a reason, so a new column counts until somebody says why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTable:
    """One table that a replay builds again from the rows in events."""

    table: str
    derived: Mapping[str, str] = field(default_factory=dict)
    """Columns that `derive` works out from other rows and events, with how. They are compared like those in events."""
    derive: Callable[[str], None] | None = None
    """Works out the derived columns in the database of this alias, when every row is there."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Columns that are no state, with the reason. They are not compared."""
    fill: Callable[[dict[str, Any], datetime | None], None] | None = None
    """Gives a row the values of ignored columns that are known or needed; with it comes the time of the row's first event."""
    normalise: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Cuts what is no state out of a column's value, before it is compared."""

    def counts(self, column: str) -> bool:
        """Whether events carry this column."""
        return column not in self.ignored and column not in self.derived


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTable:
    """A table whose truth is elsewhere (in a tracker); an export begins with its rows, so that others may refer to them."""

    table: str
    why: str
    rows: Callable[[str], Any]
    """The rows (a queryset) that the events of this root lean on; empty root: those of all."""
    ignored: frozenset[str] = frozenset()
    """Columns that are left at their defaults."""


@dataclass(slots=True)
class Register:
    """What is registered: the grid's own tables, and those of the packages above it, from their `apps.py`."""

    state: dict[str, StateTable] = field(default_factory=dict)
    base: dict[str, BaseTable] = field(default_factory=dict)
    not_state: dict[str, str] = field(default_factory=dict)
    """Tables of ours that are no state, with the reason."""

    def add(
        self,
        *,
        state: tuple[StateTable, ...] = (),
        base: tuple[BaseTable, ...] = (),
        not_state: Mapping[str, str] | None = None,
    ) -> None:
        """Register tables; again is harmless."""
        self.state |= {one.table: one for one in state}
        self.base |= {one.table: one for one in base}
        self.not_state |= not_state or {}


REGISTER = Register()
