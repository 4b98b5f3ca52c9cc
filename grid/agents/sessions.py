"""Options of agents that can take up an earlier session, and counting every token once. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from grid.agents.oneshot import OneshotOptions

Folder = Annotated[str, StringConstraints(max_length=1_000, pattern=r"^/[^\x00-\x1f]+$")]
SessionId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

_Tokens = Annotated[int, Field(ge=0, lt=1 << 53)]


class Usage(OneshotOptions):
    """Tokens; `input_tokens` includes cached ones."""

    input_tokens: _Tokens = 0
    output_tokens: _Tokens = 0
    cache_read_tokens: _Tokens = 0
    cache_write_tokens: _Tokens = 0


def beyond(total: dict[str, int], counted: dict[str, int]) -> dict[str, int]:
    """What of a total was not counted before; never negative."""
    return {name: max(tokens - counted.get(name, 0), 0) for name, tokens in total.items()}
