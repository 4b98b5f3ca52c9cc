"""OpenCode, run once with its whole configuration in one variable.

There is no terminal event: a run ended well when its last step ended with the reason `stop` and the program then left with
code 0. A dead MCP server leaves no trace in the stream, only a warning in the log, which is therefore asked for.

Checked with opencode 1.18.33.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

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
    EnvName,
    Instructions,
    McpServers,
    ModelName,
    OneshotOptions,
    Program,
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

_PROVIDER = "grid"
"""Name of the provider behind `base_url` in OpenCode's configuration."""

_GATEWAYS = {"openai": "openai/v1", "ollama": "ollama/v1"}
"""Providers whose models it can reach through the gateway, with the path of their Chat Completions."""
_OUR_TOOLS = {
    "read_file": ("read",),
    "list_files": ("list", "glob", "grep"),
    "write_file": ("write", "edit", "patch"),
    "edit_file": ("edit", "patch"),
    "run_command": ("bash",),
}
# No braces: OpenCode replaces {env:NAME} and {file:path} anywhere in its configuration.
_Tool = Annotated[str, StringConstraints(pattern=r"^[a-z*][a-z0-9_*-]{0,60}(\([^(){}\x00-\x1f]{1,200}\))?$")]
_MCP_TROUBLE = 'message="server unavailable"'
_DENIALS = ("specified a rule which prevents", "rejected permission")


class _Options(OneshotOptions):
    model: ModelName
    """`provider/model` as OpenCode knows it; with `base_url` the model's bare name."""
    program: Program = "opencode"
    base_url: Url = ""
    """A server that speaks Chat Completions, with `/v1`."""
    key_env: EnvName = "OPENAI_API_KEY"
    """Variable that holds the key for `base_url`."""
    tools: list[_Tool] = Field(default_factory=list, max_length=100)
    """The tools allowed, `read` or `bash(git *)`; all of them when empty."""
    context_tokens: Annotated[int, Field(ge=1_000, le=10_000_000)] = 200_000
    output_tokens: Annotated[int, Field(ge=100, le=1_000_000)] = 8_000
    mcp: McpServers = Field(default_factory=dict, max_length=10)
    instructions: Instructions = ""
    """Put before the prompt."""

    @model_validator(mode="after")
    def _model_fits(self) -> _Options:
        if not self.base_url and "/" not in self.model.strip("/"):
            raise ValueError("model must be '<provider>/<model>', or give 'base_url' and the model's bare name")
        return self


def _permissions(options: _Options) -> dict[str, Any]:
    """OpenCode's rules, of which the last that fits wins. Nothing asks: an unanswered question would end the run."""
    if not options.tools:
        return {"*": "allow"}
    rules: dict[str, Any] = {"*": "deny"}
    for tool in options.tools:
        name, _, pattern = tool.removesuffix(")").partition("(")
        if not pattern:
            rules[name] = "allow"
        elif rules.get(name) != "allow":
            rules.setdefault(name, {"*": "deny"})[pattern] = "allow"
    return rules | {f"{server}_*": "allow" for server in options.mcp}


def _configuration(options: _Options) -> dict[str, Any]:
    provider = _PROVIDER if options.base_url else options.model.partition("/")[0]
    model = f"{_PROVIDER}/{options.model}" if options.base_url else options.model
    config: dict[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "model": model,
        "small_model": model,
        "enabled_providers": [provider],
        "permission": _permissions(options),
        "mcp": {
            name: {
                "type": "remote",
                "url": server.url,
                "headers": {"Authorization": f"Bearer {{env:{server.token_env}}}"},
                "oauth": False,
            }
            for name, server in options.mcp.items()
        },
    }
    if options.base_url:
        limit = {"context": options.context_tokens, "output": options.output_tokens}
        config["provider"] = {
            _PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": options.base_url, "apiKey": f"{{env:{options.key_env}}}"},
                "models": {options.model: {"tool_call": True, "limit": limit}},
            }
        }
    return config


