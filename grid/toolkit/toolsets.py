"""Toolsets: named sets of tools that extend each other. Pure.

about: Reads, changes files and runs commands.
extends: [reader]
add: [write_file, edit_file, run_command]
remove: []
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, StringConstraints

from grid.toolkit.errors import DefinitionError
from grid.toolkit.names import GRID_TOOLS, KNOWN_TOOLS, LOCAL_TOOLS, hint
from grid.toolkit.sources import Definition, Strict

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]
"""Of a profile, a toolset or a tier."""
Names = Annotated[tuple[Name, ...], Field(max_length=50, strict=False)]
About = Annotated[str, StringConstraints(max_length=300)]
_ORDER = {name: number for number, name in enumerate(dict.fromkeys((*LOCAL_TOOLS, *GRID_TOOLS)))}


class ToolsetFile(Strict):
    """What one file of a toolset says."""

    about: About = ""
    extends: Names = ()
    """Toolsets whose tools it holds as well; its own name means the one that it overrides."""
    add: Names = ()
    remove: Names = ()
    """Taken out of what `extends` and `add` brought."""


MAX_DEPTH = 20
"""Levels of `extends`, of toolsets and of profiles."""
type _Key = tuple[str, int]
"""Name and level of a definition."""
type ToolsetDefinition = Definition[ToolsetFile]
type Find = Callable[[str, ToolsetDefinition | None], ToolsetDefinition]
"""The definition of a name, as the one that names it sees it; raises DefinitionError."""


def resolve(name: str, find: Find) -> tuple[str, ...]:
    """All tools of a toolset, in the order of `grid.toolkit.names`.

    Raises:
        DefinitionError: An unknown toolset or tool, or a circle, with the chain that leads there.
    """
    return tuple(sorted(_tools(find(name, None), find, (), {}), key=lambda tool: _ORDER[tool]))


def check_tools(definition: Definition[Strict], key: str, tools: tuple[str, ...]) -> None:
    """Raise DefinitionError for a name that is no tool."""
    for index, tool in enumerate(tools):
        if tool not in KNOWN_TOOLS:
            raise definition.error(f"{key}: unknown tool '{tool}'; {hint(tool, KNOWN_TOOLS)}", key, index)


def _tools(definition: ToolsetDefinition, find: Find, above: tuple[_Key, ...], known: dict[_Key, set[str]]) -> set[str]:
    key = (definition.name, definition.level)
    if key in known:  # asked once each: parents of parents may be shared, and written so that there are very many ways
        return known[key]
    chain = (*above, key)
    if len(chain) > MAX_DEPTH:
        raise definition.error(f"extends: more than {MAX_DEPTH} levels deep; make it flatter", "extends")
    check_tools(definition, "add", definition.said.add)
    check_tools(definition, "remove", definition.said.remove)
    found: set[str] = set()
    for index, parent in enumerate(definition.said.extends):
        below = find(parent, definition)
        if (below.name, below.level) in chain:
            raise circle(definition, [name for name, _ in chain], below.name, index)
        found |= _tools(below, find, chain, known)
    known[key] = (found | set(definition.said.add)) - set(definition.said.remove)
    return known[key]


def circle[M: Strict](definition: Definition[M], chain: list[str], again: str, *index: int) -> DefinitionError:
    """The complaint about a chain that comes back to where it was."""
    words = " -> ".join([*chain, again])
    return definition.error(f"extends: goes in a circle: {words}; remove one of these", "extends", *index)
