"""Reading GitHub's JSON when it may have any shape: what is absent or strange is empty. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Never

from tracker import limits

type Json = Mapping[str, Any]

DEPTH_MAX = 100
BRANCH_MAX_CHARS = 250
_WORD = re.compile(r"[a-z_]{1,60}")
_SHA = re.compile(r"[0-9a-f]{7,64}")
_LOGIN = re.compile(r"[0-9A-Za-z_.\[\]-]+")
_SCOPE = re.compile(r"[0-9A-Za-z_.-]+/[0-9A-Za-z_.-]+")
_UNSTORABLE_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""NUL, and halves of a surrogate pair: PostgreSQL keeps neither."""
_NUMBER_MAX = 2**63 - 1


def load(body: bytes) -> Json:
    """A body's JSON object, fit for any database: finite numbers, no NUL, no half of a surrogate pair.

    Raises:
        ValueError: It is no JSON object, not UTF-8, or nested more than `DEPTH_MAX` levels deep.
    """
    try:
        payload = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(payload, dict):
        raise ValueError("not an object")
    # The count is an upper limit of the depth, and quick: a closer look is for bodies that could be too deep.
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and _is_deep(payload):
        raise ValueError("nested too deep")
    stored: Json = _storable(payload) if _UNSTORABLE_ESCAPE.search(body) else payload
    return stored


def child(value: Json, name: str) -> Json:
    """The object of this name."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def children(value: Json, name: str) -> list[Json]:
    """The objects in the list of this name."""
    found = value.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: Json, name: str) -> int | None:
    """A positive whole number, such as every id."""
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if 0 < found <= _NUMBER_MAX else None


def key(value: Json) -> str:
    """Of an issue or a pull request: its number as text."""
    found = number(value, "number")
    return "" if found is None else str(found)


def action(payload: Json) -> str:
    """What happened, in GitHub's word."""
    return _matching(payload.get("action"), _WORD)


def is_word(text: str) -> bool:
    """Whether this could name an event."""
    return _WORD.fullmatch(text) is not None


def login(value: Json) -> str:
    """Of a person, a bot or an organization."""
    return _matching(value.get("login"), _LOGIN, limits.PERSON_MAX_CHARS)


def scope(value: Json) -> str:
    """Of a repository: `acme/widgets`."""
    return _matching(value.get("full_name"), _SCOPE, limits.NAME_MAX_CHARS)


def sha(value: Json, name: str) -> str:
    """A commit."""
    return _matching(value.get(name), _SHA)


def branch(value: Json, name: str) -> str:
    """The name of a branch, of which no more is known than its length."""
    found = value.get(name)
    return found if isinstance(found, str) and len(found) <= BRANCH_MAX_CHARS and found.isprintable() else ""


def text(value: Json, name: str) -> str:
    """What somebody wrote, no more of it than a tracker takes."""
    found = value.get(name)
    return found[: limits.BODY_MAX_CHARS] if isinstance(found, str) else ""


def label(payload: Json) -> str:
    """The name of the label that was put on or taken off."""
    found = child(payload, "label").get("name")
    return found if isinstance(found, str) and len(found) <= limits.LABEL_MAX_CHARS and found.isprintable() else ""


def _matching(value: object, pattern: re.Pattern[str], longest: int = 100) -> str:
    return value if isinstance(value, str) and len(value) <= longest and pattern.fullmatch(value) else ""


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _is_deep(payload: Any) -> bool:
    level = [payload]
    for _ in range(DEPTH_MAX):
        level = [item for parent in level for item in _containers(parent)]
        if not level:
            return False
    return True


def _containers(value: Any) -> Sequence[Any]:
    items = value.values() if isinstance(value, dict) else value
    return [item for item in items if isinstance(item, dict | list)]


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return value
