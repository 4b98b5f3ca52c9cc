"""Codex, run once with everything it may do on its command line.

Checked with codex-cli 0.169.0; it refuses names of features that it does not know, so the version matters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from grid.agents import offers
from grid.agents.base import BASE_FILES, Launch, Parser, RunFiles, Verdict, Wired, Wiring, base_environment
from grid.agents.codex_stream import RESUMED, CodexParser
from grid.agents.errors import InvalidOptionsError, InvalidOutcomeError
from grid.agents.oneshot import (
    EnvName,
    Instructions,
    McpServers,
    ModelName,
    OneshotOptions,
    Program,
    Url,
    judge,
    read_options,
)
from grid.agents.sessions import Folder, SessionId, Usage
from grid.phases import Ended
from grid.public_types import Outcome

_FEATURES_OFF = (
    "multi_agent",
    "goals",
    "apps",
    "plugins",
    "remote_plugin",
    "hooks",
    "skill_search",
    "image_generation",
    "browser_use",
    "computer_use",
    "shell_snapshot",
    "view_image",
    "tool_suggest",
)
"""Features that fetch from elsewhere or make no sense without a person; they also make requests four times as large."""
_ANNOUNCE = 'printf "%s\\n" "$0"; exec "$@"'
"""Prints its first argument and becomes the rest, so that the stream itself says where counting starts."""


class _Resume(OneshotOptions):
    session: SessionId
    usage: Usage = Field(default_factory=Usage)
    """What the session has used so far: Codex counts from its beginning."""


class _Options(OneshotOptions):
    model: ModelName
    program: Program = "codex"
    base_url: Url = "https://api.openai.com/v1"
    """A server that speaks Responses, with `/v1`."""
    key_env: EnvName = "OPENAI_API_KEY"
    """Variable that holds the key for `base_url`."""
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"] = "danger-full-access"
    """Codex's own sandbox around the commands that the model runs. Off: ours is around the whole of it, and Codex's needs a
    user namespace, which root without capabilities cannot make; its commands then all fail and no event says so."""
    mcp: McpServers = Field(default_factory=dict, max_length=10)
    instructions: Instructions = ""
    """Put before the prompt: Codex's own system prompt can only be replaced."""
    state_dir: Folder = ""
    """A folder that exists and outlives the run and keeps its session; without one nothing is kept."""
    resume: _Resume | None = None
    """Take up a session, found in `state_dir`."""

    @model_validator(mode="after")
    def _options_fit(self) -> _Options:
        if self.resume and not self.state_dir:
            raise ValueError("'resume' needs 'state_dir', the folder in which the session was kept")
        if not self.base_url:
            raise ValueError("'base_url' is empty: leave it out for OpenAI's own")
        return self


def _toml(**fields: str | bool | int) -> str:
    """An inline table; JSON's strings, numbers and booleans are TOML's too."""
    return "{" + ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()) + "}"


def _settings(options: _Options) -> list[str]:
    provider = _toml(
        name="grid",
        base_url=options.base_url,
        env_key=options.key_env,
        wire_api="responses",
        request_max_retries=2,
        stream_max_retries=2,
    )
    settings = [
        f'sandbox_mode="{options.sandbox}"',
        'model_provider="grid"',
        f"model_providers.grid={provider}",
        'web_search="disabled"',
        "analytics.enabled=false",
        "check_for_update_on_startup=false",
    ]
    for name, server in options.mcp.items():
        table = _toml(
            url=server.url,
            bearer_token_env_var=server.token_env,
            # A server out of reach ends the run at once instead of leaving it without its tools.
            required=True,
            # Without this every call fails, as nobody is there to approve it, and the run still exits 0.
            default_tools_approval_mode="approve",
        )
        settings.append(f"mcp_servers.{name}={table}")
    return settings


def _arguments(options: _Options) -> list[str]:
    argv = [options.program, "exec", *(["resume"] if options.resume else [])]
    argv += ["--json", "--ignore-user-config", "--ignore-rules", "--skip-git-repo-check", "-m", options.model]
    argv += [word for setting in _settings(options) for word in ("-c", setting)]
    argv += [word for feature in _FEATURES_OFF for word in ("--disable", feature)]
    if not options.state_dir:
        argv.append("--ephemeral")
    if options.resume is None:
        return [*argv, "-"]
    marker = json.dumps({"type": RESUMED, **options.resume.model_dump()})
    return ["/bin/sh", "-c", _ANNOUNCE, marker, *argv, options.resume.session, "-"]


class CodexAdapter:
    """Adapter for Codex."""

    name: Literal["codex"] = "codex"
    connects = True
    listens = False

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError for a missing model, an unknown option and the like."""
        read_options(_Options, self.name, options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Models of OpenAI through the gateway, the grid's tools by MCP, its sandbox as narrow as the profile.

        Whatever Codex does it does by shell commands, so that a profile without `run_command` leaves it nothing.
        """
        given = offers.with_model(options, wiring, providers=("openai",))
        given = offers.with_instructions(offers.with_grid_server(given, wiring), wiring)
        if wiring.tools is not None:
            if "run_command" not in wiring.tools:
                raise offers.nothing_allowed(self.name, "run_command")
            if not {"write_file", "edit_file"} & set(wiring.tools):
                if given.get("sandbox", "read-only") != "read-only":
                    raise InvalidOptionsError(
                        f"options of the agent '{self.name}': sandbox: the profile allows reading only; use 'read-only'"
                    )
                given["sandbox"] = "read-only"
        if "openai" not in wiring.providers or given.get("base_url"):
            return Wired(options=given)
        given["base_url"] = f"{wiring.gateway_url}/openai/v1"
        return Wired(options=given, key_env=(str(given.get("key_env", "OPENAI_API_KEY")),))

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start `codex exec` with the prompt on standard input; no configuration of a user or the workspace counts."""
        given = read_options(_Options, self.name, options)
        return Launch(
            argv=tuple(_arguments(given)),
            env=base_environment(files) | {"CODEX_HOME": given.state_dir or str(files.home / ".codex")},
            prompt=offers.prompted(prompt, given.instructions),
            # CODEX_HOME must exist, and may not lie below TMPDIR: else no command runs and nothing says so.
            files={**BASE_FILES, ".codex/.keep": b""},
        )

    def parser(self) -> Parser:
        """A parser of Codex's JSON lines."""
        return CodexParser()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The terminal event decides; the exit code only explains its absence."""
        if not isinstance(parser, CodexParser):
            raise TypeError("codex is judged by its own parser")
        return judge(
            problem=parser.problem, ended=ended, outcome_file=outcome_file, changed=changed, last_words=parser.last_text
        )
