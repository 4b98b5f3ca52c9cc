"""What the grid offers one run: its tools, the model gateway, and the limits of the run's profile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grid.agents.base import Adapter, Wired, Wiring
from grid.agents.offers import keep_token
from grid.conf import GridConf


def wiring_for(profile: Mapping[str, Any], settings: GridConf) -> Wiring:
    """The offers of a run.

    Args:
        profile: A frozen profile as the launch spec holds it, with what the capability took away left out; may be empty.
        settings: Where agents of this host reach the web process, and which providers its gateway serves.
    """
    url = settings.agent_url
    grid_tools = tuple(profile.get("grid_tools", ()))
    tools = profile.get("tools")
    return Wiring(
        mcp_url=f"{url}/mcp" if url and grid_tools else "",
        gateway_url=f"{url}/gateway" if url and settings.gateway_providers else "",
        providers=settings.gateway_providers if url else frozenset(),
        model=profile.get("model", ""),
        fallback_models=tuple(profile.get("fallback_models", ())),
        tools=None if tools is None else tuple(tools),
        grid_tools=grid_tools,
        instructions=profile.get("instructions", ""),
        mixins=tuple(profile.get("mixins", ())),
        limits=dict(profile.get("limits", {})),
    )


def wire(adapter: Adapter, options: Mapping[str, Any], offers: Wiring) -> Wired:
    """An agent's options with the offers worked in. Raises InvalidOptionsError for what the offers do not allow."""
    wired = adapter.wired(options=options, wiring=offers)
    keep_token(adapter.name, wired, offers)
    return wired


def unconnected(offers: Wiring, *, connects: bool, has_connected: bool) -> str:
    """Why a run that looks good is none: it was offered our tools and never came for them. Empty when all is well.

    Several programs go on without a server that they cannot reach, and exit with 0.

    Args:
        offers: Of the run.
        connects: Whether its adapter hands the tools to the program, `Adapter.connects`.
        has_connected: Whether its token was ever seen.
    """
    if not offers.mcp_url or not connects or has_connected:
        return ""
    return f"it never connected to the grid's tools at {offers.mcp_url}; see that `web` runs and answers there"
