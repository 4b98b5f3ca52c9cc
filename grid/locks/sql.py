"""Values between the locks' statements and the two databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from grid.public_types import ON_HOST

STATES = ", ".join(f"'{state}'" for state in sorted(ON_HOST))
"""Of executions that can hold locks, for an IN."""
OPEN = "('held', 'waiting')"


def native(execution_id: UUID) -> Any:
    """An execution's id as the database stores it."""
    return execution_id if connection.features.has_native_uuid_field else execution_id.hex


def stored(value: Any) -> Any:
    """A value as the database stores it."""
    if isinstance(value, UUID):
        return native(value)
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def when(value: Any) -> datetime | None:
    """A date as it came from the database."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def now() -> str:
    """The database's clock as an expression: at the moment, not at the beginning of the transaction."""
    if connection.vendor == "postgresql":
        return "clock_timestamp()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
