"""Refuses tools, and arguments that look wrong. A rail for models, no wall: what holds a hostile one is the sandbox."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from grid.toolkit.calling import Answer, Hook, ToolCall
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.mixins.services import Services
from grid.toolkit.sources import Strict

_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_SEPARATORS = re.compile(r"[;&|\n(){}`]|\$\(")
_ASSIGNMENT = re.compile(r"^(?:[A-Za-z_]\w*=\S*\s+)+")
_MAX_CHARACTERS = 20_000
"""Of an argument; what follows is not looked at, and a longer command is refused for that."""


class Options(Strict):
    """At least one of the two."""

    tools: Annotated[tuple[str, ...], Field(max_length=50, strict=False)] = ()
    """Refused whatever the arguments."""
    arguments: Annotated[
        dict[str, Annotated[tuple[_Pattern, ...], Field(min_length=1, max_length=50, strict=False)]],
        Field(max_length=50),
    ] = {}
    """By tool: patterns (`*`, `?`, `[…]`) that no text among its arguments may match: `run_command: ["git push*"]`."""

    @model_validator(mode="after")
    def _says_something(self) -> Options:
        if not self.tools and not self.arguments:
            raise ValueError("give 'tools', names that are refused, or 'arguments', patterns by tool")
        return self


class Denylist(Hook):
    """Refuses before anything else happens."""

    name = "denylist"

    def __init__(self, options: Options, services: Services) -> None:
        self._options = options

    async def before(self, call: ToolCall) -> Answer | None:
        """Refuse what is listed."""
        name = call.tool.name
        if name in self._options.tools:
            raise ToolRefusedError(f"{name} is not allowed in this run; go on without it")
        patterns = self._options.arguments.get(name, ())
        for text in _texts(list(call.arguments.values())) if patterns else ():
            if len(text) > _MAX_CHARACTERS and "execute" in call.tool.effects:
                raise ToolRefusedError(f"{name}: more than {_MAX_CHARACTERS} characters; put them into a file")
            for shape in _shapes(text[:_MAX_CHARACTERS], is_command="execute" in call.tool.effects):
                for pattern in patterns:
                    if fnmatch.fnmatchcase(shape, pattern):
                        raise ToolRefusedError(f"{name}: '{pattern}' is not allowed in this run; go on without it")
        return None


def _texts(value: Any) -> Iterator[str]:
    """All text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _shapes(text: str, *, is_command: bool) -> Iterator[str]:
    """The text as patterns see it: as it is, as a plain path, and each simple command of a line for the shell."""
    yield text
    if not is_command:
        yield posixpath.normpath(text)
        return
    for part in _SEPARATORS.split(text):
        words = " ".join(part.split())
        yield _ASSIGNMENT.sub("", words)
