"""Profiles and toolsets for people to look at: what there is in the fleet or in a repository, and where each value is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coordinator.care import definitions, profiles
from coordinator.public_errors import InvalidInputError
from coordinator.rules import capability as capabilities
from coordinator.rules.capability import Capability
from grid.public_toolkit import DefinitionError, FrozenProfile, Library


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A definition that there is."""

    name: str
    about: str
    """One line for people; of a broken one, what is wrong."""
    where: str
    """`shipped/profiles/worker.yml`, `saved version 3`, `.agentgrid.yml, profiles`."""


def library(repository_id: int | None) -> Library:
    """Of a repository, or the fleet's."""
    return definitions.fleet() if repository_id is None else profiles.library_of(repository_id)


def entries(kind: Literal["profile", "toolset"], *, repository_id: int | None = None) -> list[Entry]:
    """All of a kind, by name."""
    found = library(repository_id)
    return [
        Entry(name=name, about=_about(found, kind, name), where=found.source(kind, name).where)
        for name in found.names(kind)
    ]


def profile(name: str, *, repository_id: int | None = None) -> FrozenProfile:
    """A profile with all that it inherits. Raises InvalidInputError for an unknown or a broken one."""
    try:
        return library(repository_id).profile(name)
    except DefinitionError as error:
        raise InvalidInputError(str(error)) from error


def toolset(name: str, *, repository_id: int | None = None) -> tuple[str, ...]:
    """All tools of a toolset. Raises InvalidInputError for an unknown or a broken one."""
    try:
        return library(repository_id).toolset(name)
    except DefinitionError as error:
        raise InvalidInputError(str(error)) from error


def grants(found: FrozenProfile) -> Capability:
    """What a profile grants at most, before its agent's parent and depth have their say."""
    return capabilities.of_profile(found, profiles.fleet_tiers())


def source(kind: Literal["profile", "toolset", "tiers"], name: str, *, repository_id: int | None = None) -> str:
    """The text of the definition that counts; empty for one that is a part of another file. Raises InvalidInputError."""
    try:
        return library(repository_id).source(kind, name).text
    except DefinitionError as error:
        raise InvalidInputError(str(error)) from error


def _about(found: Library, kind: Literal["profile", "toolset"], name: str) -> str:
    try:
        return found.about(kind, name)
    except DefinitionError as error:
        return f"cannot be used: {error}"[:300]
