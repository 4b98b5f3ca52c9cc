"""What a tracker accepts: GitHub's limits, kept by every tracker, and texts made safe to store. Pure.

The limits are GitHub's (https://docs.github.com/en/issues, "Adding sub-issues"; 422 "Body is too long"), so that a tree
which fits the local tracker fits GitHub too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tracker.public_errors import InvalidError

TITLE_MAX_CHARS = 256
BODY_MAX_CHARS = 65_536
CHILDREN_MAX = 100
"""Per parent; closed children count."""
LEVELS_MAX = 8
"""Issues on the longest way from a root down to a leaf."""
BLOCKERS_MAX = 50
LABELS_MAX = 100
LABEL_MAX_CHARS = 50
ASSIGNEES_MAX = 10
COMMENTS_MAX = 2_500
PERSON_MAX_CHARS = 100
NAME_MAX_CHARS = 200
"""Scopes, sources' scopes, keys of writes."""
DATA_MAX_CHARS = 8_000
"""Of a comment's data, as JSON."""
REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")

# C0 without tab and newline, DEL, C1: no tracker shows them, PostgreSQL refuses NUL, terminals obey the rest.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PERSON = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_SLOT = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_NESTING_MAX = 20


def clean_text(text: str) -> str:
    """Text any database stores: plain newlines, no control characters, lone surrogates as U+FFFD."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def text_digest(*, title: str, body: str) -> str:
    """SHA-256 of an issue's texts; white space at the ends of lines does not count."""
    lines = [title.strip(), *(line.rstrip() for line in clean_text(body).strip().split("\n"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def clean_json(value: object, *, depth: int = 0) -> Any:
    """The same JSON value with every text cleaned.

    Raises:
        InvalidError: Not plain JSON (a NaN, a set, a key that is no text), or nested deeper than 20 levels.
    """
    if depth > _NESTING_MAX:
        raise InvalidError(f"The value is nested deeper than {_NESTING_MAX} levels; make it flatter.")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {clean_text(key): clean_json(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item, depth=depth + 1) for item in value]
    raise InvalidError(f"A {type(value).__name__} is not plain JSON; use texts, numbers, booleans, lists and objects.")


def comment_data(value: Mapping[str, Any]) -> dict[str, Any]:
    """A comment's data, cleaned and small enough for the comment's marker.

    Raises:
        InvalidError: Not plain JSON, or longer than `DATA_MAX_CHARS`.
    """
    cleaned: dict[str, Any] = clean_json(value)
    size = len(json.dumps(cleaned))
    if size > DATA_MAX_CHARS:
        raise InvalidError(f"The comment's data has {size} characters of {DATA_MAX_CHARS}; keep less.", field="data")
    return cleaned


def title(text: str) -> str:
    """One clean line.

    Raises:
        InvalidError: Empty, or longer than `TITLE_MAX_CHARS`.
    """
    return _line(text, field="title", longest=TITLE_MAX_CHARS)


def body(text: str, *, field: str = "body") -> str:
    """A clean text.

    Raises:
        InvalidError: Longer than `BODY_MAX_CHARS`.
    """
    cleaned = clean_text(text)
    if len(cleaned) > BODY_MAX_CHARS:
        raise InvalidError(f"The {field} has {len(cleaned)} characters of {BODY_MAX_CHARS}; shorten it.", field=field)
    return cleaned


def labels(names: Iterable[str]) -> tuple[str, ...]:
    """Clean names, each once whatever its case, in the order given.

    Raises:
        InvalidError: A name is empty or longer than `LABEL_MAX_CHARS`, or there are more than `LABELS_MAX`.
    """
    unique: dict[str, str] = {}
    for name in names:
        cleaned = _line(name, field="labels", longest=LABEL_MAX_CHARS)
        unique.setdefault(cleaned.casefold(), cleaned)
    if len(unique) > LABELS_MAX:
        raise InvalidError(f"{len(unique)} labels; an issue holds {LABELS_MAX}.", field="labels")
    return tuple(unique.values())


def person(name: str, *, field: str = "actor") -> str:
    """A login as it is.

    Raises:
        InvalidError: Empty, too long, or with white space or control characters.
    """
    if len(name) > PERSON_MAX_CHARS or not _PERSON.fullmatch(name):
        raise InvalidError(
            f"{name[:40]!r} is no login: 1 to {PERSON_MAX_CHARS} characters without white space.", field=field
        )
    return name


def name(text: str, *, field: str) -> str:
    """A scope, a dedupe key or the key of a write, as it is.

    Raises:
        InvalidError: Empty, too long, or with control characters.
    """
    if not is_name(text):
        raise InvalidError(
            f"{text[:40]!r} is no {field}: 1 to {NAME_MAX_CHARS} characters without control characters.", field=field
        )
    return text


def slot(text: str) -> str:
    """The slot of a comment of ours, as it is.

    Raises:
        InvalidError: Not 1 to 40 of `a-z 0-9 -`.
    """
    if not _SLOT.fullmatch(text):
        raise InvalidError(f"{text[:40]!r} is no slot: use 1 to 40 of a-z, 0-9 and '-'.", field="slot")
    return text


def is_name(text: str) -> bool:
    """Whether a text can name anything here; the rest must not reach a database (PostgreSQL refuses NUL)."""
    return 0 < len(text) <= NAME_MAX_CHARS and clean_text(text) == text and "\n" not in text


def is_number(key: str) -> bool:
    """Whether a key can be an issue's number: ASCII digits, no leading zero."""
    return _NUMBER.fullmatch(key) is not None


def _line(text: str, *, field: str, longest: int) -> str:
    line = " ".join(clean_text(text).split())
    if not line:
        raise InvalidError(f"The {field} is empty; write at least one visible character.", field=field)
    if len(line) > longest:
        raise InvalidError(f"The {field} has {len(line)} characters of {longest}; shorten it.", field=field)
    return line
