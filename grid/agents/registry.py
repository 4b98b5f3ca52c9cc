"""The agent adapters by name."""

from __future__ import annotations

from grid.agents.acp import AcpAdapter
from grid.agents.base import Adapter
from grid.agents.builtin.adapter import BuiltinAdapter
from grid.agents.claude import ClaudeAdapter
from grid.agents.codex import CodexAdapter
from grid.agents.command import CommandAdapter
from grid.agents.errors import InvalidOptionsError
from grid.agents.gemini import GeminiAdapter
from grid.agents.opencode import OpencodeAdapter

_ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        CommandAdapter(),
        BuiltinAdapter(),
        ClaudeAdapter(),
        CodexAdapter(),
        OpencodeAdapter(),
        GeminiAdapter(),
        AcpAdapter(),
    )
}


def names() -> tuple[str, ...]:
    """Names of all adapters, sorted."""
    return tuple(sorted(_ADAPTERS))


def get(name: str) -> Adapter:
    """The adapter of this name.

    Raises:
        InvalidOptionsError: There is no such adapter; the message lists those that exist.
    """
    try:
        return _ADAPTERS[name]
    except KeyError:
        raise InvalidOptionsError(f"there is no agent '{name[:60]}'; use one of: {', '.join(names())}") from None
