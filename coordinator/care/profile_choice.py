"""Which profile an agent has: of those that were wished for the first that there is, never above the fleet's of that name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from coordinator.care import definitions
from coordinator.documents.policy import EffectivePolicy
from coordinator.documents.policy_file import FILE_NAME
from coordinator.models import Agent
from grid.public_toolkit import DefinitionError, FrozenProfile, Library

log = logging.getLogger(__name__)
DEFAULTS = ("orchestrator", "worker")
"""Shipped profiles by depth, of agents for which nobody chose one; the last one holds for all below it."""
_NONE = FrozenProfile(name="", chain=())
"""No restrictions of its own; when even the shipped profile cannot be read."""


def choose(agent: Agent, policy: EffectivePolicy, library: Library, notes: list[str]) -> tuple[FrozenProfile, str]:
    """The first profile of those wished for that there is, and who wished for it; `notes` gets those that there are not."""
    default = DEFAULTS[min(agent.depth, len(DEFAULTS) - 1)]
    by = "the agent" if agent.parent_id is None else "its parent"
    wishes = [(agent.profile, by), (policy.profile, FILE_NAME), (default, f"depth {agent.depth}")]
    for name, chosen_by in wishes:
        if not name:
            continue
        try:
            return _narrowed(library.profile(name), policy), chosen_by
        except DefinitionError as error:
            notes.append(f"the profile '{name[:60]}' ({chosen_by}) cannot be used: {error}"[:500])
    return _NONE, f"depth {agent.depth}"


def of_fleet(name: str, policy: EffectivePolicy) -> FrozenProfile | None:
    """What the fleet means by a name, where a repository may have changed it: the profile, an ancestor or a toolset of it."""
    if not (policy.profiles or policy.toolsets):
        return None
    fleet = definitions.fleet()
    try:
        return fleet.profile(name) if name in fleet.names("profile") else None
    except DefinitionError as error:
        log.warning("profile not read", extra={"action": "profile", "error": str(error)[:300]})
        return None


def _narrowed(profile: FrozenProfile, policy: EffectivePolicy) -> FrozenProfile:
    """A profile with no more money, no higher limits and no weaker sandbox than what it stands in place of."""
    fleets = of_fleet(profile.name, policy)
    if fleets is None:
        return profile
    sandboxes = dict.fromkeys(filter(None, (sandbox_of(fleets), sandbox_of(profile))))
    return replace(
        profile,
        budget=_lower(profile.budget, fleets.budget),
        limits=_lower(profile.limits, fleets.limits),
        sandbox=",".join(sandboxes),
    )


def _lower(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Of each number that either has the lower one."""
    return {name: min(part[name] for part in (one, other) if name in part) for name in {**one, **other}}


def sandbox_of(profile: FrozenProfile) -> str:
    """The backend that a profile asks for; a repository may ask for a stronger one than the host's, not for none."""
    if profile.sandbox == "auto" or (profile.sandbox == "process" and FILE_NAME in profile.origin.get("sandbox", "")):
        return ""
    return profile.sandbox
