"""Tiers: ranks of models. A capability of a rank may use the models of that rank and of those below. Pure.

    tiers:
      small: {rank: 1, models: ["anthropic:claude-haiku-*", "ollama:*"]}
      large: {rank: 2, models: ["anthropic:*"], in_flight: 20, per_minute: 300}

A model belongs to the tier with the longest pattern that fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from grid.toolkit.errors import DefinitionError
from grid.toolkit.names import hint
from grid.toolkit.sources import Definition, Strict
from grid.toolkit.toolsets import About, Name

Pattern = Annotated[str, StringConstraints(pattern=r"^(scripted|[a-z][a-z0-9_-]{0,39}:[^\s*]{0,160}\*?)$")]
"""`provider:name`, exact or with one `*` at its end; or `scripted`."""


class _Tier(Strict):
    rank: Annotated[int, Field(ge=0, le=100)]
    models: Annotated[tuple[Pattern, ...], Field(max_length=200, strict=False)]
    in_flight: Annotated[int, Field(ge=1, le=100_000)] | None = None
    per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


LIMITS = ("in_flight", "per_minute")
"""What a tier may say beside its rank and its models."""


class TiersFile(Strict):
    """What a file of tiers says."""

    about: About = ""
    extends: Name = ""
    """`tiers`: those tiers stay that this file does not name."""
    tiers: Annotated[dict[Name, _Tier], Field(min_length=1, max_length=20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One rank."""

    name: str
    rank: int
    models: tuple[str, ...]
    in_flight: int | None = None
    """Calls of its models at a time through the gateway, in the whole fleet; None: the gateway's own number."""
    per_minute: int | None = None
    """The same that begin within a minute; None: no limit."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """The table."""

    all: tuple[Tier, ...]
    """By rank, the lowest first."""

    def names(self) -> tuple[str, ...]:
        """Names of the tiers, the lowest first."""
        return tuple(tier.name for tier in self.all)

    def rank(self, name: str) -> int:
        """The rank of a tier. Raises DefinitionError for an unknown one."""
        for tier in self.all:
            if tier.name == name:
                return tier.rank
        raise DefinitionError(f"unknown tier '{name[:60]}'; {hint(name, self.names())}")

    def rank_of(self, model: str) -> int | None:
        """The rank of a model, as `provider:name`; None for one that no pattern fits: nobody knows what it can do."""
        fitting = [
            (not pattern.endswith("*"), len(pattern), tier.rank)
            for tier in self.all
            for pattern in tier.models
            if fits(model, pattern)
        ]
        return max(fitting)[-1] if fitting else None

    def patterns(self, rank: int) -> frozenset[str]:
        """Patterns of all tiers up to a rank; a model that they fit may still belong to a higher one, see `rank_of`."""
        return frozenset(pattern for tier in self.all if tier.rank <= rank for pattern in tier.models)


def fits(model: str, pattern: str) -> bool:
    """Whether a model is meant by a pattern."""
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def build(definitions: list[Definition[TiersFile]]) -> Tiers:
    """The table of definitions, the lowest first: each adds to, or stands for, those before it.

    Raises:
        DefinitionError: One pattern stands in two tiers, or two tiers have one rank.
    """
    found: dict[str, tuple[_Tier, Definition[TiersFile]]] = {}
    for definition in definitions:
        if not definition.said.extends:
            found = {}
        elif definition.said.extends != "tiers" or definition.level == 0:
            raise definition.error("extends: can only be 'tiers', in a file that overrides the shipped one", "extends")
        found |= {name: (tier, definition) for name, tier in definition.said.tiers.items()}
    seen_ranks: dict[int, str] = {}
    seen_patterns: dict[str, str] = {}
    for name, (tier, definition) in found.items():
        if other := seen_ranks.get(tier.rank):
            raise definition.error(
                f"tiers.{name}: rank {tier.rank} is that of '{other}'; give it one of its own", "tiers", name
            )
        seen_ranks[tier.rank] = name
        for pattern in tier.models:
            if other := seen_patterns.get(pattern):
                raise definition.error(f"tiers.{name}: '{pattern}' is in '{other}' as well; keep one", "tiers", name)
            seen_patterns[pattern] = name
    tiers = [
        Tier(name=name, rank=tier.rank, models=tier.models, in_flight=tier.in_flight, per_minute=tier.per_minute)
        for name, (tier, _) in found.items()
    ]
    return Tiers(tuple(sorted(tiers, key=lambda tier: tier.rank)))
