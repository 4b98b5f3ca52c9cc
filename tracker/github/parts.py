"""The parts that GitHub's answers are made of, read as hostile input: texts cleaned, sizes bounded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tracker import limits
from tracker.public_errors import UnavailableError
from tracker.public_types import Ref

GHOST = "ghost"
"""Who GitHub shows for accounts that are gone."""


def is_same_login(one: str, other: str) -> bool:
    """Whether two logins name one account; GitHub compares them without regard to case."""
    return bool(one) and one.casefold() == other.casefold()


def login(person: object) -> str:
    """The login of a `user` object; GHOST where there is none."""
    found = text(item(person).get("login"), longest=limits.PERSON_MAX_CHARS)
    return found or GHOST


def is_bot(person: object) -> bool:
    """Whether a `user` object is a bot's."""
    return item(person).get("type") == "Bot" or login(person).endswith("[bot]")


def text(value: object, *, longest: int = limits.BODY_MAX_CHARS * 4) -> str:
    """A clean text; empty for anything else."""
    return limits.clean_text(value)[:longest] if isinstance(value, str) else ""


def number(data: Mapping[str, Any], name: str) -> int:
    """A positive number of the answer.

    Raises:
        UnavailableError: It has none.
    """
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise _misshapen(name)
    return value


def moment(data: Mapping[str, Any], name: str) -> datetime:
    """An aware time of the answer.

    Raises:
        UnavailableError: It has none.
    """
    found = optional_moment(data.get(name))
    if found is None:
        raise _misshapen(name)
    return found


def optional_moment(value: object) -> datetime | None:
    """An aware time, or None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def _misshapen(name: str) -> UnavailableError:
    # A proxy's page or a change of GitHub's. Whatever was asked for may have been done.
    return UnavailableError(
        f"GitHub's answer has no usable {name!r}; is GITHUB_API_URL the API, and does no proxy answer in its place?",
        maybe_applied=True,
    )


def title(value: object) -> str:
    """One line, never empty."""
    return " ".join(text(value).split())[: limits.TITLE_MAX_CHARS] or "(no title)"


def label_names(value: object) -> tuple[str, ...]:
    """Names of labels, each once whatever its case."""
    names: dict[str, str] = {}
    for item in value if isinstance(value, list) else ():
        name = item.get("name") if isinstance(item, dict) else item
        cleaned = " ".join(text(name).split())[: limits.LABEL_MAX_CHARS]
        if cleaned:
            names.setdefault(cleaned.casefold(), cleaned)
    return tuple(names.values())


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(names))


def item(value: object) -> Mapping[str, Any]:
    """The object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    return [item(one) for one in value] if isinstance(value, list) else []


def count(value: object, name: str) -> int:
    """A number of a summary, 0 when it is missing."""
    found = item(value).get(name)
    return found if isinstance(found, int) and found >= 0 else 0


def parent(url: str) -> Ref | None:
    """The issue that a `parent_issue_url` names."""
    key = url.rpartition("/issues/")[2]
    scope = scope_of(url)
    return Ref(scope, key) if scope and limits.is_number(key) else None


def scope_of(url: str) -> str:
    """`owner/name` out of `…/repos/owner/name…`."""
    parts = url.partition("/repos/")[2].split("/")
    return "/".join(parts[:2])[: limits.NAME_MAX_CHARS] if len(parts) >= 2 else ""
