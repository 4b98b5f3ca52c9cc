"""Cutting a conversation down: what may go, what never goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from grid.agents.builtin.context import KEPT_CHARACTERS, tokens, trimmed

SIZES = st.sampled_from([0, 10, 300, 2_000, 20_000])


@st.composite
def histories(draw: st.DrawFn) -> list[ModelMessage]:
    """A prompt, then answers with calls, each followed by the results; a message of a person here and there."""
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("P" * draw(SIZES))])]
    for turn in range(draw(st.integers(0, 8))):
        calls = [
            ToolCallPart("read_file", {"n": "a" * draw(SIZES)}, f"c{turn}-{n}") for n in range(draw(st.integers(0, 3)))
        ]
        text = [TextPart("T" * draw(SIZES))] if draw(st.booleans()) or not calls else []
        messages.append(ModelResponse(parts=[*text, *calls]))
        results = [ToolReturnPart("read_file", "R" * draw(SIZES), call.tool_call_id) for call in calls]
        said = [UserPromptPart(f"said {turn}")] if not results or draw(st.booleans()) else []
        messages.append(ModelRequest(parts=[*results, *said]))
    return messages


def calls_of(messages: list[ModelMessage]) -> list[str]:
    return [part.tool_call_id for message in messages for part in message.parts if isinstance(part, ToolCallPart)]


def results_of(messages: list[ModelMessage]) -> list[str]:
    return [part.tool_call_id for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


def said_in(messages: list[ModelMessage]) -> list[object]:
    return [part.content for message in messages for part in message.parts if isinstance(part, UserPromptPart)]


@given(history=histories(), budget=st.sampled_from([1_000, 2_000, 5_000, 20_000, 10**9]))
def test_what_is_left_is_a_conversation(history: list[ModelMessage], budget: int) -> None:
    left = trimmed(history, budget)

    assert left[0].parts[0] == history[0].parts[0]
    assert [type(part) for part in left[-1].parts][-1:] == [type(part) for part in history[-1].parts][-1:]
    assert calls_of(left) == results_of(left)
    assert calls_of(left) == calls_of(history)[len(calls_of(history)) - len(calls_of(left)) :]
    assert sorted(map(str, said_in(left))) == sorted(map(str, said_in(history)))
    assert [type(message) for message in left] == [
        ModelRequest if n % 2 == 0 else ModelResponse for n in range(len(left))
    ]
    assert tokens(left) <= tokens(history)
    assert trimmed(left, tokens(left)) == left


@given(history=histories(), budget=st.sampled_from([1_000, 5_000]))
def test_it_fits_whenever_prompt_and_last_answer_leave_room(history: list[ModelMessage], budget: int) -> None:
    fixed = [history[0], *history[-2:]] if len(history) > 1 else history
    shortest = tokens(fixed) - sum(
        max(0, len(str(part.content)) - KEPT_CHARACTERS - 150) // 4
        for part in fixed[-1].parts
        if isinstance(part, ToolReturnPart)
    )
    people = 12 * len(said_in(history))
    if shortest + people <= budget * 3 // 4:
        assert tokens(trimmed(history, budget)) <= budget


def turn(number: int, size: int) -> list[ModelMessage]:
    call = ToolCallPart("read_file", {"path": "a"}, f"c{number}")
    return [
        ModelResponse(parts=[call]),
        ModelRequest(parts=[ToolReturnPart("read_file", "R" * size, call.tool_call_id)]),
    ]


PROMPT: ModelMessage = ModelRequest(parts=[UserPromptPart("Solve it.")])


def test_a_history_within_the_budget_stays_as_it_is() -> None:
    history = [PROMPT, *turn(1, 400)]
    assert trimmed(history, tokens(history)) == history


def test_old_results_are_shortened_before_anything_is_dropped() -> None:
    history = [PROMPT, *turn(1, 8_000), *turn(2, 8_000), *turn(3, 8_000)]

    left = trimmed(history, 5_500)

    assert calls_of(left) == ["c1", "c2", "c3"]
    sizes = [len(str(part.content)) for message in left for part in message.parts if isinstance(part, ToolReturnPart)]
    assert sizes[0] < 600
    assert "7600 characters of this result were dropped" in str(left[2].parts[0].content)
    assert sizes[2] == 8_000  # the newest is whole
    assert trimmed(left, 5_500) == left


def test_then_the_oldest_pairs_go_together() -> None:
    history = [PROMPT, *(message for number in range(40) for message in turn(number, 390))]

    left = trimmed(history, 2_000)

    assert left[0] == PROMPT
    assert calls_of(left)[-1] == "c39"
    assert calls_of(left) == results_of(left)
    assert 1_300 < tokens(left) <= 1_500  # with room for the next requests, and no more gone than that takes


def test_what_people_said_survives_in_the_first_request() -> None:
    first, second = turn(1, 390)
    second = ModelRequest(parts=[*second.parts, UserPromptPart("Message from ann: mind the tests")])
    history = [PROMPT, first, second, *(message for number in range(40) for message in turn(number, 390))]

    left = trimmed(history, 2_000)

    assert said_in(left) == ["Solve it.", "Message from ann: mind the tests"]
    assert isinstance(left[1], ModelResponse)


def test_a_huge_last_result_is_shortened_at_the_end() -> None:
    left = trimmed([PROMPT, *turn(1, 40_000)], 1_000)
    assert tokens(left) < 1_000
    assert calls_of(left) == ["c1"]
