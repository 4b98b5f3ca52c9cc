"""Words to write JSON Schemas with."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
LINE: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
SHA: Schema = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
URL: Schema = {"type": "string", "pattern": "^https?://"}
ANYTHING: Schema = {}
NOTHING: Schema = {"type": "null"}
# Database ids: as large as GitHub's, so that code which takes a number for an id fails against this.
ID: Schema = {"type": "integer", "minimum": 1}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def items(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def shape(**required: Schema) -> Schema:
    """An object with at least these fields."""
    return {"type": "object", "properties": required, "required": list(required)}


def body(*, maybe: Schema | None = None, **required: Schema) -> Schema:
    """A request body with these fields and at most those in `maybe` besides: GitHub ignores a misspelt one silently."""
    properties = {**required, **(maybe or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def fields(**schemas: Schema) -> Schema:
    """The schemas by field, for `maybe`."""
    return schemas


def listed(key: str, schema: Schema) -> Schema:
    return shape(total_count=WHOLE, **{key: items(schema)})
