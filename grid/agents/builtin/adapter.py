"""Starts the built-in agent as a subprocess and reads the JSON lines that it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    came_from_outside,
    judge_report,
)
from grid.agents.bounds import bounded, read_json_line
from grid.agents.builtin.options import read_options
from grid.agents.builtin.wired import wired_options
from grid.agents.errors import InvalidOutcomeError
from grid.agents.outcome import encode_outcome, parse_outcome
from grid.phases import Ended
from grid.public_types import Outcome

_PROGRAM = Path(__file__).with_name("__main__.py")
_OPTIONS_FILE = ".agentgrid/builtin.json"
_SCRIPT_FILE = ".agentgrid/script.yaml"


class BuiltinParser:
    """Reads the agent's events and keeps its last `result`."""

    def __init__(self) -> None:
        self.result: dict[str, Any] | None = None
        self._plain = OutputLines()
        self._readers: dict[str, Callable[[dict[str, Any]], list[ParsedEvent]]] = {
            "start": self._start,
            "llm": self._llm,
            "tool": self._tool,
            "message": self._message,
            "trace": self._trace,
            "inbox": self._inbox,
            "result": self._result,
        }

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line; whatever is not ours becomes plain output."""
        data = read_json_line(line) if stream == "out" else None
        reader = self._readers.get(str(data.get("type"))) if data else None
        if data is None or reader is None:
            return self._plain.feed(stream, line)
        return reader({key: value for key, value in data.items() if key != "type"})

    def _start(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [_event("agent.message", data | {"text": f"built-in agent, model {data.get('model')}"})]

    def _llm(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [_event("llm.result", data)]

    def _tool(self, data: dict[str, Any]) -> list[ParsedEvent]:
        kind = "tool.requested" if data.pop("phase", None) == "requested" else "tool.result"
        return [_event(kind, data)]

    def _message(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [_event("agent.message", data)]

    def _trace(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [_event("tool.trace", data)]

    def _inbox(self, data: dict[str, Any]) -> list[ParsedEvent]:
        return [_event("agent.inbox", data)]

    def _result(self, data: dict[str, Any]) -> list[ParsedEvent]:
        self.result = data
        outcome = data.get("outcome")
        summary = outcome.get("summary") if isinstance(outcome, dict) else None
        body = {"status": data.get("status"), "usage": data.get("usage"), "final": True}
        if data.get("status") == "ok":
            return [_event("agent.message", body | {"text": summary})]
        return [_event("agent.error", body | {"text": data.get("error")})]


class BuiltinAdapter:
    """Adapter for our own agent."""

    name = "builtin"
    connects = True
    listens = True

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for an unknown model, a broken script and the like."""
        read_options(options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Model and fallbacks through the gateway, the grid's tools by MCP, mixins, limits; no tool beyond the profile's."""
        return wired_options(options, wiring)

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start the agent's program with its options and script as files under HOME.

        `-I` keeps modules of the workspace, PYTHON* variables and the user's site out; the program finds its own
        package by its own path. The prompt is the first line on standard input; messages may follow it.
        """
        given = read_options(options)
        plain = given.model_dump(exclude={"script"}) | {"script_file": _SCRIPT_FILE if given.script else ""}
        placed = {**BASE_FILES, _OPTIONS_FILE: json.dumps(plain, indent=1).encode()}
        if given.script:
            placed[_SCRIPT_FILE] = given.script.encode()
        return Launch(
            argv=(files.python, "-I", str(_PROGRAM), str(files.home / _OPTIONS_FILE)),
            env=base_environment(files),
            prompt=_as_line(prompt),
            files=placed,
            live_input=True,
        )

    def parser(self) -> Parser:
        """A parser of the agent's JSON lines."""
        return BuiltinParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The terminal event decides; exit code, outcome file and changes alone say nothing."""
        if not isinstance(parser, BuiltinParser):
            raise TypeError("the built-in agent is judged by its own parser")
        outcome, problem = _reported(parser.result)
        if came_from_outside(ended):
            return Verdict(ok=False, outcome=outcome, reason=ended.in_words())
        if outcome is None:
            why = problem if ended.reason == "exited" else f"{ended.in_words()}; {problem}"
            suffix = "" if ended.ok or ended.reason != "exited" else f" ({ended.in_words()})"
            return Verdict(ok=False, outcome=None, reason=f"{why}{suffix}"[:1_000])
        # The exit code is not asked: once the terminal event is out, only the interpreter's own end is left.
        return judge_report(outcome, Ended(reason="exited", exit_code=0) if ended.reason == "exited" else ended)


def _reported(result: dict[str, Any] | None) -> tuple[Outcome | None, str]:
    """The outcome of a terminal event, or None and why there is none."""
    if result is None:
        return None, "the agent ended without its terminal event"
    if result.get("status") != "ok":
        return None, f"{result.get('status') or 'failed'}: {result.get('error') or 'no reason given'}"
    report = result.get("outcome")
    if not isinstance(report, dict):
        return None, "the agent's terminal event holds no outcome"
    try:
        return parse_outcome(encode_outcome(report)), ""
    except InvalidOutcomeError as error:
        return None, f"invalid outcome in the agent's terminal event: {error}"


def _as_line(prompt: str) -> bytes:
    whole = prompt.encode("utf-8", "replace").decode()  # halves of characters cannot be sent
    return json.dumps({"type": "prompt", "text": whole}, ensure_ascii=False).encode() + b"\n"


def _event(kind: str, body: dict[str, Any]) -> ParsedEvent:
    return ParsedEvent(kind=kind, body=bounded(body))
