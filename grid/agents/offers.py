"""How an adapter of a coding CLI takes the grid's offers: gateway, tools, model, limits of the profile. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from grid.agents.base import TOKEN_ENV, Wired, Wiring
from grid.agents.errors import InvalidOptionsError

ACQUIRE_LOCK = "acquire_lock"
GRID_SERVER = "grid"
"""Name of our own server of tools in the configuration of every agent."""


def with_model(options: Mapping[str, Any], wiring: Wiring, *, providers: Sequence[str]) -> dict[str, Any]:
    """The profile's model, by its bare name, where the options name none and it is of a provider that the agent can speak to."""
    provider, _, name = wiring.model.partition(":")
    given = dict(options)
    if not given.get("model") and name and provider in providers:
        given["model"] = name
    return given


def with_grid_server(options: Mapping[str, Any], wiring: Wiring) -> dict[str, Any]:
    """The grid's own server of tools beside those of the options; nobody else may use its name."""
    if not wiring.mcp_url:
        return dict(options)
    servers = {**options.get("mcp", {}), GRID_SERVER: {"url": wiring.mcp_url, "token_env": TOKEN_ENV}}
    return {**options, "mcp": servers}


def keep_token(agent: str, wired: Wired, wiring: Wiring) -> None:
    """Refuse options that would send the run's token anywhere but to the grid. Pure.

    Raises:
        InvalidOptionsError: Names the option and the fix.
    """
    ours = {TOKEN_ENV, *wired.key_env}
    servers = wired.options.get("mcp")
    for name, server in servers.items() if isinstance(servers, Mapping) else ():
        if isinstance(server, Mapping) and server.get("token_env") in ours and server.get("url") != wiring.mcp_url:
            raise InvalidOptionsError(
                f"options of the agent '{agent}': mcp.{name}: token_env: {server['token_env']} holds the run's token, which is "
                "for the grid alone; name another variable"
            )
    url = str(wired.options.get("base_url", ""))
    if wired.options.get("key_env") in ours and url and not url.startswith(f"{wiring.gateway_url or ' '}/"):
        raise InvalidOptionsError(
            f"options of the agent '{agent}': key_env: {wired.options['key_env']} holds the run's token, which is for the grid "
            "alone; name another variable"
        )


def with_instructions(options: Mapping[str, Any], wiring: Wiring) -> dict[str, Any]:
    """The profile's instructions before those of the options."""
    words = "\n\n".join(filter(None, (wiring.instructions.strip(), str(options.get("instructions", "")).strip())))
    return {**options, "instructions": words} if words else dict(options)


def with_locks(options: Mapping[str, Any], wiring: Wiring) -> dict[str, Any]:
    """Whether the agent's file tools ask the grid for locks: where its capability holds the tool, unless the options say no."""
    if bool(wiring.mcp_url) and ACQUIRE_LOCK in wiring.grid_tools:
        return {"ask_locks": True, **options}
    return {**options, "ask_locks": False} if options.get("ask_locks") is True else dict(options)


def lowest(given: Any, *others: int | None) -> Any:
    """The smallest of some limits; what is no number is left for the validation to complain about."""
    numbers = [other for other in others if other]
    if given is None:
        return min(numbers, default=None)
    return min([given, *numbers]) if isinstance(given, int) and not isinstance(given, bool) else given


def check_tools(agent: str, asked: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse tools beyond the allowed ones.

    Args:
        agent: Name of the adapter, for the message.
        asked: The agent's own tools, a pattern in parentheses after the name perhaps.
        allowed: Names without patterns.

    Raises:
        InvalidOptionsError: Names the tools and the fix.
    """
    beyond = sorted({tool.partition("(")[0] for tool in asked} - set(allowed))
    if beyond:
        raise InvalidOptionsError(
            f"options of the agent '{agent}': tools: the profile does not allow {', '.join(beyond)[:200]}; "
            f"allowed are: {', '.join(sorted(allowed)) or 'none'}"
        )


def translated(table: Mapping[str, Sequence[str]], tools: Iterable[str]) -> list[str]:
    """The agent's own names for local tools of ours, each once, in order."""
    return list(dict.fromkeys(name for tool in tools for name in table.get(tool, ())))


def nothing_allowed(agent: str, needs: str) -> InvalidOptionsError:
    """The error for an agent that could do nothing."""
    return InvalidOptionsError(
        f"the profile allows the agent '{agent}' none of the tools that it needs ({needs}); choose another profile or agent"
    )


def prompted(prompt: str, instructions: str) -> bytes:
    """Instructions before the prompt, for agents whose system prompt cannot be added to."""
    words = f"{instructions.strip()}\n\n{prompt}" if instructions.strip() else prompt
    return words.encode("utf-8", "replace")
