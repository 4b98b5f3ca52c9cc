"""Gemini CLI, run once with its settings in a file of its own HOME.

Checked with gemini-cli 0.61.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from grid.agents import offers
from grid.agents.base import (
    BASE_FILES,
    Launch,
    OutputLines,
    ParsedEvent,
    Parser,
    RunFiles,
    Stream,
    Verdict,
    Wired,
    Wiring,
    base_environment,
)
from grid.agents.bounds import read_json_line
from grid.agents.errors import InvalidOutcomeError
from grid.agents.oneshot import (
    Instructions,
    McpServers,
    ModelName,
    OneshotOptions,
    Program,
    Url,
    count,
    event,
    judge,
    mapping,
    read_options,
    text,
    token_usage,
)
from grid.phases import Ended
from grid.public_types import Outcome

_SETTINGS_FILE = ".gemini/settings.json"
_MAX_CHUNK = 4_000
"""Characters of a streamed message that are collected before they become an event."""

_OUR_TOOLS = {
    "read_file": ("read_file", "read_many_files"),
    "list_files": ("list_directory", "glob", "search_file_content", "grep_search"),
    "write_file": ("write_file", "replace"),
    "edit_file": ("replace",),
    "run_command": ("run_shell_command",),
}
# No `$`: Gemini CLI replaces $NAME anywhere in its settings.
_Tool = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,60}(\([^()$\x00-\x1f]{1,200}\))?$")]
_MCP_TROUBLE = "MCP issues detected."
"""How a line of standard error begins when a server of tools is out of reach; the stream itself keeps silent.

