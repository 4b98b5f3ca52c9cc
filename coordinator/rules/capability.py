"""What an agent may use at most: models, tools, children, levels below it, share of its parent's budget. Pure.

A capability only ever shrinks on the way down: a child's is its parent's, cut by its profile and by the rule for its
depth. All of these are capabilities themselves, so that the cut is one operation, `intersect`, and the law one question,
`is_within`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coordinator.public_errors import InvalidInputError
from grid.public_toolkit import KNOWN_TOOLS, LOCAL_TOOLS, FrozenProfile, Tiers

ALL_TOOLS = KNOWN_TOOLS
SPLITTING = frozenset({"spawn_agents", "propose_children"})
"""Tools that make sub-issues."""

MAX_TIER, MAX_CHILDREN, MAX_DEPTH, MAX_SHARE = 1_000, 1_000, 100, 100
"""More than any rule asks for; a larger number means this one."""
MAX_PATTERNS = 2_000
"""Of models, in one capability; what is beyond is dropped, which only narrows it."""
_MAX_MODEL_CHARACTERS = 200
_NUMBERS = ("tier", "children", "depth", "share")
_LISTS = ("models", "tools")
_TOOL = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ANY = "*"


# --- patterns ---------------------------------------------------------------------------------------------------------


def is_pattern(text: str) -> bool:
    """Whether this may stand in `Capability.models`."""
    return 0 < len(text) <= _MAX_MODEL_CHARACTERS and _ANY not in text[:-1] and text.isprintable()


def _covers(wide: str, narrow: str) -> bool:
    """Whether every model that `narrow` stands for is one that `wide` stands for, too."""
    if wide.endswith(_ANY):
        return narrow.startswith(wide[:-1])
    return wide == narrow


def _meet(one: str, other: str) -> str:
    """The pattern for what both stand for; empty when that is nothing: two beginnings either nest or exclude each other."""
    if _covers(one, other):
        return other
    return one if _covers(other, one) else ""


def _shortest(patterns: Iterable[str]) -> frozenset[str]:
    every = frozenset(patterns)
    alone = (one for one in every if not any(other != one and _covers(other, one) for other in every))
    return frozenset(sorted(alone)[:MAX_PATTERNS])


# --- capabilities -----------------------------------------------------------------------------------------------------


class CapabilityError(InvalidInputError):
    """This is no capability; the message names the key and what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """Upper bounds. However it is made, its numbers are within bounds and its patterns say nothing twice."""

    tier: int
    """Rank of the strongest tier."""
    models: frozenset[str]
    """`provider:name`, or the beginning of one with a `*` at its end."""
    tools: frozenset[str]
    """Names, never patterns."""
    children: int
    """Sub-issues it may ask for, all in all."""
    depth: int
    """Levels below it."""
    share: int
    """Percent of its parent's budget that a child may get."""

    def __post_init__(self) -> None:
        for name, most in (("tier", MAX_TIER), ("children", MAX_CHILDREN), ("depth", MAX_DEPTH), ("share", MAX_SHARE)):
            object.__setattr__(self, name, min(max(getattr(self, name), 0), most))
        object.__setattr__(self, "models", _shortest(filter(is_pattern, self.models)))
        object.__setattr__(self, "tools", frozenset(name for name in self.tools if _TOOL.fullmatch(name)))


NOTHING = Capability(tier=0, models=frozenset(), tools=frozenset(), children=0, depth=0, share=0)
EVERYTHING = Capability(
    tier=MAX_TIER,
    models=frozenset({_ANY}),
    tools=ALL_TOOLS,
    children=MAX_CHILDREN,
    depth=MAX_DEPTH,
    share=MAX_SHARE,
)


# --- comparing --------------------------------------------------------------------------------------------------------


def intersect(a: Capability, b: Capability) -> Capability:
    """What both hold."""
    return Capability(
        tier=min(a.tier, b.tier),
        models=frozenset(filter(None, (_meet(one, other) for one in a.models for other in b.models))),
        tools=a.tools & b.tools,
        children=min(a.children, b.children),
        depth=min(a.depth, b.depth),
        share=min(a.share, b.share),
    )


