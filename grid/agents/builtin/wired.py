"""The grid's offers worked into the options of the built-in agent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grid.agents import offers
from grid.agents.base import Wired, Wiring
from grid.agents.builtin.options import KEY_VARIABLES, SCRIPTED, Limits, provider_of
from grid.toolkit.names import LOCAL_TOOLS

_AGENT = "builtin"
_PATHS: Mapping[str, str] = {"anthropic": "anthropic", "openai": "openai/v1", "ollama": "ollama/v1"}
"""Below the gateway's root: what each client takes for its provider's address."""
_LOCAL_FINISH = "finish"


def wired_options(options: Mapping[str, Any], wiring: Wiring) -> Wired:
    """Options for one run: model, gateway, tools, mixins, instructions, limits.

    What is wrong in itself is left for `read_options` to complain about.

    Raises:
        InvalidOptionsError: The options ask for tools that the wiring does not allow.
    """
    given = offers.with_instructions(options, wiring)
    _take_models(given, wiring)
    _take_tools(given, wiring)
    _take_limits(given, wiring)
    if wiring.mixins:
        own = given.get("mixins")
        given["mixins"] = [*map(_plain, wiring.mixins), *(own if isinstance(own, list) else [])]
    keys = _take_gateway(given, wiring)
    return Wired(options=given, key_env=keys)


def _take_models(given: dict[str, Any], wiring: Wiring) -> None:
    if not given.get("model") and wiring.model:
        given["model"] = wiring.model
    if given.get("model") != SCRIPTED and wiring.fallback_models and "fallback_models" not in given:
        given["fallback_models"] = [model for model in wiring.fallback_models if model != SCRIPTED]


def _take_tools(given: dict[str, Any], wiring: Wiring) -> None:
    if wiring.tools is not None:
        allowed = [name for name in LOCAL_TOOLS if name in wiring.tools or name == _LOCAL_FINISH]
        asked = given.get("tools")
        if asked is None:
            given["tools"] = allowed
        else:
            offers.check_tools(_AGENT, map(str, asked if isinstance(asked, list) else [asked]), allowed)
    # Of the two tools called `finish` the local one is used: the terminal event is what this agent is judged by.
    remote = [name for name in wiring.grid_tools if name not in LOCAL_TOOLS]
    for key in ("grid_url", "grid_tools"):
        given.pop(key, None)
    if wiring.mcp_url:  # also when none is left: the grid expects to see the agent
        given |= {"grid_url": wiring.mcp_url, "grid_tools": remote}


def _take_limits(given: dict[str, Any], wiring: Wiring) -> None:
    own = given.get("limits", {})
    if not isinstance(own, Mapping):
        return
    for key in Limits.model_fields:
        if wiring.limits.get(key) is not None:
            own = {**own, key: offers.lowest(own.get(key), wiring.limits[key])}
    if own:
        given["limits"] = dict(own)


def _take_gateway(given: dict[str, Any], wiring: Wiring) -> tuple[str, ...]:
    """Put the gateway's addresses in; returns the variables that are to hold the token instead of a key."""
    given.pop("gateway", None)
    if not wiring.gateway_url or given.get("model") == SCRIPTED:
        return ()
    models = [given.get("model", ""), *(given.get("fallback_models") or ())]
    used = dict.fromkeys(provider_of(str(model)) for model in models)
    own = provider_of(str(models[0])) if given.get("base_url") else ""
    behind = [name for name in used if name in _PATHS and name in wiring.providers and name != own]
    if behind:
        given["gateway"] = {name: f"{wiring.gateway_url}/{_PATHS[name]}" for name in behind}
    return tuple(KEY_VARIABLES[name] for name in behind)


def _plain(entry: Any) -> Any:
    """An entry of the mixins as plain JSON."""
    if isinstance(entry, Mapping):
        return {name: dict(options) if options else None for name, options in entry.items()}
    return entry