A refused token leaves no trace at all: only the server can tell that nobody came.
"""
_EXITS = {41: "no authentication", 42: "input refused", 44: "sandbox failed", 52: "bad settings", 53: "turn limit"}


class _Options(OneshotOptions):
    model: ModelName
    program: Program = "gemini"
    base_url: Url = ""
    """Where the Gemini API is, when not at Google."""
    tools: list[_Tool] = Field(default_factory=list, max_length=100)
    """Built-in tools allowed, `read_file` or `run_shell_command(git)`; all of them when empty."""
    max_turns: Annotated[int, Field(ge=1, le=1_000)] = 100
    mcp: McpServers = Field(default_factory=dict, max_length=10)
    instructions: Instructions = ""
    """Put before the prompt."""


def _settings(options: _Options) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "model": {"maxSessionTurns": options.max_turns},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"disableAutoUpdate": True, "disableUpdateNag": True},
        "mcpServers": {
            name: {
                "httpUrl": server.url,
                "headers": {"Authorization": f"Bearer ${server.token_env}"},
                "trust": True,
            }
            for name, server in options.mcp.items()
        },
    }
    if options.tools:
        # This list filters the tools of MCP servers too, silently.
        settings["tools"] = {"core": [*options.tools, *(f"mcp_{name}_*" for name in options.mcp)]}
    return settings


class GeminiParser:
    """Reads the JSON lines of `gemini --output-format stream-json` and keeps its `result`."""

    def __init__(self) -> None:
        self.session = ""
        self.last_text = ""
        self.result: dict[str, Any] | None = None
        self._plain = OutputLines()
        self._chunks: list[str] = []
        self._collected = 0
        self._names: dict[str, str] = {}
        self._denied = ""
        self._lost_mcp = False
        self._error = ""
        self._readers = {
            "init": self._init,
            "message": self._message,
            "tool_use": self._tool_use,
            "tool_result": self._tool_result,
            "error": self._on_error,
            "result": self._result,
        }

    @property
    def problem(self) -> str:
        """Why the run did not end well; empty when it did."""
        if self.result is None:
            return f"the agent ended without its terminal event{f': {self._error}' if self._error else ''}"
        if self.result.get("status") != "success":
            error = mapping(self.result.get("error"))
            return f"{text(error.get('type'), 60) or 'error'}: {text(error.get('message'), 300) or 'no reason given'}"
        if self._lost_mcp:
            return "an MCP server is out of reach: check its address and token"
        return f"the tool '{self._denied}' was denied" if self._denied else ""

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not Gemini's becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        reader = self._readers.get(text(data.get("type"))) if data else None
        if data is None or reader is None:
            self._lost_mcp |= stream == "err" and line.startswith(_MCP_TROUBLE)
            return self._plain.feed(stream, line)
        if data["type"] == "message" and data.get("role") == "assistant":
            return reader(data)
        return self._flush() + reader(data)

    def _flush(self) -> list[ParsedEvent]:
        """The message collected so far, as one event."""
        words, self._chunks, self._collected = "".join(self._chunks), [], 0
        if not words.strip():
            return []
        self.last_text = words
        return [event("agent.message", text=words)]

    def _init(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self.session = text(data.get("session_id"), 200)
        model = text(data.get("model"), 200)
        return [event("agent.message", text=f"gemini, model {model}", model=model, session=self.session)]

    def _message(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """Parts of messages are collected; the prompt, which comes back as a message of the user, says nothing new."""
        if data.get("role") != "assistant":
            return []
        before = [] if data.get("delta") else self._flush()
        part = text(data.get("content"))
        self._chunks.append(part)
        self._collected += len(part)
        whole = self._collected > _MAX_CHUNK or not data.get("delta")
        return before + (self._flush() if whole else [])

    def _tool_use(self, data: dict[str, Any]) -> list[ParsedEvent]:
        name, call = text(data.get("tool_name"), 200), text(data.get("tool_id"), 200)
        self._names[call] = name
        return [event("tool.requested", name=name, id=call, args=data.get("parameters"))]

    def _tool_result(self, data: dict[str, Any]) -> list[ParsedEvent]:
        call, error = text(data.get("tool_id"), 200), mapping(data.get("error"))
        name, ok = self._names.pop(call, ""), data.get("status") == "success"
        kind = text(error.get("type"))
        # Models also call tools that never were; only the tools of a lost MCP server count as denied.
        if not ok and (kind == "policy_violation" or (kind == "tool_not_registered" and name.startswith("mcp_"))):
            self._denied = self._denied or name or call or "unknown"
        answer = data.get("output") if ok else error.get("message", data.get("output"))
        return [event("tool.result", name=name, id=call, ok=ok, text=answer)]

    def _on_error(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self._error = text(data.get("message"), 300)
        return [event("agent.error", text=data.get("message"), severity=data.get("severity"))]

    def _result(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self.result = data
        stats = mapping(data.get("stats"))
        usage = token_usage(
            input_tokens=count(stats.get("input_tokens")),
            # What is neither input nor answer is thought, which is paid like output.
            output_tokens=max(
                count(stats.get("output_tokens")),
                count(stats.get("total_tokens")) - count(stats.get("input_tokens")),
            ),
            cache_read_tokens=count(stats.get("cached")),
        )
        events = [event("llm.result", usage=usage, model=_model(stats), final=True)]
        return events if not self.problem else [*events, event("agent.error", text=self.problem, final=True)]


def _model(stats: dict[str, Any]) -> str:
    """The models that were used; Gemini CLI may fall back to another than the one asked for."""
    return ", ".join(text(name, 100) for name in list(mapping(stats.get("models")))[:5])


class GeminiAdapter:
    """Adapter for Gemini CLI."""

    name: Literal["gemini"] = "gemini"
    connects = True
    listens = False

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for a missing model, an unknown option and the like."""
        read_options(_Options, self.name, options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Models of Google through the gateway, the grid's tools by MCP, no built-in tool beyond the profile's."""
        given = offers.with_model(options, wiring, providers=("gemini",))
        given = offers.with_instructions(offers.with_grid_server(given, wiring), wiring)
        if wiring.tools is not None:
            allowed = offers.translated(_OUR_TOOLS, wiring.tools)
            if not allowed:
                raise offers.nothing_allowed(self.name, ", ".join(_OUR_TOOLS))
            if given.get("tools"):
                offers.check_tools(self.name, map(str, given["tools"]), allowed)
            else:
                given["tools"] = allowed
        if turns := wiring.limits.get("requests"):
            given["max_turns"] = offers.lowest(given.get("max_turns"), turns)
        if "gemini" not in wiring.providers or given.get("base_url"):
            return Wired(options=given)
        return Wired(options={**given, "base_url": f"{wiring.gateway_url}/gemini"}, key_env=("GEMINI_API_KEY",))

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start `gemini` with the prompt on standard input and its settings under HOME."""
        given = read_options(_Options, self.name, options)
        env = base_environment(files) | {
            "GEMINI_CLI_HOME": str(files.home),
            # One process instead of two: the second one would outlive a signal.
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        }
        if given.base_url:
            env["GOOGLE_GEMINI_BASE_URL"] = given.base_url
        argv = (given.program, "-m", given.model, "--output-format", "stream-json")
        return Launch(
            # An empty -p means: not interactive, the prompt is on standard input.
            argv=(*argv, "--approval-mode", "yolo", "--skip-trust", "-p", ""),
            env=env,
            prompt=offers.prompted(prompt, given.instructions),
            files={**BASE_FILES, _SETTINGS_FILE: json.dumps(_settings(given), indent=1).encode()},
        )

    def parser(self) -> Parser:
        """A parser of Gemini CLI's JSON lines."""
        return GeminiParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The terminal event decides; exit codes only explain its absence."""
        if not isinstance(parser, GeminiParser):
            raise TypeError("gemini is judged by its own parser")
        problem = parser.problem
        if problem and parser.result is None and ended.exit_code in _EXITS:
            problem += f", {_EXITS[ended.exit_code]}"
        return judge(
            problem=problem, ended=ended, outcome_file=outcome_file, changed=changed, last_words=parser.last_text
        )
