"""Definitions as somebody wrote them, read strictly: every complaint names the file, the line and the fix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from grid.toolkit import strict_yaml
from grid.toolkit.errors import DefinitionError
from grid.toolkit.names import hint
from grid.toolkit.strict_yaml import Path, Problem, nearest_line, shortened

MAX_BYTES = 64 * 1024
_MAX_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One definition: YAML text, or a part of a file that was read already."""

    where: str
    """For messages: `shipped/profiles/worker.yml`, `.agentgrid.yml`, `admin, version 3`."""
    text: str = ""
    value: Any = None
    """Plain JSON; when given, `text` is not read."""
    lines: Mapping[Path, int] = field(default_factory=dict)
    """Lines of the parts of `value`, by the keys that lead to them from `value` itself."""


class Strict(BaseModel):
    """Base of what definitions are checked with: no unknown key, nothing converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition[M: Strict]:
    """A checked definition that remembers where it was written."""

    kind: str
    name: str
    level: int
    """0 is the shipped one; higher ones hide lower ones."""
    source: Source
    said: M
    lines: Mapping[Path, int]

    def place(self, *path: str | int) -> str:
        """File and line of a part: `shipped/profiles/worker.yml:7`."""
        return _place(self.source.where, nearest_line(path, self.lines))

    def error(self, message: str, *path: str | int) -> DefinitionError:
        """A complaint about a part."""
        return DefinitionError(f"{self.kind} '{self.name}' ({self.place(*path)}): {message}")


def read[M: Strict](kind: str, name: str, level: int, source: Source, model: type[M]) -> Definition[M]:
    """Check one definition.

    Raises:
        DefinitionError: Every problem found, each with its line and the fix.
    """
    value, lines, problems = _parsed(kind, name, source)
    try:
        said = model.model_validate({} if value is None else value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        problems += [_problem(item, lines, model) for item in details]
    if problems:
        raise DefinitionError(_words(kind, name, source, problems))
    return Definition(kind=kind, name=name, level=level, source=source, said=said, lines=lines)


def _parsed(kind: str, name: str, source: Source) -> tuple[Any, Mapping[Path, int], list[Problem]]:
    if source.value is not None:
        return source.value, source.lines, []
    try:
        document = strict_yaml.read(source.text.encode("utf-8", "replace"), max_bytes=MAX_BYTES)
    except strict_yaml.UnreadableError as error:
        raise DefinitionError(_words(kind, name, source, [error.problem])) from error
    return document.value, document.lines, list(document.problems)


def _words(kind: str, name: str, source: Source, problems: list[Problem]) -> str:
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"{_place(source.where, problem.line)}: {problem.message}" for problem in ordered[:_MAX_SHOWN]]
    if len(ordered) > _MAX_SHOWN:
        lines.append(f"and {len(ordered) - _MAX_SHOWN} more")
    return f"{kind} '{name}': " + "; ".join(lines)


def _place(where: str, line: int) -> str:
    return f"{where}:{line}" if line else where


def _problem(details: ErrorDetails, lines: Mapping[Path, int], model: type[BaseModel]) -> Problem:
    place: Path = details["loc"]
    line = nearest_line(place, lines)
    if details["type"] == "extra_forbidden":
        *section, key = place
        known = _keys(model, section)
        where = f"{_name(section)}: " if section else ""
        return Problem(line=line, message=f"{where}unknown key {shortened(key)}; {hint(str(key), known)}")
    return Problem(line=line, message=f"{_name(place)}: {_in_words(details)}" if place else _in_words(details))


def _keys(model: type[BaseModel], section: Iterable[str | int]) -> list[str]:
    """Keys that may stand in a section; those of the whole where the section is no model of its own."""
    for key in section:
        below = model.model_fields[key].annotation if isinstance(key, str) and key in model.model_fields else None
        if isinstance(below, type) and issubclass(below, BaseModel):
            model = below
    return list(model.model_fields)


def _name(place: Iterable[str | int]) -> str:
    """`limits.requests`, `add, entry 2`."""
    keys = [str(key)[:60] for key in place if isinstance(key, str)]
    numbers = "".join(f", entry {index + 1}" for index in place if isinstance(index, int))
    return f"{'.'.join(keys)}{numbers}"


_TYPES: Mapping[str, str] = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number without quotes",
    "float_type": "must be a number without quotes",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list, such as [one, two]",
    "list_type": "must be a list, such as [one, two]",
    "dict_type": "must be a mapping: one `key: value` on each line",
    "model_type": "must be a mapping: one `key: value` on each line",
    "missing": "is missing",
}


def _in_words(details: ErrorDetails) -> str:
    """What is wrong and what would be right; shows small wrong values only."""
    if details["input"] is None and details["type"] != "missing":
        return "has no value; give it one or remove the line"
    said = _TYPES.get(details["type"]) or details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = details["input"]
    return f"is {shortened(found)}; {said}" if isinstance(found, str | int | float) else said
