"""Claude Code, run once with everything it may do on its command line.

Checked with Claude Code 2.1.329.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from grid import gridctl
from grid.agents import offers
from grid.agents.base import BASE_FILES, Launch, Parser, RunFiles, Verdict, Wired, Wiring, base_environment
from grid.agents.claude_stream import ClaudeParser
from grid.agents.errors import InvalidOutcomeError
from grid.agents.oneshot import (
    Instructions,
    McpServers,
    ModelName,
    OneshotOptions,
    Program,
    Url,
    judge,
    read_options,
)
from grid.agents.sessions import Folder, SessionId
from grid.phases import Ended
from grid.public_types import Outcome

_OUR_TOOLS = {
    "read_file": ("Read",),
    "list_files": ("Glob", "Grep", "LS"),
    "write_file": ("Write", "Edit", "NotebookEdit"),
    "edit_file": ("Edit", "MultiEdit", "NotebookEdit"),
    "run_command": ("Bash", "BashOutput", "KillShell"),
}
"""Claude Code's names for what a profile allows. With `--bare` there are only Bash, Edit and Read."""
_Tool = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]{0,60}(\([^(),\x00-\x1f]{1,200}\))?$")]


class _Options(OneshotOptions):
    model: ModelName
    program: Program = "claude"
    base_url: Url = ""
    """Where the Messages API is, without `/v1`, when not at Anthropic."""
    tools: list[_Tool] = Field(default=["Bash", "Edit", "Read"], min_length=1, max_length=100)
    """The built-in tools allowed, `Read` or `Bash(git *)`; all others are denied."""
    max_turns: Annotated[int, Field(ge=1, le=10_000)] = 200
    max_budget_usd: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    """Checked by Claude Code after a request: the last one may overshoot."""
    mcp: McpServers = Field(default_factory=dict, max_length=10)
    instructions: Instructions = ""
    """Added to Claude Code's own system prompt."""
    ask_locks: bool = False
    """Edit and Write take the grid's locks first, by a hook. Hooks cost `--bare`: requests grow from 5 to 36 KB, mostly cached."""
    state_dir: Folder = ""
    """A folder that outlives the run and keeps its session; without one nothing is kept."""
    resume: SessionId | None = None
    """Take up this session, found in `state_dir`."""

    @model_validator(mode="after")
    def _resume_has_a_place(self) -> _Options:
        if self.resume and not self.state_dir:
            raise ValueError("'resume' needs 'state_dir', the folder in which the session was kept")
        return self


_HOOKS_FILE = ".agentgrid/claude-hooks.json"
_CHANGING = "Edit|Write|MultiEdit|NotebookEdit"
_HOOK_SECONDS = 70
"""Above what `gridctl` waits for the grid."""


def _hooks(files: RunFiles) -> bytes:
    """Settings with a hook before each call that changes a file: `gridctl guard` takes the lock, exit code 2 forbids the call."""
    command = shlex.join([str(files.home / gridctl.FOLDER / "gridctl"), "guard", "--root", str(files.workspace)])
    hook = {"type": "command", "command": command, "timeout": _HOOK_SECONDS}
    return json.dumps({"hooks": {"PreToolUse": [{"matcher": _CHANGING, "hooks": [hook]}]}}, indent=1).encode()


def _arguments(options: _Options, files: RunFiles) -> list[str]:
    names = list(dict.fromkeys(tool.partition("(")[0] for tool in options.tools))
    # `--bare` reads nothing of the workspace and calls no hooks; `--restricted` calls those of `--settings` and no others.
    alone = ["--restricted", "--settings", str(files.home / _HOOKS_FILE)] if options.ask_locks else ["--bare"]
    argv = [options.program, "-p", *alone, "--output-format", "stream-json", "--verbose", "--model", options.model]
    # Nobody is there to be asked: what is not allowed is denied.
    argv += ["--permission-mode", "dontAsk", "--tools", ",".join(names)]
    argv += ["--allowedTools", *options.tools, *(f"mcp__{name}__*" for name in options.mcp)]
    servers = {
        name: {
            "type": "http",
            "url": server.url,
            # Claude Code puts the variable's value in: the token is in no argument.
            "headers": {"Authorization": f"Bearer ${{{server.token_env}}}"},
        }
        for name, server in options.mcp.items()
    }
    argv += ["--strict-mcp-config", "--mcp-config", json.dumps({"mcpServers": servers})]
    if options.instructions:
        argv += ["--append-system-prompt", options.instructions]
    argv += ["--max-turns", str(options.max_turns)]
    if options.max_budget_usd is not None:
        argv += ["--max-budget-usd", f"{options.max_budget_usd:f}"]
    if options.resume:
        argv += ["--resume", options.resume]
    return argv if options.state_dir else [*argv, "--no-session-persistence"]


class ClaudeAdapter:
    """Adapter for Claude Code."""

    name: Literal["claude"] = "claude"
    connects = True
    listens = False

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for a missing model, an unknown option and the like."""
        read_options(_Options, self.name, options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Models of Anthropic through the gateway, the grid's tools by MCP, no built-in tool beyond the profile's."""
        given = offers.with_model(options, wiring, providers=("anthropic",))
        given = offers.with_locks(offers.with_instructions(offers.with_grid_server(given, wiring), wiring), wiring)
        if wiring.tools is not None:
            allowed = offers.translated(_OUR_TOOLS, wiring.tools)
            if not allowed:
                raise offers.nothing_allowed(self.name, ", ".join(_OUR_TOOLS))
            if "tools" in given:
                offers.check_tools(self.name, map(str, given["tools"]), allowed)
            else:
                given["tools"] = [tool for tool in ("Bash", "Edit", "Read") if tool in allowed] or allowed
        if turns := wiring.limits.get("requests"):
            given["max_turns"] = offers.lowest(given.get("max_turns"), turns)
        if "anthropic" not in wiring.providers or given.get("base_url"):
            return Wired(options=given)
        return Wired(options={**given, "base_url": f"{wiring.gateway_url}/anthropic"}, key_env=("ANTHROPIC_API_KEY",))

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start `claude` with the prompt on standard input; nothing of the workspace's own configuration counts."""
        given = read_options(_Options, self.name, options)
        env = base_environment(files) | {
            "CLAUDE_CONFIG_DIR": given.state_dir or str(files.home / ".claude"),
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # By default a refused key is tried ten times, for minutes.
            "CLAUDE_CODE_MAX_RETRIES": "2",
        }
        placed = dict(BASE_FILES)
        if given.ask_locks:
            placed[_HOOKS_FILE] = _hooks(files)
            env["ENABLE_TOOL_SEARCH"] = "false"  # else tools of MCP servers have to be searched for
        if given.base_url:
            env["ANTHROPIC_BASE_URL"] = given.base_url
        return Launch(
            argv=tuple(_arguments(given, files)), env=env, prompt=prompt.encode("utf-8", "replace"), files=placed
        )

    def parser(self) -> Parser:
        """A parser of Claude Code's JSON lines."""
        return ClaudeParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The terminal event decides; the exit code only explains its absence."""
        if not isinstance(parser, ClaudeParser):
            raise TypeError("claude is judged by its own parser")
        return judge(
            problem=parser.problem, ended=ended, outcome_file=outcome_file, changed=changed, last_words=parser.last_text
        )
