"""What Codex prints, line by line. Pure."""

from __future__ import annotations

from typing import Any

from grid.agents.base import OutputLines, ParsedEvent, Stream
from grid.agents.bounds import read_json_line
from grid.agents.oneshot import count, event, mapping, text, token_usage
from grid.agents.sessions import Usage, beyond

RESUMED = "agentgrid.resumed"
"""Type of the line that our own launch prints before Codex takes up a session: what the session has used so far."""
_NEEDS_APPROVAL = "requires approval"
_MAX_REMEMBERED = 10_000
"""Open tool calls kept of one run; a real run has a few."""


class CodexParser:
    """Reads the JSON lines of `codex exec --json` and keeps how its last turn ended."""

    def __init__(self) -> None:
        self.session = ""
        self.last_text = ""
        self._plain = OutputLines()
        self._counted: dict[str, int] = {}
        self._has_begun = False
        self._ended = ""
        self._error = ""
        self._denied = ""
        self._dead_servers: dict[str, str] = {}
        self._open: set[str] = set()
        self._readers = {
            RESUMED: self._resumed,
            "thread.started": self._started,
            "turn.started": self._turn,
            "item.started": self._item_started,
            "item.updated": self._nothing,
            "item.completed": self._item_completed,
            "turn.completed": self._completed,
            "turn.failed": self._failed,
            "error": self._on_error,
        }

    @property
    def problem(self) -> str:
        """Why the run did not end well; empty when it did."""
        if not self._ended:
            return f"the agent ended without its terminal event{f': {self._error}' if self._error else ''}"
        if self._ended == "failed":
            return f"the turn failed: {self._error or 'no reason given'}"
        if self._denied:
            return f"the tool '{self._denied}' was denied"
        for server, why in self._dead_servers.items():
            return f"the last call of the MCP server '{server}' got no answer: {why}"
        return ""

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not Codex's becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        reader = self._readers.get(text(data.get("type"))) if data else None
        if data is None or reader is None:
            # A server of tools that is out of reach is told of here alone.
            if stream == "err" and not self._ended and line.startswith(("Error", "error")):
                self._error = text(line, 300)
            return self._plain.feed(stream, line)
        return reader(data)

    def _nothing(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return []

    def _resumed(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """Our own first line; later ones would be somebody else's."""
        if not self._has_begun:
            usage = mapping(data.get("usage"))
            self._counted = {name: count(usage.get(name)) for name in Usage.model_fields}
        self._has_begun = True
        return []

    def _started(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self._has_begun = True
        self.session = text(data.get("thread_id"), 200)
        return [event("agent.message", text=f"Codex, session {self.session}", session=self.session)]

    def _turn(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self._ended = ""
        return []

    def _item_started(self, data: dict[str, Any]) -> list[ParsedEvent]:
        item = mapping(data.get("item"))
        if (name := _tool(item)) and len(self._open) < _MAX_REMEMBERED:
            self._open.add(text(item.get("id"), 200))
            return [event("tool.requested", name=name, id=item.get("id"), args=_tool_arguments(item))]
        return []

    def _item_completed(self, data: dict[str, Any]) -> list[ParsedEvent]:
        item = mapping(data.get("item"))
        if _tool(item):
            return self._tool_ended(item)
        match item.get("type"):
            case "agent_message":
                self.last_text = text(item.get("text"))
                return [event("agent.message", text=item.get("text"))]
            case "reasoning":
                return [event("agent.message", text=item.get("text"), thought=True)]
            case "error":
                # Most are harmless, such as a model that Codex has no description of.
                return [event("agent.error", text=item.get("message"))]
            case _:
                return []

    def _tool_ended(self, item: dict[str, Any]) -> list[ParsedEvent]:
        name, call = _tool(item), text(item.get("id"), 200)
        error = text(mapping(item.get("error")).get("message"), 300)
        ok = item.get("status") == "completed" and not error
        if item.get("status") == "declined" or _NEEDS_APPROVAL in error:
            self._denied = self._denied or name
        elif item.get("type") == "mcp_tool_call":
            # An answer that says "this went wrong" comes as a result; an error means that there was no answer.
            server = text(item.get("server"), 60)
            self._dead_servers.pop(server, None)
            if error:
                self._dead_servers[server] = error
        events = []
        if call not in self._open:
            events.append(event("tool.requested", name=name, id=call, args=_tool_arguments(item)))
        self._open.discard(call)
        answer = error or item.get("aggregated_output") or mapping(item.get("result")).get("content")
        code = {"exit_code": item["exit_code"]} if isinstance(item.get("exit_code"), int) else {}
        return [*events, event("tool.result", name=name, id=call, ok=ok, text=answer or "", **code)]

    def _completed(self, data: dict[str, Any]) -> list[ParsedEvent]:
        """Its usage is that of the whole session so far, earlier runs of it included."""
        self._ended, used = "completed", mapping(data.get("usage"))
        total = token_usage(
            input_tokens=count(used.get("input_tokens")),
            output_tokens=count(used.get("output_tokens")),
            cache_read_tokens=count(used.get("cached_input_tokens")),
            cache_write_tokens=count(used.get("cache_write_input_tokens")),
        )
        usage, self._counted = beyond(total, self._counted), total
        return [event("llm.result", usage=usage, session_usage=total, final=True), *self._trouble()]

    def _failed(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self._ended = "failed"
        self._error = text(mapping(data.get("error")).get("message"), 300) or self._error
        return self._trouble()

    def _trouble(self) -> list[ParsedEvent]:
        return [event("agent.error", text=self.problem, final=True)] if self.problem else []

    def _on_error(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self._error = text(data.get("message"), 300)
        return [event("agent.error", text=data.get("message"))]


def _tool(item: dict[str, Any]) -> str:
    """The name of the tool behind an item; empty when it is something else."""
    match item.get("type"):
        case "mcp_tool_call":
            return f"{text(item.get('server'), 60)}.{text(item.get('tool'), 100)}"
        case "command_execution" | "file_change" | "web_search" as kind:
            return str(kind)
        case _:
            return ""


def _tool_arguments(item: dict[str, Any]) -> Any:
    if item.get("type") == "mcp_tool_call":
        return item.get("arguments")
    return {name: item[name] for name in ("command", "changes", "query") if name in item}
