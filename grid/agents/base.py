"""The agent adapter protocol: how to start one kind of agent, read what it prints, and judge how it ended.

An adapter is thin and free of state, Django and I/O: the host places files, starts the process under a shim and feeds
every line of the spool to a parser. After a restart of the host it feeds all lines again from the first one, so a parser's
state may depend on the lines alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from grid.agents.bounds import bounded
from grid.agents.errors import InvalidOutcomeError
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind

Stream = Literal["out", "err"]

OUTCOME_FILE = ".agentgrid/outcome.json"
"""Where any agent may leave its report, relative to the workspace."""

MAX_OUTPUT_EVENTS = 5_000
"""Plain output lines of one run that become events; the spool keeps the rest."""

_LEFT_OR_LIMITED = frozenset({"exited", "wall", "idle", "output", "disk"})
"""Endings that are the agent's own doing; every other one came from outside and its report cannot count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where one run lives on the host's disk. All paths are absolute."""

    workspace: Path
    """The agent's clone and working directory."""
    home: Path
    """HOME of the agent; thrown away with the run."""
    python: str
    """Interpreter of our own helpers."""
    path: str
    """PATH for the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the host starts."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment; the host adds `AGENTGRID_*`, the spec's own variables and the allowed ones of ours."""
    prompt: bytes
    """Given on standard input."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Written before the start, mode 0600; keys are paths relative to HOME, folders are made as needed."""
    live_input: bool = False
    """Standard input stays open after the prompt: the agent takes messages there, one JSON line each (docs/toolkit.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the grid offers a run beside its options, and how far it may go."""

    mcp_url: str = ""
    """The grid's own tools over streamable HTTP, bearer token in `TOKEN_ENV`; empty: there are none."""
    gateway_url: str = ""
    """Root of the model gateway; a provider's own API is below `<gateway_url>/<provider>`. Empty: there is none."""
    providers: frozenset[str] = frozenset()
    """Providers that the gateway serves: of `anthropic`, `openai`, `gemini`, `ollama`."""
    model: str = ""
    """`<provider>:<name>`, for options that name no model."""
    fallback_models: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    """Local tools allowed, by our names (`read_file`, `write_file`, `edit_file`, `list_files`, `run_command`); None: all."""
    grid_tools: tuple[str, ...] = ()
    """Tools of the grid that the capability holds."""
    instructions: str = ""
    """For the system prompt."""
    mixins: tuple[Mapping[str, Any], ...] = ()
    """Of the profile, as `grid.toolkit` reads them; for agents that run in our own loop."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Of the profile: `requests`, `tool_calls`, `context_tokens`, …; an adapter takes those it can enforce."""


TOKEN_ENV, URL_ENV = "AGENTGRID_TOKEN", "AGENTGRID_URL"
"""Every agent of a wired run finds its bearer token and the grid's address here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """An adapter's options with the grid's offers worked in."""

    options: Mapping[str, Any]
    key_env: tuple[str, ...] = ()
    """Variables in which the program looks for its model key: they get the bearer token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedEvent:
    """Something the agent said or did."""

    kind: str
    """`agent.message`, `agent.output`, `agent.error`, `agent.inbox`, `tool.requested`, `tool.result`, `tool.trace` or
    `llm.result`."""
    body: dict[str, Any]
    """Plain JSON of at most 16 KiB; `truncated: true` when something is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a run of an agent is judged, before acceptance."""

    ok: bool
    """Whether the agent ended as it should and `outcome` may be applied."""
    outcome: Outcome | None
    """The agent's own report; when `ok` is false it is there to be shown, not to be applied."""
    reason: str
    """One line for people."""


class Parser(Protocol):
    """Reads what one run prints."""

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """The events of one line, without its newline. Survives any text; never raises."""
        ...


class Adapter(Protocol):
    """One kind of agent."""

    @property
    def name(self) -> str:
        """The adapter's name, as in `AgentSpec.adapter`."""
        ...

    @property
    def connects(self) -> bool:
        """Whether a run that was offered the grid's tools reaches them, so that one that never did has failed."""
        ...

    @property
    def listens(self) -> bool:
        """Whether its program takes messages on standard input while it works; its launches then say `live_input`."""
        ...

    def validate(self, options: Mapping[str, Any]) -> None:
        """Check options before anything is started.

        Raises:
            InvalidOptionsError: The message names the option and the fix.
        """
        ...

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Options as they are for a run with these offers; what options say by themselves stays, unless it is not allowed.

        Pure. Raises InvalidOptionsError when the options ask for what the wiring does not allow.
        """
        ...

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """What to start. Raises InvalidOptionsError like `validate`."""
        ...

    def parser(self) -> Parser:
        """A fresh parser for one run."""
        ...

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """Judge a run.

        Args:
            parser: The parser that was fed every line of the run.
            ended: How the shim says that it ended.
            outcome_file: The report at OUTCOME_FILE, or why it cannot be read, or None when there is none.
            changed: Whether the workspace holds new commits or changes.
        """
        ...


class OutputLines:
    """Plain lines as `agent.output` events, up to a number of them per run."""

    def __init__(self) -> None:
        self._count = 0

    def feed(self, stream: Stream, line: str) -> list[ParsedEvent]:
        """One event for a line with text; none for a blank one or past the limit."""
        if not line.strip():
            return []
        self._count += 1
        if self._count > MAX_OUTPUT_EVENTS + 1:
            return []
        if self._count == MAX_OUTPUT_EVENTS + 1:
            note = f"more than {MAX_OUTPUT_EVENTS} lines; the rest is in the spool only"
            return [ParsedEvent(kind="agent.output", body={"stream": stream, "text": note, "truncated": True})]
        return [ParsedEvent(kind="agent.output", body=bounded({"stream": stream, "text": line}))]


def base_environment(files: RunFiles) -> dict[str, str]:
    """Every variable that any agent gets; nothing of the worker's own environment passes by itself."""
    return {
        "PATH": files.path,
        "HOME": str(files.home),
        "TMPDIR": str(files.home / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "SHELL": "/bin/sh",
        "USER": "agent",
        "LOGNAME": "agent",
        "GIT_AUTHOR_NAME": "agent-grid",
        "GIT_AUTHOR_EMAIL": "agent@agent-grid.invalid",
        "GIT_COMMITTER_NAME": "agent-grid",
        "GIT_COMMITTER_EMAIL": "agent@agent-grid.invalid",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


BASE_FILES: Mapping[str, bytes] = {"tmp/.keep": b""}
"""Files under HOME that every run needs: TMPDIR must exist."""


def came_from_outside(ended: Ended) -> bool:
    """Whether somebody or something else than the agent ended the run, so that nothing it reported counts."""
    return ended.reason not in _LEFT_OR_LIMITED


def judge_report(outcome: Outcome, ended: Ended) -> Verdict:
    """Weigh an agent's report against how its process ended.

    A bad ending beside a good report is a failure: the agent may have died between the two. A report that asks for help
    or admits failure stands whatever the ending.
    """
    summary = outcome.summary.strip().partition("\n")[0][:300] or "no summary"
    if outcome.kind == OutcomeKind.FAILED:
        return Verdict(ok=False, outcome=outcome, reason=f"the agent reports failure: {summary}")
    if outcome.kind == OutcomeKind.BLOCKED:
        return Verdict(ok=True, outcome=outcome, reason=f"blocked: {summary}")
    if not ended.ok:
        return Verdict(
            ok=False, outcome=outcome, reason=f"{ended.in_words()}, although the agent reported {outcome.kind}"
        )
    return Verdict(ok=True, outcome=outcome, reason=f"{outcome.kind}: {summary}")
