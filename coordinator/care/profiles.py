"""What an agent is and what it may: its profile made into one frozen result, its capability, and the model that fits both.

Reads rows and decides; `dispatch` stores what comes of it with the launch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from coordinator import lifecycle
from coordinator.care import definitions, profile_choice, repositories
from coordinator.conf import conf
from coordinator.documents.policy import EffectivePolicy
from coordinator.documents.policy_file import DepthLevel
from coordinator.models import Agent, UpgradeRequest
from coordinator.rules import capability as capabilities
from coordinator.rules import models_of_agents
from coordinator.rules.capability import EVERYTHING, Capability, CapabilityError, Level
from grid.public_sql import Prepared, given
from grid.public_toolkit import DefinitionError, FrozenProfile, Library, Tiers, tools_split
from grid.public_types import AgentSpec, Limits

log = logging.getLogger(__name__)
_GRANTED = Prepared(
    lambda: UpgradeRequest.objects.filter(agent=given("agent"), state=UpgradeRequest.State.GRANTED).values_list(
        "granted", flat=True
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An agent's place in the order of things, for its next run."""

    profile: FrozenProfile
    """As defined; `frozen` is what is left of it."""
    chosen_by: str
    """`the agent`, `.agentgrid.yml`, `depth 1`."""
    capability: Capability
    agent: AgentSpec
    model: str
    """`provider:name` as far as anybody knows it before the run; empty: the program's own business."""
    limits: Limits
    frozen: Mapping[str, Any]
    """For `LaunchSpec.profile`: the profile cut down to the capability."""
    error: str
    """Why it cannot run within its capability, or empty."""
    notes: tuple[str, ...]
    """What was wished for and is not there."""


def standing(agent: Agent, policy: EffectivePolicy) -> Standing:
    """Everything about an agent's next run that its profile and its place decide; the agent comes with its parent."""
    library = definitions.of_repository(policy)
    tiers, notes = _tiers(library), list[str]()
    profile, chosen_by = profile_choice.choose(agent, policy, library, notes)
    is_default = chosen_by.startswith("depth")
    spec = _agent_spec(agent, policy, profile)
    is_word = agent.parent_id is None and bool(agent.spec.get("adapter"))
    offers = models_of_agents.offers(spec, profile, is_word=is_word, others=_other_models(policy, spec))
    own = _of_profile(profile, policy, tiers)
    # What nobody chose takes no model away that was there without it; a person's word for a root counts as well.
    if offers and (is_default or (is_word and models_of_agents.of(spec))):
        own = capabilities.with_model(own, offers[0], tiers)
    grants = _grants(agent)
    held = _held(agent, own, policy, tiers, grants)
    is_raised = any(grant.tier > own.tier for grant in grants)
    model, error = models_of_agents.choose(offers, held, tiers, profile=profile.name, is_raised=is_raised)
    spec = models_of_agents.with_model(spec, model)
    return Standing(
        profile=profile,
        chosen_by=chosen_by,
        capability=held,
        agent=spec,
        model=model,
        limits=_limits(policy, profile),
        frozen=_frozen(agent, profile, chosen_by, held, spec, model, tiers),
        error=error,
        notes=tuple(notes),
    )


def profile_of(agent: Agent, policy: EffectivePolicy) -> FrozenProfile:
    """The profile of an agent as it is defined now."""
    return profile_choice.choose(agent, policy, definitions.of_repository(policy), [])[0]


def capability_of(agent: Agent) -> Capability:
    """What an agent may use at this moment, as its row says; worked out when it has not been launched yet."""
    stored = _stored(agent)
    if stored is not None:
        return stored
    return standing(agent, repositories.effective_policy(repositories.policy_of(agent.repository_id))).capability


def fleet_tiers() -> Tiers:
    """The table of tiers that counts."""
    return _tiers(definitions.fleet())


def library_of(repository_id: int) -> Library:
    """The definitions that hold in a repository."""
    return definitions.of_repository(repositories.effective_policy(repositories.policy_of(repository_id)))


def levels(rule: Iterable[DepthLevel], tiers: Tiers) -> list[Level]:
    """A rule with its tiers as ranks; one that there is not means the lowest, so that a slip of the pen opens nothing."""
    ranks = {tier.name: tier.rank for tier in tiers.all}
    lowest = min(ranks.values(), default=0)
    return [
        Level(
            tier=ranks.get(level.tier, lowest) if level.tier else capabilities.MAX_TIER,
            without=frozenset(level.without),
        )
        for level in rule
    ]


def unknown_tiers() -> list[str]:
    """Names in the fleet's rule for depths that are no tiers."""
    known = fleet_tiers().names()
    return [name for name in conf().tiers_by_depth if name and name not in known]


def rule_at(depth: int, policy: EffectivePolicy, tiers: Tiers) -> Capability:
    """What the fleet's rule and the repository's leave to agents of a depth."""
    fleet = levels((DepthLevel(tier=name) for name in conf().tiers_by_depth), tiers)
    both = [
        capabilities.rule_for(rule, depth=depth, deepest=policy.depth, children=policy.children)
        for rule in (fleet, levels(policy.depth_rule, tiers))
    ]
    return capabilities.intersect(*both)


def budget_of(found: Standing) -> tuple[int, Mapping[str, int]]:
    """What an agent's own envelope gets at its first launch: percent of what its parent has left, and its own budget."""
    return found.capability.share, found.profile.budget


