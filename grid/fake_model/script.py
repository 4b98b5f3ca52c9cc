"""What the model answers: a list of steps, and the rule that picks one for a request. Pure but for its counters.

{"text": "I will do it.",             # words (optional)
"calls": [                           # tool calls (optional)
{"shell": "echo hi > hi.txt"},    #   by intent: whichever shell tool was offered
{"tool": "ping", "input": {…}}],  #   by name: the offered tool whose name is, or ends with, "ping"
"usage": {"input": 100, "output": 20, "cached": 0},
"delay": 0.5,                        # seconds before it answers
"gap": 0.1,                          # seconds between the parts of a stream
"cut": true,                         # break the connection in the middle of the stream
"status": 529, "error": "overloaded"}  # an HTTP error instead
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

type Json = dict[str, Any]
type Mode = Literal["history", "sequential"]
"""`history`: by the number of answers in the request's own history, which survives retries and parallel sessions;
requests that offer no tools (titles, summaries) get the aside. `sequential`: every request takes the next step."""

_SHELL_TOOLS = (
    "bash",
    "exec_command",
    "shell_command",
    "run_shell_command",
    "run_command",
    "run_commands",
    "shell",
    "container.exec",
    "execute_command",
    "execute",
    "run",
)
"""Tools known to run a shell command, the preferred ones first."""
_SHELL_ARGUMENTS = ("command", "cmd", "script", "commands")
_FILLERS: Json = {"boolean": False, "integer": 0, "number": 0, "array": [], "object": {}}
"""For arguments that a tool demands and the script says nothing of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as the agent offered it."""

    name: str
    schema: Json = field(default_factory=dict)
    namespace: str = ""
    """OpenAI Responses: the group that a tool of an MCP server is in."""
    is_custom: bool = False
    """OpenAI Responses: takes free text instead of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call of the model."""

    id: str
    tool: Tool
    input: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every dialect's request comes down to."""

    model: str
    is_stream: bool
    tools: Sequence[Tool]
    turns: int
    """The model's answers in the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What every dialect's answer is made of."""

    id: str
    model: str
    text: str
    calls: Sequence[Call]
    input_tokens: int
    output_tokens: int
    cached_tokens: int


class Script:
    """The steps of one model. Past their end the last one is repeated without its calls."""

    def __init__(self, steps: Sequence[Json], *, mode: Mode = "history", aside: str = "A scripted session") -> None:
        self.steps, self.mode, self.aside = list(steps), mode, aside
        self._next, self._ids = itertools.count(), itertools.count(1)

    def step_for(self, request: Request) -> tuple[int | None, Json]:
        """Number and step; the number is None for an aside."""
        if self.mode == "sequential":
            index = next(self._next)
        elif not request.tools:
            return None, {"text": self.aside}
        else:
            index = request.turns
        if index < len(self.steps):
            return index, self.steps[index]
        last = self.steps[-1] if self.steps else {}
        return index, {"text": last.get("text") or "done", "usage": last.get("usage")}

    def reply(self, request: Request, step: Json) -> Reply:
        """The answer to a request by a step."""
        number = next(self._ids)
        calls = []
        for position, wanted in enumerate(step.get("calls") or []):
            if "shell" in wanted:
                tool, given = _shell_call(request.tools, wanted["shell"])
            else:
                tool, given = _named(request.tools, wanted["tool"]), wanted.get("input", {})
            calls.append(Call(id=f"call_{number}_{position}", tool=tool, input=given))
        usage = {"input": 100, "output": 20, "cached": 0, **(step.get("usage") or {})}
        return Reply(
            id=f"fake_{number}",
            model=request.model,
            text=step.get("text", ""),
            calls=calls,
            input_tokens=usage["input"],
            output_tokens=usage["output"],
            cached_tokens=usage["cached"],
        )


def turns_in(flags: Iterable[bool]) -> int:
    """How many runs of True there are: items of the model in a row are one answer."""
    return sum(1 for flag, _ in itertools.groupby(flags) if flag)


def _named(tools: Sequence[Tool], wanted: str) -> Tool:
    """The offered tool of this name, or that ends with it (`mcp__grid__ping`), or one that was not offered."""
    low = wanted.lower()
    exact = (tool for tool in tools if tool.name.lower() == low)
    ending = (tool for tool in tools if re.search(rf"(^|[_.\-:]){re.escape(low)}$", tool.name.lower()))
    return next(exact, None) or next(ending, None) or Tool(name=wanted)


def _shell_call(tools: Sequence[Tool], command: str) -> tuple[Tool, Json]:
    """The offered tool that runs shell commands, and the command in the shape of its schema."""
    by_name = {tool.name.lower(): tool for tool in tools}
    tool = next((by_name[name] for name in _SHELL_TOOLS if name in by_name), None) or Tool(name="bash")
    if tool.is_custom:  # it takes JavaScript that calls the shell tool inside
        return tool, {"input": f"text(await tools.exec_command({{cmd: {json.dumps(command)}}}))"}
    properties: Json = tool.schema.get("properties") or {"command": {"type": "string"}}
    name = next((name for name in _SHELL_ARGUMENTS if name in properties), "command")
    value: Any = command
    if properties.get(name, {}).get("type") == "array":
        value = [command] if name == "commands" else ["bash", "-c", command]
    made: Json = {name: value}
    for other in tool.schema.get("required", []):
        spec = properties.get(other, {})
        made.setdefault(other, spec.get("enum", [None])[0] or _FILLERS.get(spec.get("type", ""), "scripted"))
    return tool, made
