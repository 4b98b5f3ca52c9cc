"""What is wrong with a policy file, in words that say what would be right. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from coordinator.documents.strict_yaml import Path, Problem, nearest_line, shortened

_TYPES: Mapping[str, str] = {
    "int_type": "must be a whole number without quotes, such as 10",
    "string_type": "must be text; put it in quotes",
    "list_type": 'must be a list of commands, such as ["pytest -q"]',
    "dict_type": "must be a mapping, such as {model: scripted}",
    "model_type": "must be a mapping: one `key: value` on each line",
    "string_too_short": "is an empty command; remove it",
    "string_pattern_mismatch": "must be a name in lower case, such as builtin or command",
}


def problems(
    error: ValidationError, *, lines: Mapping[Path, int], sections: Mapping[Path, type[BaseModel]]
) -> list[Problem]:
    """One problem for each complaint of pydantic.

    Args:
        lines: Where each value of the file stands, by the keys and list numbers that lead to it.
        sections: The models that know which keys are allowed, by the keys that lead to them without list numbers.
    """
    return [_problem(details, lines, sections) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, lines: Mapping[Path, int], sections: Mapping[Path, type[BaseModel]]) -> Problem:
    place: Path = details["loc"]
    if details["type"] == "extra_forbidden":
        *section, key = place
        known = list(sections[tuple(part for part in section if isinstance(part, str))].model_fields)
        close = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        message = f"{_name(section)}unknown key {shortened(key)}; {hint}"
    else:
        message = f"{_name(place)}{_in_words(details)}"
    return Problem(line=nearest_line(place, lines), message=message)


def _name(place: Iterable[str | int]) -> str:
    """`limits.attempts: `, `setup, entry 2: `."""
    keys = [key for key in place if isinstance(key, str)]
    numbers = "".join(f", entry {index + 1}" for index in place if isinstance(index, int))
    return f"{'.'.join(keys)[:80]}{numbers}: " if keys else ""


def _in_words(details: ErrorDetails) -> str:
    """What is wrong and what would be right; repeats small wrong values only."""
    kind, found, limits = details["type"], details["input"], details.get("ctx", {})
    if found is None:
        return "has no value; give it one or remove the line"
    match kind:
        case "greater_than_equal":
            return f"is {found}; must be at least {limits['ge']:,}"
        case "less_than_equal":
            return f"is {found}; must be at most {limits['le']:,}"
        case "too_long":
            return f"has {len(found)} entries; at most {limits['max_length']} are read"
        case "string_too_long":
            return f"has {len(found):,} characters; at most {limits['max_length']:,} are read. Put it in a script"
        case "int_type" | "string_type" | "list_type" if isinstance(found, str | int | float):
            return f"is {shortened(found)}; {_TYPES[kind]}"
    return _TYPES.get(kind) or details["msg"].removeprefix("Value error, ")