def narrow_below(agent: Agent, held: Capability) -> None:
    """Cut what descendants hold to what is left above them; call it in the transaction that narrows the agent."""
    for child in Agent.objects.select_for_update(of=("self",)).filter(parent_id=agent.pk).order_by("pk"):
        had = _stored(child)
        if had is None:
            continue
        left = capabilities.child_capability(held, had, EVERYTHING)
        if left != had:
            lifecycle.change(child, event="agent.narrowed", capability=capabilities.as_json(left))
            narrow_below(child, left)


def _tiers(library: Library) -> Tiers:
    try:
        return library.tiers()
    except DefinitionError as error:  # checked when it was saved; a newer program may know better
        log.warning("tiers not read", extra={"action": "tiers", "error": str(error)[:300]})
        return Tiers(())


# --- capability -------------------------------------------------------------------------------------------------------


def _of_profile(profile: FrozenProfile, policy: EffectivePolicy, tiers: Tiers) -> Capability:
    """What a profile grants; one that a repository puts in place of the fleet's grants no more than that did."""
    own, fleets = capabilities.of_profile(profile, tiers), profile_choice.of_fleet(profile.name, policy)
    return own if fleets is None else capabilities.intersect(own, capabilities.of_profile(fleets, tiers))


def _held(
    agent: Agent, own: Capability, policy: EffectivePolicy, tiers: Tiers, grants: Iterable[Capability]
) -> Capability:
    """The parent's ∩ the profile's ∩ the depth's, and what was granted since; never more than the parent's."""
    above = capability_of(agent.parent) if agent.parent is not None else replace(EVERYTHING, depth=policy.depth + 1)
    ruled = capabilities.intersect(own, rule_at(agent.depth, policy, tiers))
    for grant in grants:
        ruled = capabilities.union(ruled, grant)
    return capabilities.child_capability(above, ruled, EVERYTHING)


def _grants(agent: Agent) -> list[Capability]:
    return [grant for grant in map(read, _GRANTED.rows(agent=agent.pk)) if grant is not None]


def _stored(agent: Agent) -> Capability | None:
    return read(agent.capability) if agent.capability else None


def read(value: object) -> Capability | None:
    """A stored capability; None for what this program cannot read."""
    try:
        return capabilities.from_json(value)
    except CapabilityError as error:  # written by another version of this program, or by a hand
        log.warning("capability not read", extra={"action": "capability", "error": str(error)[:300]})
        return None


# --- agent and model --------------------------------------------------------------------------------------------------


def _agent_spec(agent: Agent, policy: EffectivePolicy, profile: FrozenProfile) -> AgentSpec:
    """Adapter and options: an operator's word for a root, else the profile's, else what is inherited, else the repository's."""
    said = str(agent.spec.get("adapter") or "")
    is_word = agent.parent_id is None and bool(said)
    adapter = said if is_word else profile.adapter or said or policy.adapter
    own: Mapping[str, Any] = {}
    if said:
        own = agent.spec["options"] if said == adapter else {}
    elif adapter == policy.adapter:
        own = policy.options
    return AgentSpec(adapter=adapter, options={**profile.options, **own} if profile.options else own)


def _other_models(policy: EffectivePolicy, spec: AgentSpec) -> Iterator[str]:
    """Models that were offered to it elsewhere, for one whose tier was raised."""
    if policy.adapter == spec.adapter:
        yield models_of_agents.of(AgentSpec(adapter=policy.adapter, options=policy.options))


# --- what the run gets ------------------------------------------------------------------------------------------------


def _limits(policy: EffectivePolicy, profile: FrozenProfile) -> Limits:
    limits = policy.run_limits
    lower = {
        name: min(getattr(limits, name), profile.limits[name])
        for name in ("wall_seconds", "idle_seconds")
        if name in profile.limits
    }
    calls = [cap for cap in (limits.tool_calls, profile.limits.get("tool_calls")) if cap is not None]
    return replace(limits, **lower, tool_calls=min(calls, default=None))


def _frozen(
    agent: Agent,
    profile: FrozenProfile,
    chosen_by: str,
    held: Capability,
    spec: AgentSpec,
    model: str,
    tiers: Tiers,
) -> dict[str, Any]:
    local, grid = tools_split(held.tools)
    missing = set(tools_split(capabilities.ALL_TOOLS)[0]) - set(local)
    # A coding CLI has no tool of its own for proposals; what it may do is then not restricted at all.
    is_restricted = bool(missing) and (spec.adapter == "builtin" or bool(missing - capabilities.SPLITTING))
    frozen = profile.as_json() | {
        "adapter": spec.adapter,
        "model": model,
        "fallback_models": [
            other
            for other in profile.fallback_models
            if other != model and capabilities.allows_model(held, other, tiers)
        ],
        "tier": capabilities.tier_name(held.tier, tiers),
        "tools": list(local) if is_restricted else None,
        "grid_tools": list(grid),
        "prompt": str(agent.spec.get("prompt") or profile.prompt),
        "sandbox": profile_choice.sandbox_of(profile),
        "origin": {**profile.origin, "profile": chosen_by},
    }
    return {
        key: value for key, value in frozen.items() if value not in ("", None) and (value or key != "fallback_models")
    }