class OpencodeParser:
    """Reads the JSON lines of `opencode run` and keeps what the verdict needs."""

    def __init__(self) -> None:
        self.session = ""
        self.last_text = ""
        self._plain = OutputLines()
        self._problem = ""
        self._steps: set[str] = set()
        self._reason: str | None = None
        self._readers = {
            "step_start": self._start,
            "text": self._text,
            "tool_use": self._tool,
            "step_finish": self._finish,
            "error": self._error,
        }

    @property
    def problem(self) -> str:
        """Why the run did not end well; empty when it did."""
        if self._problem:
            return self._problem
        if self._reason is None:
            return "the agent ended without a finished step"
        return "" if self._reason == "stop" else f"the agent ended after a step with the reason '{self._reason}'"

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not OpenCode's becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        reader = self._readers.get(text(data.get("type"))) if data else None
        if data is None or reader is None:
            if stream == "err" and line.startswith("timestamp=") and _MCP_TROUBLE in line[:1_000]:
                self._problem = self._problem or "an MCP server is out of reach: check its address and token"
            return self._plain.feed(stream, line)
        events = []
        if not self.session and (session := text(data.get("sessionID"), 200)):
            self.session = session
            events.append(event("agent.message", text=f"opencode, session {session}", session=session))
        return events + reader(mapping(data.get("error" if data["type"] == "error" else "part")))

    def _start(self, part: dict[str, Any]) -> list[ParsedEvent]:
        self._reason = "unfinished"
        return []

    def _text(self, part: dict[str, Any]) -> list[ParsedEvent]:
        self.last_text = text(part.get("text"))
        return [event("agent.message", text=part.get("text"))]

    def _tool(self, part: dict[str, Any]) -> list[ParsedEvent]:
        """Tools are told of only when they have ended, so that call and result come at once."""
        state, names = mapping(part.get("state")), {"name": part.get("tool"), "id": part.get("callID")}
        ok, time = state.get("status") == "completed", mapping(state.get("time"))
        answer = state.get("output") if ok else state.get("error")
        if not ok and any(words in text(answer) for words in _DENIALS):
            self._problem = self._problem or f"the tool '{text(part.get('tool'), 60)}' was denied"
        took = count(time.get("end")) - count(time.get("start"))
        return [
            event("tool.requested", **names, args=state.get("input")),
            event("tool.result", **names, ok=ok, text=answer, ms=max(took, 0)),
        ]

    def _finish(self, part: dict[str, Any]) -> list[ParsedEvent]:
        self._reason = text(part.get("reason"), 60)
        if (step := text(part.get("id"), 200)) in self._steps:
            return []
        self._steps.add(step)
        tokens, cost = mapping(part.get("tokens")), amount(part.get("cost"))
        cache = mapping(tokens.get("cache"))
        read, written = count(cache.get("read")), count(cache.get("write"))
        usage = token_usage(
            # OpenCode counts cached tokens apart; everywhere else in the grid they are part of the input.
            input_tokens=count(tokens.get("input")) + read + written,
            output_tokens=count(tokens.get("output")) + count(tokens.get("reasoning")),
            cache_read_tokens=read,
            cache_write_tokens=written,
        )
        # 0 means that OpenCode knows no price, not that the step was free.
        return [event("llm.result", usage=usage, **({"cost_usd": cost} if cost else {}))]

    def _error(self, error: dict[str, Any]) -> list[ParsedEvent]:
        data = mapping(error.get("data"))
        status = f" {data['statusCode']}" if isinstance(data.get("statusCode"), int) else ""
        words = f"{text(error.get('name'), 60) or 'error'}{status}: {text(data.get('message'), 300)}"
        self._problem = self._problem or words
        return [event("agent.error", text=words)]


class OpencodeAdapter:
    """Adapter for OpenCode."""

    name: Literal["opencode"] = "opencode"
    connects = True
    listens = False

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for a missing model, an unknown option and the like."""
        read_options(_Options, self.name, options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Models by Chat Completions through the gateway, the grid's tools by MCP, no tool beyond the profile's."""
        given = offers.with_model(options, wiring, providers=tuple(_GATEWAYS))
        given = offers.with_instructions(offers.with_grid_server(given, wiring), wiring)
        if wiring.tools is not None:
            allowed = offers.translated(_OUR_TOOLS, wiring.tools)
            if not allowed:
                raise offers.nothing_allowed(self.name, ", ".join(_OUR_TOOLS))
            if given.get("tools"):
                offers.check_tools(self.name, map(str, given["tools"]), allowed)
            else:
                given["tools"] = allowed
        provider = wiring.model.partition(":")[0] if wiring.model else "openai"
        if provider not in _GATEWAYS or provider not in wiring.providers or given.get("base_url"):
            return Wired(options=given)
        given["base_url"] = f"{wiring.gateway_url}/{_GATEWAYS[provider]}"
        return Wired(options=given, key_env=(str(given.get("key_env", "OPENAI_API_KEY")),))

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start `opencode run` with the prompt on standard input; nothing of the workspace's own configuration counts."""
        given = read_options(_Options, self.name, options)
        own = files.home / ".opencode-run"
        env = base_environment(files) | {
            "XDG_CONFIG_HOME": str(own / "config"),
            "XDG_DATA_HOME": str(own / "data"),
            "XDG_CACHE_HOME": str(own / "cache"),
            "XDG_STATE_HOME": str(own / "state"),
            "OPENCODE_CONFIG_CONTENT": json.dumps(_configuration(given)),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_CLAUDE_CODE": "1",
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
        }
        # A title of its own spares the model request that would make one up.
        argv = [given.program, "run", "--format", "json", "--pure", "--title", "agent-grid"]
        argv += ["--print-logs", "--log-level", "WARN", "--dir", str(files.workspace)]
        return Launch(
            argv=tuple(argv), env=env, prompt=offers.prompted(prompt, given.instructions), files=dict(BASE_FILES)
        )

    def parser(self) -> Parser:
        """A parser of OpenCode's JSON lines."""
        return OpencodeParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The last step and the exit code decide together, since neither alone is a terminal event."""
        if not isinstance(parser, OpencodeParser):
            raise TypeError("opencode is judged by its own parser")
        problem = parser.problem
        if not problem and ended.reason == "exited" and not ended.ok:
            problem = "the agent's last step ended well, its program did not"
        return judge(
            problem=problem, ended=ended, outcome_file=outcome_file, changed=changed, last_words=parser.last_text
        )
