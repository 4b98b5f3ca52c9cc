"""Django's models by the names of their tables."""

from __future__ import annotations

import functools
from typing import Any

from django.apps import apps
from django.db.models import Field, Model


@functools.cache
def model_of(table: str) -> type[Model]:
    """The model of a table. Raises LookupError."""
    for model in apps.get_models():
        if model._meta.db_table == table:
            return model
    raise LookupError(f"no table {table[:80]!r}")


@functools.cache
def fields_of(table: str) -> dict[str, Field[Any, Any]]:
    """A table's fields by their columns."""
    return {str(field.column): field for field in model_of(table)._meta.concrete_fields}
