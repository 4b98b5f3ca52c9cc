"""Keeps the conversation within a budget of tokens. Pure.

Tokens are estimated, four characters each, so that no model's own counting is needed. When the budget is passed, the
history is cut to three quarters of it at once: what a model's cache holds then stays valid for several requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from grid.agents.builtin.report import result_text

_CHARACTERS_PER_TOKEN = 4
_PART_TOKENS = 8
"""Names, ids and marks around each part."""
KEPT_CHARACTERS = 400
"""Of a result that is shortened."""
_MARK = "[… {cut} characters of this result were dropped to save room; call the tool again if you need them]"


def tokens(messages: Sequence[ModelMessage]) -> int:
    """Estimated size of a history."""
    return sum(_tokens(part) for message in messages for part in message.parts)


def trimmed(messages: Sequence[ModelMessage], budget: int) -> list[ModelMessage]:
    """The history, cut down when it is larger than the budget.

    In this order, until it fits: old tool results are shortened, the oldest first; the oldest answers are dropped together with
    the results of their calls; results of the last request are shortened. The first request stays as it is but for
    messages of people out of dropped ones, which are added to it. A call is never without its result, nor the
    other way round. What is left may be larger than the budget when the prompt alone is.

    Args:
        messages: From the first request to the one about to be made.
        budget: Estimated tokens.
    """
    kept = list(messages)
    if len(kept) < 2 or tokens(kept) <= budget:
        return kept
    goal = budget * 3 // 4
    last = len(kept) - 1
    size = tokens(kept)
    for index in range(1, last):
        if size <= goal:
            return kept
        size -= tokens([kept[index]])
        kept[index] = _shortened(kept[index])
        size += tokens([kept[index]])
    kept = _without_oldest(kept, size - goal)
    if tokens(kept) > goal:
        kept[-1] = _shortened(kept[-1])
    return kept


def _without_oldest(messages: list[ModelMessage], excess: int) -> list[ModelMessage]:
    """Drop answers with the requests that follow them, from the front, until `excess` tokens are gone; the last request stays."""
    first, rest = messages[0], messages[1:]
    said: list[ModelRequestPart] = []
    while excess > 0 and (pair := _first_pair(rest)):
        excess -= tokens(rest[:pair])
        heard = [part for message in rest[:pair] for part in message.parts if isinstance(part, UserPromptPart)]
        excess += sum(map(_tokens, heard))
        said += heard
        rest = rest[pair:]
    if said and isinstance(first, ModelRequest):
        first = replace(first, parts=[*first.parts, *said])
    return [first, *rest]


def _first_pair(rest: list[ModelMessage]) -> int:
    """How many messages from the front belong together; 0 when the last request is among them."""
    for index, message in enumerate(rest):
        follows = rest[index + 1] if index + 1 < len(rest) else None
        if follows is None:
            return 0
        # A pair ends with a request that a new answer follows.
        if isinstance(message, ModelRequest) and isinstance(follows, ModelResponse):
            return index + 1
    return 0


def _shortened(message: ModelMessage) -> ModelMessage:
    """The message with long tool results cut to their beginning."""
    if not isinstance(message, ModelRequest):
        return message
    return replace(message, parts=[_short_part(part) for part in message.parts])


def _short_part(part: ModelRequestPart) -> ModelRequestPart:
    if not isinstance(part, ToolReturnPart):
        return part
    text = result_text(part)
    cut = len(text) - KEPT_CHARACTERS
    if cut <= len(_MARK):
        return part
    return ToolReturnPart(
        tool_name=part.tool_name,
        content=f"{text[:KEPT_CHARACTERS]}\n{_MARK.format(cut=cut)}",
        tool_call_id=part.tool_call_id,
        outcome=part.outcome,
        timestamp=part.timestamp,
    )


def _tokens(part: Any) -> int:
    if isinstance(part, ToolCallPart):
        text = part.args_as_json_str()
    elif isinstance(part, ToolReturnPart):
        text = result_text(part)
    else:
        content = getattr(part, "content", "")
        text = content if isinstance(content, str) else str(content)
    return _PART_TOKENS + math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
