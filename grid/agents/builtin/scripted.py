"""A model that plays a script through the same loop as a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from grid.agents.builtin.report import result_text
from grid.agents.builtin.script import Scenario, ScriptError, Step, parse_script

_MAX_TIMES = 600
"""That one step is played, a second apart or more."""


class ScriptFailedError(Exception):
    """The run left the script: an expectation was not met, a tool failed, or the steps are used up."""


def scripted_model(text: str, prompt: str) -> FunctionModel:
    """The model that plays the scenario for this prompt.

    Its n-th answer is the n-th step, but for steps that are played `until` something is found. It counts its own answers: the
    history may have been cut down.

    Raises:
        ScriptFailedError: The script is broken or no scenario matches.
    """
    try:
        scenario = parse_script(text).scenario_for(prompt)
    except ScriptError as error:
        raise ScriptFailedError(str(error)) from error

    turns = played = times = 0

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        nonlocal turns, played, times
        results = _results(messages)
        if played and _is_awaited(scenario.steps[played - 1], results):
            step = scenario.steps[played - 1]
            times += 1
            if times >= _MAX_TIMES:
                raise ScriptFailedError(_never_came(scenario, step, results))
            await asyncio.sleep(max(1.0, step.sleep_seconds))
        else:
            step = _step(scenario, played)
            _check(scenario, step, results)
            played, times = played + 1, 0
            await asyncio.sleep(step.sleep_seconds)
        turns += 1
        say = [TextPart(step.say)] if (step.say and not times) or not step.calls else []
        calls = [
            ToolCallPart(call.tool, call.args, tool_call_id=f"call-{turns}-{n}") for n, call in enumerate(step.calls, 1)
        ]
        return ModelResponse(parts=[*say, *calls])

    return FunctionModel(answer, model_name="scripted")


def _is_awaited(step: Step, results: Sequence[ToolReturnPart]) -> bool:
    """Whether a step that was just played is to be played again."""
    return step.until is not None and not step.until.search(_text(results))


def _never_came(scenario: Scenario, step: Step, results: Sequence[ToolReturnPart]) -> str:
    wanted = step.until.pattern if step.until else ""
    return f"{scenario.name}, line {step.line}: played {_MAX_TIMES} times until /{wanted}/, last got: {_text(results)[:600]}"


def _step(scenario: Scenario, turn: int) -> Step:
    if turn >= len(scenario.steps):
        raise ScriptFailedError(
            f"{scenario.name}: all {len(scenario.steps)} steps are played and none ended the run; "
            "let the last one call 'finish' with arguments that it accepts"
        )
    return scenario.steps[turn]


def _results(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    last = messages[-1] if messages else None
    return [part for part in last.parts if isinstance(part, ToolReturnPart)] if isinstance(last, ModelRequest) else []


def _text(results: Sequence[ToolReturnPart]) -> str:
    return "\n".join(result_text(part) for part in results)


def _check(scenario: Scenario, step: Step, results: Sequence[ToolReturnPart]) -> None:
    """Compare what the tools answered with what the script expects; a failed tool must be expected."""
    text = _text(results)
    where = f"{scenario.name}, line {step.line}"
    for pattern in step.expect:
        if not pattern.search(text):
            raise ScriptFailedError(f"{where}: expected /{pattern.pattern}/ in the last result, got: {text[:600]}")
    failed = [part for part in results if part.outcome != "success"]
    if failed and not step.expect:
        raise ScriptFailedError(
            f"{where}: {failed[0].tool_name} failed before this step: {result_text(failed[0])[:600]} "
            "(add an 'expect' to this step if that is intended)"
        )
