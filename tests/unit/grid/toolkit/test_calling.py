"""Tools and calls through hooks: what is checked, who sees what in which order, who may answer."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from grid.toolkit.calling import Answer, Hook, Proceed, ToolCall
from grid.toolkit.errors import ToolDefinitionError, ToolRefusedError
from grid.toolkit.tools import foreign_tool, tool
from tests.unit.grid.toolkit.calls import a_tool, run


class Noting(Hook):
    """Writes down what it sees."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def before(self, call: ToolCall) -> Answer | None:
        self.log.append(f"{self.name} before")
        return None

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        self.log.append(f"{self.name} around")
        result = await proceed()
        self.log.append(f"{self.name} around ends")
        return result

    async def after(self, call: ToolCall, result: Any) -> Any:
        self.log.append(f"{self.name} after")
        return f"{result}+{self.name}"


class Answering(Hook):
    async def before(self, call: ToolCall) -> Answer | None:
        return Answer("instead")

    async def after(self, call: ToolCall, result: Any) -> Any:
        return f"{result} told"


def test_hooks_are_passed_from_the_outside_in_and_back() -> None:
    log: list[str] = []

    result = run(a_tool(), Noting("a", log), Noting("b", log))

    assert result == "read a+b+a"
    assert log == [
        "a before",
        "a around",
        "b before",
        "b around",
        "b around ends",
        "b after",
        "a around ends",
        "a after",
    ]


def test_before_may_answer_and_nothing_further_in_runs() -> None:
    log: list[str] = []

    result = run(a_tool(), Noting("a", log), Answering(), Noting("b", log))

    assert result == "instead told+a"
    assert "b before" not in log


def test_before_may_change_arguments_for_the_tool() -> None:
    class Redirect(Hook):
        async def before(self, call: ToolCall) -> Answer | None:
            call.arguments["path"] = "other"
            return None

    assert run(a_tool(), Redirect(), path="a") == "read other"


def test_the_context_and_the_id_reach_hooks_and_tool() -> None:
    seen: list[Any] = []

    class Look(Hook):
        async def before(self, call: ToolCall) -> Answer | None:
            seen.append((call.context, call.id, call.tool.name))
            return None

    async def look(context: Any) -> None:
        """Look."""
        seen.append(context)

    run(tool(look), Look(), context="me")

    assert seen == [("me", "c1", "look"), "me"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": "3"}, "count: Input should be a valid integer"),
        ({"count": 9}, "count: Input should be less than or equal to 5"),
        ({"count": 1, "colour": "magenta"}, "colour: Extra inputs are not permitted"),
        ({}, "count: Field required"),
    ],
)
def test_arguments_are_checked_and_never_converted_or_repeated(arguments: dict[str, Any], words: str) -> None:
    def dig(context: Any, count: Annotated[int, Field(le=5)]) -> None:
        """Dig."""
        raise AssertionError("never reached")

    with pytest.raises(ToolRefusedError) as caught:
        run(tool(dig), **arguments)
    assert str(caught.value).startswith(f"dig: {words}")
    assert "magenta" not in str(caught.value)


def test_hooks_do_not_see_calls_with_wrong_arguments() -> None:
    log: list[str] = []
    with pytest.raises(ToolRefusedError):
        run(a_tool(), Noting("a", log), path=5)
    assert log == []


def test_a_tool_needs_a_description_and_types() -> None:
    def bare(context: Any) -> None: ...

    def untyped(context: Any, x) -> None:
        """Do."""

    with pytest.raises(ToolDefinitionError, match="needs a docstring"):
        tool(bare)
    with pytest.raises(ToolDefinitionError, match="its argument x has no type"):
        tool(untyped)


def test_a_foreign_tool_shows_its_schema_and_passes_arguments_on() -> None:
    schema = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}

    def answer(session: Any, /, **arguments: Any) -> Any:
        return arguments

    foreign = foreign_tool(answer, name="nudge", description="Nudge.", schema=schema, effects={"grid"})

    assert foreign.schema == schema
    assert run(foreign, model_x=[1], path={"a": None}) == {"model_x": [1], "path": {"a": None}}


@pytest.mark.parametrize(
    ("effects", "repeatable"),
    [
        (("read",), True),
        ((), True),
        (("write",), False),
        (("execute",), False),
        (("report",), False),
        (("grid",), False),
        (("grid", "read"), True),
    ],
)
def test_what_may_be_called_twice_follows_from_the_effects(effects: tuple[str, ...], repeatable: bool) -> None:
    assert a_tool(effects=effects).is_repeatable is repeatable
