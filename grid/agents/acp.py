"""Any agent that speaks the Agent Client Protocol, run once through a client of our own.

The client (`grid/agents/acp_client`) is the process under the shim. It starts the agent, answers its requests for permission and
prints the updates of the session as they come, with a line of its own at the beginning and at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from grid.agents import offers
from grid.agents.acp_client.permissions import KINDS, Kind
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
    OneshotOptions,
    Url,
    amount,
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

_PROGRAM = Path(__file__).parent / "acp_client" / "__main__.py"
_CONFIG_FILE = ".agentgrid/acp.json"
_MAX_CHUNK = 4_000
"""Characters of a streamed message that are collected before they become an event."""

_OUR_KINDS = {
    "read_file": ("read", "search"),
    "list_files": ("read", "search"),
    "write_file": ("edit", "delete", "move"),
    "edit_file": ("edit",),
    "run_command": ("execute",),
}
_APIS = {
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "anthropic"),
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY", "openai/v1"),
    "gemini": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "gemini"),
}
"""For each API: the variables with its address and key that agents look for, and its place in the gateway."""
_Argument = Annotated[str, StringConstraints(max_length=30_000, pattern=r"^[^\x00]*$")]


class _Options(OneshotOptions):
    argv: list[_Argument] = Field(min_length=1, max_length=256)
    """The agent's program and its arguments, as in ["opencode", "acp"]."""
    mode: Annotated[str, StringConstraints(max_length=100)] = ""
    """Mode of the session, of those that the agent offers."""
    allow: list[Kind] = Field(default_factory=lambda: list(KINDS), max_length=len(KINDS))
    """Kinds of tool calls that are allowed when the agent asks."""
    mcp: McpServers = Field(default_factory=dict, max_length=10)
    api: Literal["", "anthropic", "openai", "gemini"] = ""
    """Which API the agent speaks to its model; needed for `base_url`."""
    base_url: Url = ""
    """Where that API is, when not at its provider's."""
    instructions: Instructions = ""
    """Put before the prompt."""
    ask_locks: bool = False
    """Where the grid offers locks: take those of the files that the agent asks permission to change, and refuse what others have."""

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: list[str]) -> list[str]:
        if not argv[0].strip():
            raise ValueError("its first entry is empty: name the program")
        return argv

    @model_validator(mode="after")
    def _address_has_an_api(self) -> _Options:
        if self.base_url and not self.api:
            raise ValueError("'base_url' needs 'api', the API that the agent speaks: anthropic, openai or gemini")
        return self