def union(a: Capability, b: Capability) -> Capability:
    """What either holds, each kind by itself."""
    return Capability(
        tier=max(a.tier, b.tier),
        models=a.models | b.models,
        tools=a.tools | b.tools,
        children=max(a.children, b.children),
        depth=max(a.depth, b.depth),
        share=max(a.share, b.share),
    )


def is_within(child: Capability, parent: Capability) -> bool:
    """Whether a child holds nothing that its parent does not."""
    return (
        child.tier <= parent.tier
        and all(any(_covers(wide, narrow) for wide in parent.models) for narrow in child.models)
        and child.tools <= parent.tools
        and child.children <= parent.children
        and child.depth <= parent.depth
        and child.share <= parent.share
    )


def child_capability(parent: Capability, profile: Capability, depth_rule: Capability) -> Capability:
    """What a child may use: its parent's, its profile's and its depth's at the same time; one level less below it."""
    below = replace(parent, depth=parent.depth - 1)
    return intersect(below, intersect(profile, depth_rule))


def beyond(wish: Capability, have: Capability) -> Capability:
    """What a wish adds, and nothing else: with it, `union` makes one of both."""
    more = {name: value if (value := getattr(wish, name)) > getattr(have, name) else 0 for name in _NUMBERS}
    models = frozenset(new for new in wish.models if not any(_covers(old, new) for old in have.models))
    return Capability(**more, models=models, tools=wish.tools - have.tools)


def in_words(capability: Capability, tiers: Tiers) -> list[str]:
    """What a capability holds, for people: `tier large`, `models openai:*`, `tools run_command`; zeros left out."""
    numbers = {name: str(getattr(capability, name)) for name in _NUMBERS if getattr(capability, name)}
    if "tier" in numbers:
        numbers["tier"] = tier_name(capability.tier, tiers)
    lists = {name: ", ".join(sorted(getattr(capability, name))) for name in _LISTS if getattr(capability, name)}
    return [f"{name} {value}" for name, value in (numbers | lists).items()]


# --- models -----------------------------------------------------------------------------------------------------------


def allows_model(capability: Capability, model: str, tiers: Tiers) -> bool:
    """Whether an agent may use a model, `provider:name`."""
    return not why_not(capability, model, tiers)


def why_not(capability: Capability, model: str, tiers: Tiers) -> str:
    """Why an agent may not use a model; empty when it may."""
    if not is_pattern(model) or model.endswith(_ANY):
        return "it is not written as provider:name"
    if not any(_covers(pattern, model) for pattern in capability.models):
        return f"its models are {', '.join(sorted(capability.models)[:10]) or 'none'}"
    rank = rank_of(model, tiers)
    if rank > capability.tier:
        return f"it is of the tier {tier_name(rank, tiers)}, above {tier_name(capability.tier, tiers)}"
    return ""


def rank_of(model: str, tiers: Tiers) -> int:
    """The rank of a model; one that no tier names counts as one of the strongest."""
    rank = tiers.rank_of(model)
    return rank if rank is not None else max((tier.rank for tier in tiers.all), default=0)


def tier_name(rank: int, tiers: Tiers) -> str:
    """The strongest tier that is not above a rank."""
    return next((tier.name for tier in reversed(tiers.all) if tier.rank <= rank), "none")


def next_rank(rank: int, tiers: Tiers) -> int:
    """The rank of the tier above; the same where there is none."""
    return next((tier.rank for tier in tiers.all if tier.rank > rank), rank)


def of_profile(profile: FrozenProfile, tiers: Tiers) -> Capability:
    """What a profile grants by itself. Raises DefinitionError for a tier that there is not."""
    return Capability(
        tier=tiers.rank(profile.tier) if profile.tier else MAX_TIER,
        models=frozenset(profile.models or (_ANY,)),
        tools=frozenset(LOCAL_TOOLS if profile.tools is None else profile.tools) | frozenset(profile.grid_tools),
        children=profile.limits.get("children", MAX_CHILDREN),
        depth=profile.limits.get("depth", MAX_DEPTH),
        share=MAX_SHARE if profile.budget_share is None else profile.budget_share,
    )


