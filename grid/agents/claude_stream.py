"""What Claude Code prints, line by line. Pure."""

from __future__ import annotations

from typing import Any

from grid.agents.base import OutputLines, ParsedEvent, Stream
from grid.agents.bounds import read_json_line
from grid.agents.oneshot import amount, count, event, mapping, text, token_usage
from grid.agents.sessions import beyond

_ALIVE = frozenset({"connected", "pending"})
"""States of an MCP server at the start with which its tools are there or still may come."""
_HOOK = "PreToolUse:"
"""How the answer of a call begins that a hook forbade; a run has no hooks but ours."""
_MAX_REMEMBERED = 10_000
"""Message ids and open tool calls kept of one run; a real run has hundreds."""
_SYNTHETIC = "<synthetic>"
"""Model of messages that Claude Code writes itself, such as those about a refused request."""


class ClaudeParser:
    """Reads the JSON lines of `claude -p --output-format stream-json` and keeps its last `result`."""

    def __init__(self) -> None:
        self.session = ""
        self.last_text = ""
        self.result: dict[str, Any] | None = None
        self._plain = OutputLines()
        self._counted: dict[str, int] = {}
        self._messages: set[str] = set()
        self._names: dict[str, str] = {}
        self._servers: dict[str, str] = {}
        self._denied = ""
        self._blocked: set[str] = set()
        """Calls that our own hook forbade because of a lock: the model was told why, and goes on."""
        self._error = ""
        self._readers = {
            "system": self._system,
            "assistant": self._assistant,
            "user": self._user,
            "result": self._result,
        }

    @property
    def problem(self) -> str:
        """Why the run did not end well; empty when it did."""
        if self.result is None:
            return f"the agent ended without its terminal event{f': {self._error}' if self._error else ''}"
        # A refused model request comes as `subtype: success` with `is_error: true`.
        if self.result.get("is_error") is not False or self.result.get("subtype") != "success":
            return _complaint(self.result)
        for name, status in self._servers.items():
            if status not in _ALIVE:
                return f"the MCP server '{name}' is out of reach ({status}): check its address and token"
        return f"the tool '{self._denied}' was denied" if self._denied else ""

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not Claude Code's becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        reader = self._readers.get(text(data.get("type"))) if data else None
        if data is None or reader is None:
            if stream == "err" and self.result is None and line.strip():
                self._error = text(line.strip(), 300)
            return self._plain.feed(stream, line)
        return reader(data)

    def _system(self, data: dict[str, Any]) -> list[ParsedEvent]:
        match data.get("subtype"):
            case "init":
                return self._init(data)
            case "permission_denied":
                self._deny(data.get("tool_name"))
                return [event("agent.error", text=f"denied: {self._denied}", message=data.get("message"))]
            case "api_retry":
                why = f"{text(data.get('error'), 100) or 'error'} {count(data.get('error_status')) or ''}".strip()
                self._error = why
                return [event("agent.error", text=f"model request failed, tried again: {why}")]
            case _:
                return []

    def _init(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """May come after other lines, and again: the last one says which servers are there."""
        self.session = text(data.get("session_id"), 200)
        servers = [mapping(item) for item in _items(data.get("mcp_servers"))]
        self._servers = {text(item.get("name"), 60): text(item.get("status"), 60) or "unknown" for item in servers}
        model = text(data.get("model"), 200)
        return [
            event(
                "agent.message",
                text=f"Claude Code, model {model}",
                model=model,
                session=self.session,
                mcp_servers=self._servers,
            )
        ]

    def _assistant(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """One message of the model comes as several lines, one for each block, all with the same usage."""
        message, events = mapping(data.get("message")), []
        for block in map(mapping, _items(message.get("content"))):
            if block.get("type") == "text" and (words := text(block.get("text"))).strip():
                self.last_text = words
                events.append(event("agent.message", text=words))
            elif block.get("type") == "tool_use":
                name, call = text(block.get("name"), 200), text(block.get("id"), 200)
                if len(self._names) < _MAX_REMEMBERED:
                    self._names[call] = name
                events.append(event("tool.requested", name=name, id=call, args=block.get("input")))
        return events + self._model_answered(message)

    def _model_answered(self, message: dict[str, Any]) -> list[ParsedEvent]:
        """Input tokens, once for each message. Its output tokens are those of its first moment: the terminal event has them."""
        known, model = text(message.get("id"), 200), text(message.get("model"), 200)
        is_new = known and known not in self._messages and len(self._messages) < _MAX_REMEMBERED
        if not is_new or model == _SYNTHETIC:
            return []
        self._messages.add(known)
        usage = _usage(mapping(message.get("usage"))) | {"output_tokens": 0}
        self._counted = {name: tokens + self._counted.get(name, 0) for name, tokens in usage.items()}
        return [event("llm.result", usage=usage, model=model, message=known)]

    def _user(self, data: dict[str, Any]) -> list[ParsedEvent]:
        events = []
        for block in map(mapping, _items(mapping(data.get("message")).get("content"))):
            if block.get("type") == "tool_result":
                call = text(block.get("tool_use_id"), 200)
                ok, name = block.get("is_error") is not True, self._names.pop(call, "")
                words = _words(block.get("content"))
                if not ok and words.startswith(_HOOK) and len(self._blocked) < _MAX_REMEMBERED:
                    self._blocked.add(call)
                events.append(event("tool.result", name=name, id=call, ok=ok, text=words))
        return events

    def _result(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """May come more than once; `modelUsage` and `total_cost_usd` count a resumed session from its beginning."""
        self.result = data
        for denial in _items(data.get("permission_denials")):
            if text(mapping(denial).get("tool_use_id"), 200) not in self._blocked:
                self._deny(mapping(denial).get("tool_name"))
        models = mapping(data.get("model_usage_since_last_result", data.get("modelUsage")))
        usage, self._counted = beyond(_model_usage(models), self._counted), {}
        cost = sum(amount(mapping(used).get("costUSD")) for used in models.values())
        names = ", ".join(text(name, 100) for name in list(models)[:5])
        events = [event("llm.result", usage=usage, model=names, final=True, **({"cost_usd": cost} if cost else {}))]
        return [*events, event("agent.error", text=self.problem, final=True)] if self.problem else events

    def _deny(self, tool: Any) -> None:
        self._denied = self._denied or text(tool, 100) or "unknown"


def _items(value: Any) -> list[Any]:
    return value[:1_000] if isinstance(value, list) else []


def _words(content: Any) -> str:
    """A tool's answer: text, or a list of blocks of which some are text."""
    blocks = [mapping(block) for block in _items(content)]
    return text(content) or "\n".join(text(block.get("text")) for block in blocks if block.get("type") == "text")


def _complaint(result: dict[str, Any]) -> str:
    """What a bad terminal event says, in one line."""
    kind = text(result.get("subtype"), 60)
    kind = kind if kind not in ("", "success") else text(result.get("terminal_reason"), 60) or "error"
    errors = "; ".join(text(item, 200) for item in _items(result.get("errors"))[:3])
    return f"{kind}: {errors or text(result.get('result'), 300) or 'no reason given'}"


def _usage(usage: dict[str, Any]) -> dict[str, int]:
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return token_usage(
        # Anthropic counts cached tokens apart; everywhere else in the grid they are part of the input.
        input_tokens=count(usage.get("input_tokens")) + read + written,
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _model_usage(models: dict[str, Any]) -> dict[str, int]:
    """The sum over all models. `usage` beside it is all zero when the budget ended the run."""
    total = _usage({})
    for used in map(mapping, models.values()):
        part = _usage(
            {
                "input_tokens": used.get("inputTokens"),
                "output_tokens": used.get("outputTokens"),
                "cache_read_input_tokens": used.get("cacheReadInputTokens"),
                "cache_creation_input_tokens": used.get("cacheCreationInputTokens"),
            }
        )
        total = {name: tokens + part[name] for name, tokens in total.items()}
    return total