class AcpParser:
    """Reads the lines of the client and keeps its `result`."""

    def __init__(self) -> None:
        self.session = ""
        self.last_text = ""
        self.result: dict[str, Any] | None = None
        self._plain = OutputLines()
        self._chunks: list[str] = []
        self._collected, self._chunk_kind = 0, ""
        self._calls: dict[str, dict[str, Any]] = {}
        self._cost = 0.0
        self._denied = ""
        self._readers: dict[str, Callable[[dict[str, Any]], list[ParsedEvent]]] = {
            "start": self._start,
            "permission": self._permission,
            "inbox": self._inbox,
            "result": self._result,
            "agent_message_chunk": self._chunk,
            "agent_thought_chunk": self._chunk,
            "tool_call": self._tool_call,
            "tool_call_update": self._tool_call,
            "usage_update": self._usage_update,
            "plan": self._plan,
        }

    @property
    def problem(self) -> str:
        """Why the run did not end well; empty when it did."""
        if self.result is None:
            return "the agent ended without its terminal event"
        if self.result.get("status") != "ok":
            status = text(self.result.get("status"), 60) or "failed"
            return f"{status}: {text(self.result.get('error'), 500) or 'no reason given'}"
        return f"the tool call '{self._denied}' was denied" if self._denied else ""

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not the client's becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        name = text(data.get("sessionUpdate") or data.get("type")) if data else ""
        reader = self._readers.get(name)
        if data is None or reader is None:
            return self._plain.feed(stream, line)
        if name == self._chunk_kind or name == "usage_update":
            return reader(data)
        before = self._flush()
        self._chunk_kind = name if name.endswith("_chunk") else ""
        return before + reader(data)

    def _flush(self) -> list[ParsedEvent]:
        """The message collected so far, as one event."""
        words, self._chunks, self._collected = "".join(self._chunks), [], 0
        if not words.strip():
            return []
        if self._chunk_kind == "agent_thought_chunk":
            return [event("agent.message", text=words, thought=True)]
        self.last_text = words
        return [event("agent.message", text=words)]

    def _chunk(self, data: dict[str, Any]) -> list[ParsedEvent]:
        part = text(mapping(data.get("content")).get("text"))
        self._chunks.append(part)
        self._collected += len(part)
        return self._flush() if self._collected > _MAX_CHUNK else []

    def _start(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self.session = text(data.get("session"), 200)
        agent = text(data.get("agent"), 200)
        return [event("agent.message", text=f"{agent}, over ACP", session=self.session)]

    def _tool_call(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """A call is told of when its arguments are known: once it is no longer pending, or with its end."""
        key = text(data.get("toolCallId"), 200)
        known = self._calls.setdefault(key, {"name": "", "args": None, "told": False, "ended": False})
        known["name"] = text(data.get("title"), 300) or known["name"]
        # Gemini CLI never tells of arguments; its title is the command.
        known["args"] = data.get("rawInput") or known["args"]
        status, events = data.get("status"), []
        ended = status in ("completed", "failed") and not known["ended"]
        if not known["told"] and status != "pending" and (known["args"] or ended or status):
            known["told"] = True
            args = known["args"]
            kind = text(data.get("kind"), 60)
            events.append(
                event("tool.requested", name=known["name"], id=key, args=args, **({"kind": kind} if kind else {}))
            )
        if ended:
            known.update(ended=True, args=None)
            ok = status == "completed"
            events.append(event("tool.result", name=known["name"], id=key, ok=ok, text=_answer(data)))
        return events

    def _permission(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """Only refusals are worth an event: what was allowed is told of as a tool call."""
        if data.get("allowed") is True:
            return []
        title = text(data.get("title"), 200) or text(data.get("toolCallId"), 200) or "unknown"
        if locked := text(data.get("locked"), 500):
            return [event("agent.error", text=f"denied: {title}: {locked}", tool=title, locked=True)]
        self._denied = self._denied or title
        words = f"denied: {title} ({text(data.get('kind'), 60)})"
        return [event("agent.error", text=words, tool=title, denied=True)]

    def _inbox(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [event("agent.inbox", id=text(data.get("id"), 100), state=text(data.get("state"), 20))]

    def _usage_update(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """The cost is that of the whole session so far, so the last one counts."""
        cost = mapping(data.get("cost"))
        if cost.get("currency") == "USD":
            self._cost = max(self._cost, amount(cost.get("amount")))
        return []

    def _plan(self, data: dict[str, Any]) -> list[ParsedEvent]:
        entries = data.get("entries")
        steps = [mapping(entry) for entry in entries[:50]] if isinstance(entries, list) else []
        words = "\n".join(f"{text(step.get('status'), 20)}: {text(step.get('content'), 300)}" for step in steps)
        return [event("agent.message", text=words, plan=True)] if words else []

    def _result(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self.result = data
        told = mapping(data.get("usage"))
        events = []
        if told or self._cost:
            cost = {"cost_usd": self._cost} if self._cost else {}
            events.append(event("llm.result", usage=_usage(told), final=True, **cost))
        return events if not self.problem else [*events, event("agent.error", text=self.problem, final=True)]


def _usage(told: dict[str, Any]) -> dict[str, int]:
    """Tokens of a turn. The total tells whether an agent counts cached ones as input or beside it."""
    read, written = count(told.get("cachedReadTokens")), count(told.get("cachedWriteTokens"))
    output = count(told.get("outputTokens")) + count(told.get("thoughtTokens"))
    return token_usage(
        input_tokens=max(count(told.get("inputTokens")), count(told.get("totalTokens")) - output),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _answer(data: dict[str, Any]) -> Any:
    """What a tool answered: its text, or whatever raw form the agent gives."""
    content = data.get("content")
    parts = [mapping(mapping(item).get("content")).get("text") for item in content] if isinstance(content, list) else []
    words = "\n".join(part for part in parts if isinstance(part, str))
    return words or data.get("rawOutput") or ""


class AcpAdapter:
    """Adapter for any agent that speaks ACP."""

    name: Literal["acp"] = "acp"
    connects = True
    listens = True

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for a missing program, an unknown kind of tool call and the like."""
        read_options(_Options, self.name, options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """The grid's tools by MCP, no kind of call beyond the profile's, and the gateway where the option `api` says which."""
        given = offers.with_locks(offers.with_instructions(offers.with_grid_server(options, wiring), wiring), wiring)
        if wiring.tools is not None:
            allowed = [*offers.translated(_OUR_KINDS, wiring.tools), "think"]
            # What was not asked for is cut down in silence: left out means all kinds.
            if "allow" in given:
                offers.check_tools(self.name, map(str, given["allow"]), allowed)
            else:
                given["allow"] = allowed
        api = str(given.get("api", ""))
        if api not in _APIS or api not in wiring.providers or given.get("base_url"):
            return Wired(options=given)
        _, key, path = _APIS[api]
        return Wired(options={**given, "base_url": f"{wiring.gateway_url}/{path}"}, key_env=(key,))

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start the client with its options as a file under HOME; it starts the agent.

        `-I` keeps modules of the workspace, PYTHON* variables and the user's site out; the program finds its own
        package by its own path.
        """
        given = read_options(_Options, self.name, options)
        words = offers.prompted(prompt, given.instructions).decode()
        return Launch(
            argv=(files.python, "-I", str(_PROGRAM), str(files.home / _CONFIG_FILE)),
            env=base_environment(files) | ({_APIS[given.api][0]: given.base_url} if given.base_url else {}),
            prompt=json.dumps({"type": "prompt", "text": words}).encode() + b"\n",
            live_input=True,
            files={**BASE_FILES, _CONFIG_FILE: json.dumps(given.model_dump(), indent=1).encode()},
        )

    def parser(self) -> Parser:
        """A parser of the client's lines."""
        return AcpParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The terminal event of the client decides."""
        if not isinstance(parser, AcpParser):
            raise TypeError("acp is judged by its own parser")
        return judge(
            problem=parser.problem, ended=ended, outcome_file=outcome_file, changed=changed, last_words=parser.last_text
        )