def with_model(capability: Capability, model: str, tiers: Tiers) -> Capability:
    """The same, with one more model, and no other of its tier."""
    rank = rank_of(model, tiers)
    if rank <= capability.tier:
        return replace(capability, models=capability.models | {model})
    higher = [pattern for tier in tiers.all if tier.rank > capability.tier for pattern in tier.models]
    # With the tier raised, patterns have to say what it said: those that reach into a higher tier are left out.
    lower = (pattern for pattern in tiers.patterns(capability.tier) if not any(_covers(pattern, up) for up in higher))
    kept = intersect(capability, replace(EVERYTHING, models=frozenset(lower)))
    return replace(capability, tier=rank, models=kept.models | {model})


def may_split(capability: Capability) -> bool:
    """Whether its agent may ask for sub-issues."""
    return capability.children > 0 and capability.depth > 0 and bool(capability.tools & SPLITTING)


# --- the rule for depths ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What holds for the agents of one depth."""

    tier: int = MAX_TIER
    without: frozenset[str] = frozenset()
    """Tools taken away."""


def rule_for(levels: Sequence[Level], *, depth: int, deepest: int, children: int) -> Capability:
    """What the rule leaves to an agent.

    Args:
        levels: For depth 0, 1, …; the last one holds for all below it. Empty: nothing is taken away.
        depth: Of the agent; a root has 0.
        deepest: Depth of the deepest agents. They can make no sub-issues, and keep no tool that would.
        children: Sub-issues of one agent.
    """
    level = levels[min(depth, len(levels) - 1)] if levels else Level()
    is_deepest = depth >= deepest or children == 0
    return replace(
        EVERYTHING,
        tier=level.tier,
        tools=ALL_TOOLS - level.without - (SPLITTING if is_deepest else frozenset()),
        children=0 if is_deepest else children,
        depth=deepest - depth,
    )


# --- as JSON ----------------------------------------------------------------------------------------------------------


def as_json(capability: Capability) -> dict[str, Any]:
    """Plain JSON that `from_json` reads; the same for equal capabilities."""
    plain: dict[str, Any] = {name: getattr(capability, name) for name in _NUMBERS}
    return plain | {name: sorted(getattr(capability, name)) for name in _LISTS}


def from_json(value: object, *, base: Capability | None = None) -> Capability:
    """Read a capability that anybody may have written.

    Args:
        value: As `as_json` writes it. Numbers out of bounds count as the nearest bound, names that cannot be names as nothing.
        base: Where to take keys from that `value` leaves out; None: all keys must be there.

    Raises:
        CapabilityError: It is no mapping, lacks a key, has an unknown one, or a value of another kind.
    """
    if not isinstance(value, Mapping):
        raise CapabilityError("a capability is a mapping of tier, models, tools, children, depth and share")
    known = (*_NUMBERS, *_LISTS)
    unknown = [str(key)[:40] for key in value if key not in known]
    if unknown:
        raise CapabilityError(f"unknown key {unknown[0]!r}; a capability has {', '.join(known)}")
    missing = [name for name in known if name not in value]
    if missing and base is None:
        raise CapabilityError(f"{missing[0]} is missing; a capability has {', '.join(known)}")
    read: dict[str, Any] = {name: getattr(base, name) for name in missing}
    for name in _NUMBERS:
        if name in value:
            read[name] = _number(name, value[name])
    for name in _LISTS:
        if name in value:
            read[name] = _texts(name, value[name])
    return Capability(**read)


def _number(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CapabilityError(f"{name} must be a whole number")
    return value


def _texts(name: str, value: object) -> frozenset[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise CapabilityError(f"{name} must be a list of texts")
    if len(value) > MAX_PATTERNS:
        raise CapabilityError(f"{name} has {len(value)} entries; at most {MAX_PATTERNS} are read")
    return frozenset(value)
