"""One contract for every place that calls tools: hooks see the same calls, in the same order, with the same results."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from grid.agents.builtin.loop import run
from grid.agents.builtin.options import Options
from grid.agents.builtin.report import Report
from grid.agents.builtin.scripted import scripted_model
from grid.agents.builtin.session import Session
from grid.agents.builtin.tools import local_tools
from grid.agents.builtin.workspace import Workspace
from grid.toolkit import calling
from grid.toolkit.calling import Answer, Hook, Proceed, ToolCall
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.tools import Tool

type Calls = Sequence[tuple[str, dict[str, Any]]]
type Caller = Callable[[Session, Calls], None]

CALLS: Calls = (
    ("write_file", {"path": "a.txt", "content": "one"}),
    ("read_file", {"path": "a.txt"}),
    ("read_file", {"path": "gone"}),  # refused by the tool
    ("read_file", {"path": 5}),  # never gets past the check of arguments
    ("write_file", {"path": "locked", "content": "x"}),  # refused by a hook
    ("list_files", {}),  # answered by a hook
    ("edit_file", {"path": "a.txt", "old": "one", "new": "two"}),  # its arguments are changed by a hook
    ("finish", {"outcome": "done", "summary": "S."}),
)


class Seen(Hook):
    """Writes down all that a hook can see."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name, self._log = name, log

    async def before(self, call: ToolCall) -> Answer | None:
        self._log.append((self.name, "before", call.tool.name, dict(call.arguments), type(call.context).__name__))
        return None

    async def around(self, call: ToolCall, proceed: Proceed) -> Any:
        self._log.append((self.name, "around", call.tool.name))
        try:
            result = await proceed()
        except Exception as error:
            self._log.append((self.name, "failed", call.tool.name, type(error).__name__, str(error)))
            raise
        self._log.append((self.name, "ends", call.tool.name, result))
        return result

    async def after(self, call: ToolCall, result: Any) -> Any:
        self._log.append((self.name, "after", call.tool.name, result))
        return f"{result}!"


class Meddling(Hook):
    """Refuses, answers and changes."""

    async def before(self, call: ToolCall) -> Answer | None:
        if call.arguments.get("path") == "locked":
            raise ToolRefusedError("locked is locked by agent 12")
        if call.tool.name == "list_files":
            return Answer("nothing to see")
        if call.tool.name == "edit_file":
            call.arguments["new"] = "three"
        return None


def by_hand(session: Session, calls: Calls) -> None:
    """As the grid's own tools are called."""
    tools: dict[str, Tool] = {tool.name: tool for tool in session.tools}

    async def all_calls() -> None:
        for name, arguments in calls:
            try:
                await calling.call(tools[name], arguments, context=session, hooks=session.hooks, call_id="c")
            except ToolRefusedError:
                pass

    asyncio.run(all_calls())


def by_the_loop(session: Session, calls: Calls) -> None:
    """As a model calls them in the built-in agent."""
    steps = [{"expect": "(?s).*", "call": name, "args": arguments} for name, arguments in calls]
    del steps[0]["expect"]
    ending = asyncio.run(run(model=scripted_model(json.dumps({"steps": steps}), "p"), prompt="p", session=session))
    assert ending.status == "ok", ending


@pytest.fixture(params=[by_hand, by_the_loop])
def caller(request: pytest.FixtureRequest) -> Caller:
    chosen: Caller = request.param
    return chosen


EXPECTED_MIDDLE = [
    ("outer", "before", "read_file", {"path": "gone", "first_line": 1, "lines": 2_000}, "Session"),
    ("outer", "around", "read_file"),
    ("inner", "before", "read_file", {"path": "gone", "first_line": 1, "lines": 2_000}, "Session"),
    ("inner", "around", "read_file"),
    ("inner", "failed", "read_file", "ToolRefusedError", "gone does not exist; use list_files to see what does"),
    ("outer", "failed", "read_file", "ToolRefusedError", "gone does not exist; use list_files to see what does"),
    ("outer", "before", "write_file", {"path": "locked", "content": "x"}, "Session"),
    ("outer", "around", "write_file"),
    ("outer", "failed", "write_file", "ToolRefusedError", "locked is locked by agent 12"),
    ("outer", "before", "list_files", {"path": "."}, "Session"),
    ("outer", "around", "list_files"),
    ("outer", "ends", "list_files", "nothing to see"),
    ("outer", "after", "list_files", "nothing to see"),
    ("outer", "before", "edit_file", {"path": "a.txt", "old": "one", "new": "two"}, "Session"),
    ("outer", "around", "edit_file"),
    ("inner", "before", "edit_file", {"path": "a.txt", "old": "one", "new": "three"}, "Session"),
    ("inner", "around", "edit_file"),
    ("inner", "ends", "edit_file", "wrote 5 bytes to a.txt"),
    ("inner", "after", "edit_file", "wrote 5 bytes to a.txt"),
    ("outer", "ends", "edit_file", "wrote 5 bytes to a.txt!"),
    ("outer", "after", "edit_file", "wrote 5 bytes to a.txt!"),
]


def test_hooks_see_the_same_wherever_tools_are_called(caller: Caller, tmp_path: Path) -> None:
    log: list[Any] = []
    output = os.open(os.devnull, os.O_WRONLY)
    session = Session(
        options=Options(model="ollama:none"),
        workspace=Workspace(tmp_path),
        report=Report(output),
        command_env={},
        tools=local_tools(None),
        hooks=[Seen("outer", log), Meddling(), Seen("inner", log)],
    )
    try:
        caller(session, CALLS)
    finally:
        session.workspace.close()
        os.close(output)

    per_call = 8
    assert log[:1] == [("outer", "before", "write_file", {"path": "a.txt", "content": "one"}, "Session")]
    assert log[2 * per_call : 2 * per_call + len(EXPECTED_MIDDLE)] == EXPECTED_MIDDLE
    assert log[-1] == ("outer", "after", "finish", "finished!")
    assert (tmp_path / "a.txt").read_text() == "three"
    assert session.outcome is not None
