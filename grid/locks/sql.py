"""Values between the locks' statements and the two databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from grid.public_types import ON_HOST
from grid.statements import plain

STATES = ", ".join(f"'{state}'" for state in sorted(ON_HOST))
"""Of executions that can hold locks, for an IN."""
OPEN = "('held', 'waiting')"


def stored(value: Any) -> Any:
    """A value as the database stores it."""
    if isinstance(value, UUID):
        return plain.uuid(value)
    if isinstance(value, datetime):
        return plain.time(value)
    return value


def when(value: Any) -> datetime | None:
    """A date as it came from the database."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
