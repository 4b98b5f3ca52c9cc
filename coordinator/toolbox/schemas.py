"""JSON schemas as every client reads them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without references, which not every client follows; ours never refer to themselves."""
    parts: Mapping[str, Any] = schema.get("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            rest = {name: item for name, item in value.items() if name != "$ref"}
            return inlined({**parts[value["$ref"].rpartition("/")[2]], **rest})
        return {name: inlined(item) for name, item in value.items()}

    return {name: inlined(item) for name, item in schema.items() if name != "$defs"}
