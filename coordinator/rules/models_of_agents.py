"""Which model a run of each kind of agent would use, as `provider:name`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from coordinator.rules import capability as capabilities
from coordinator.rules.capability import Capability
from grid.public_toolkit import FrozenProfile, Tiers
from grid.public_types import AgentSpec

_PROVIDERS = {"claude": "anthropic", "codex": "openai", "gemini": "gemini"}
"""Agents that speak to one provider only, and name its models bare."""
_SCRIPTED = "scripted"


def of(spec: AgentSpec) -> str:
    """The model that the options name; empty when they name none, or the agent has no such option."""
    model = spec.options.get("model")
    if not isinstance(model, str) or not model:
        return ""
    if spec.adapter in _PROVIDERS:
        return f"{_PROVIDERS[spec.adapter]}:{model}"
    if spec.adapter == "opencode":
        provider, slash, name = model.partition("/")
        return f"{provider}:{name}" if slash and not spec.options.get("base_url") else f"openai:{model}"
    return model


def offers(spec: AgentSpec, profile: FrozenProfile, *, is_word: bool, others: Iterable[str] = ()) -> list[str]:
    """Models for a run, the one wished for first, without those that the agent cannot speak to.

    Args:
        spec: Adapter and options.
        profile: Its model goes before what the options say, unless these are a person's word.
        is_word: They are, for this very agent.
        others: Last of all.
    """
    said = of(spec)
    wished = (said, profile.model) if is_word else (profile.model, said)
    found = filter(None, (*wished, *profile.fallback_models, *others))
    only = _PROVIDERS.get(spec.adapter)
    return [model for model in dict.fromkeys(found) if only is None or model.partition(":")[0] == only or model == said]


def choose(offers: Sequence[str], held: Capability, tiers: Tiers, *, profile: str, is_raised: bool) -> tuple[str, str]:
    """The model to use, and why none of those offered may be.

    Args:
        offers: From `offers`; without any, the model is the program's own business.
        held: What the agent may use.
        tiers: The table that counts.
        profile: Its name, for the message.
        is_raised: The agent was granted a higher tier: it takes the strongest model instead of the first.
    """
    allowed = [model for model in offers if capabilities.allows_model(held, model, tiers)]
    if allowed:
        best = max(allowed, key=lambda model: capabilities.rank_of(model, tiers)) if is_raised else allowed[0]
        return best, ""
    if not offers:
        return "", ""
    why = capabilities.why_not(held, offers[0], tiers)
    return "", (
        f"its model {offers[0]} is not within its capability: {why}. Name another in the profile '{profile}', "
        "choose another profile, or answer its request with `manage.py upgrade`"
    )


def with_model(spec: AgentSpec, model: str) -> AgentSpec:
    """The same agent with a model; options that name another lose it, the run's wiring then brings this one."""
    if not model or of(spec) in ("", model):
        return spec
    dropped = {"model", "script"} if of(spec) == _SCRIPTED else {"model"}
    return replace(spec, options={key: value for key, value in spec.options.items() if key not in dropped})
