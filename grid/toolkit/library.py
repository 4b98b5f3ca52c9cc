"""All definitions that count: the shipped files, and the layers that a repository and operators put over them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, cast

from grid.toolkit import profiles, tiers, toolsets
from grid.toolkit.errors import DefinitionError
from grid.toolkit.names import hint
from grid.toolkit.profile_file import ProfileFile
from grid.toolkit.profiles import FrozenProfile
from grid.toolkit.sources import Definition, Source, Strict, read
from grid.toolkit.tiers import Tiers, TiersFile
from grid.toolkit.toolsets import ToolsetFile

type Kind = Literal["profile", "toolset", "tiers"]
type Key = tuple[str, str]
"""Kind and name; the tiers have one name only, `tiers`."""

TIERS: Literal["tiers"] = "tiers"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")
_SHIPPED = Path(__file__).with_name("shipped")
_MODELS: Mapping[str, type[Strict]] = {"profile": ProfileFile, "toolset": ToolsetFile, TIERS: TiersFile}


class Library:
    """Profiles, toolsets and tiers by name. Reads a definition when it is asked for and remembers it."""

    def __init__(self, stacks: Mapping[Key, tuple[Source, ...]]) -> None:
        self._stacks = stacks
        self._read: dict[tuple[Key, int], Definition[Strict]] = {}

    def names(self, kind: Kind) -> tuple[str, ...]:
        """All names of a kind, sorted."""
        return tuple(sorted(name for found, name in self._stacks if found == kind))

    def source(self, kind: Kind, name: str) -> Source:
        """The definition that counts, as it was written. Raises DefinitionError for an unknown one."""
        return self._stack(kind, name)[-1]

    def about(self, kind: Kind, name: str) -> str:
        """Its one line for people. Raises DefinitionError."""
        return str(getattr(self._definition(kind, name, len(self._stack(kind, name)) - 1).said, "about", ""))

    def profile(self, name: str) -> FrozenProfile:
        """A profile with all that it inherits.

        Raises:
            DefinitionError: It, or something that it needs, is unknown or wrong; names the file, the line and the fix.
        """
        chain = profiles.chain_of(name, self._find_profile)
        return profiles.materialise(chain, tools_of=self.toolset, tiers=self.tiers())

    def toolset(self, name: str) -> tuple[str, ...]:
        """All tools of a toolset. Raises DefinitionError."""
        return toolsets.resolve(name, self._find_toolset)

    def tiers(self) -> Tiers:
        """The table of tiers. Raises DefinitionError."""
        levels = range(len(self._stack(TIERS, TIERS)))
        return tiers.build([self._typed(TIERS, TIERS, level, TiersFile) for level in levels])

    def check(self) -> None:
        """Look at every definition. Raises DefinitionError for the first wrong one."""
        self.tiers()
        for name in self.names("toolset"):
            self.toolset(name)
        for name in self.names("profile"):
            self.profile(name)

    def _find_profile(self, name: str, by: Definition[ProfileFile] | None) -> Definition[ProfileFile]:
        return self._typed("profile", name, self._level("profile", name, by), ProfileFile)

    def _find_toolset(self, name: str, by: Definition[ToolsetFile] | None) -> Definition[ToolsetFile]:
        return self._typed("toolset", name, self._level("toolset", name, by), ToolsetFile)

    def _level[M: Strict](self, kind: Kind, name: str, by: Definition[M] | None) -> int:
        """The level that a name means: the highest, but for a definition that names itself, the one below."""
        if by is not None and by.name == name:
            if by.level == 0:
                raise toolsets.circle(by, [name], name)
            return by.level - 1
        try:
            return len(self._stack(kind, name)) - 1
        except DefinitionError as error:
            raise (error if by is None else by.error(f"extends: {error}", "extends")) from None

    def _stack(self, kind: Kind, name: str) -> tuple[Source, ...]:
        try:
            return self._stacks[kind, name]
        except KeyError:
            raise DefinitionError(f"there is no {kind} '{name[:60]}'; {hint(name, self.names(kind))}") from None

    def _definition(self, kind: Kind, name: str, level: int) -> Definition[Strict]:
        key = ((kind, name), level)
        if key not in self._read:
            self._read[key] = read(kind, name, level, self._stack(kind, name)[level], _MODELS[kind])
        return self._read[key]

    def _typed[M: Strict](self, kind: Kind, name: str, level: int, model: type[M]) -> Definition[M]:
        found = self._definition(kind, name, level)
        if not isinstance(found.said, model):
            raise TypeError(f"{kind} '{name}' was read as something else")
        return cast("Definition[M]", found)


def library(*layers: Mapping[Key, str | Source]) -> Library:
    """The shipped definitions under some layers, the lowest first; a definition hides the one of its name below it.

    Raises:
        DefinitionError: A layer holds an unknown kind or a name that nobody could use.
    """
    stacks: dict[Key, tuple[Source, ...]] = dict(_shipped())
    for layer in layers:
        for (kind, name), given in layer.items():
            _check_key(kind, name)
            source = Source(where=f"{kind} {name}", text=given) if isinstance(given, str) else given
            stacks[kind, name] = (*stacks.get((kind, name), ()), source)
    return Library(stacks)


def _check_key(kind: str, name: str) -> None:
    if kind not in _MODELS:
        raise DefinitionError(f"there is no kind '{kind[:40]}' of definition; {hint(kind, _MODELS)}")
    if kind == TIERS and name != TIERS:
        raise DefinitionError(f"there is one table of tiers only: name it '{TIERS}', not '{name[:60]}'")
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"'{name[:60]}' is no name of a {kind}: a letter first, then a-z, 0-9, '-' and '_', at most 60 characters"
        )


@cache
def _shipped() -> dict[Key, tuple[Source, ...]]:
    """The files beside this module."""
    found: dict[Key, tuple[Source, ...]] = {}
    for kind, pattern in (("profile", "profiles/*.yml"), ("toolset", "toolsets/*.yml"), (TIERS, "tiers.yml")):
        for path in sorted(_SHIPPED.glob(pattern)):
            where = f"shipped/{path.relative_to(_SHIPPED)}"
            found[kind, path.stem] = (Source(where=where, text=path.read_text("utf-8")),)
    return found
