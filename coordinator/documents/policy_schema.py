"""The shape of `.agentgrid.yml`: which keys there are, and what each may hold. Pure.

`coordinator.documents.policy_file` reads the file by it; `coordinator.documents.policy_words` says what is wrong with a file that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from coordinator.documents.strict_yaml import Path, shortened
from coordinator.documents.untrusted import printable
from coordinator.public_types import Outsiders

VERSION = 1
MAX_COMMANDS = 20
MAX_COMMAND_CHARACTERS = 2_000
MAX_PATTERNS = 20
MAX_DEFINITIONS = 50
MAX_LEVELS = 8
MAX_EDGES = 50
_DEFINITION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")


def _shown_as_run(command: str) -> str:
    """Refuse a command that looks other than it is: people review these files."""
    if printable(command) != command:
        raise ValueError("holds characters that nobody can see, such as zero-width or bidi controls; type it again")
    return command


def _one_of(known: Iterable[str]) -> AfterValidator:
    """Refuse any other word."""
    words = tuple(known)

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of: {', '.join(words)}")
        return value

    return AfterValidator(check)


def _definitions(value: dict[str, Any]) -> dict[str, Any]:
    wrong = next((name for name in value if not _DEFINITION_NAME.fullmatch(name)), None)
    if wrong is not None:
        raise ValueError(f"the name {shortened(wrong)} must be lower-case letters, digits, - and _, at most 60")
    if len(value) > MAX_DEFINITIONS:
        raise ValueError(f"has {len(value)} entries; at most {MAX_DEFINITIONS} are read")
    return value


_Command = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_COMMAND_CHARACTERS),
    AfterValidator(_shown_as_run),
]
_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_shown_as_run)]
_Seconds = Annotated[int, Field(ge=1, le=86_400)]
_Live = Annotated[int, Field(ge=1, le=1_000)]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=20)]
_Definitions = Annotated[dict[str, dict[str, JsonValue]], AfterValidator(_definitions)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Agent(_Strict):
    """Who works, and with which options."""

    adapter: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = ""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    profile: _Name = ""


class Level(_Strict):
    """What agents of one depth may use at most."""

    tier: _Name = ""
    without: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]] = Field(
        default_factory=list, max_length=50
    )


class Topology(_Strict):
    """Who may write to whom within a tree."""

    siblings: bool = False
    edges: list[Annotated[list[_Name], Field(min_length=2, max_length=2)]] = Field(
        default_factory=list, max_length=MAX_EDGES
    )


class Limits(_Strict):
    """Zero stands for "not given"; it is a value of its own only where it is allowed: no sub-issues at all."""

    wall_seconds: _Seconds = 0
    idle_seconds: _Seconds = 0
    verify_wall_seconds: _Seconds = 0
    memory_bytes: Annotated[int, Field(ge=32 << 20, le=1 << 44)] = 0
    processes: Annotated[int, Field(ge=1, le=65_536)] = 0
    attempts: Annotated[int, Field(ge=1, le=20)] = 0
    children: Annotated[int, Field(ge=0, le=100)] = 0
    depth: Annotated[int, Field(ge=0, le=7)] = 0
    open_descendants: Annotated[int, Field(ge=0, le=10_000)] = 0
    concurrency: _Live = 0
    tree_concurrency: _Live = 0
    tree_executions: Annotated[int, Field(ge=1, le=100_000)] = 0
    tree_wall_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] = 0
    conflict_seconds: Annotated[int, Field(ge=1, le=86_400)] = 0
    tool_calls: Annotated[int, Field(ge=1, le=100_000)] = 0
    tree_tool_calls: Annotated[int, Field(ge=1, le=100_000_000)] = 0
    tree_usd: Annotated[int, Field(ge=1, le=1_000_000)] = 0
    tree_tokens: Annotated[int, Field(ge=1, le=10**12)] = 0
    tree_children: Annotated[int, Field(ge=1, le=100_000)] = 0
    spend_without_progress_usd: Annotated[int, Field(ge=1, le=1_000_000)] = 0
    day_usd: Annotated[int, Field(ge=1, le=1_000_000)] = 0
    day_tokens: Annotated[int, Field(ge=1, le=10**12)] = 0
    day_executions: Annotated[int, Field(ge=1, le=1_000_000)] = 0


LIMIT_NAMES = tuple(Limits.model_fields)
"""All limits that a file may set."""


class PolicyFile(_Strict):
    """The whole file."""

    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    agent: Agent = Field(default_factory=Agent)
    setup: list[_Command] = Field(default_factory=list, max_length=MAX_COMMANDS)
    acceptance: list[_Command] = Field(default_factory=list, max_length=MAX_COMMANDS)
    limits: Limits = Field(default_factory=Limits)
    allow_protected_paths: list[_Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    outsiders: Annotated[_Word, _one_of(Outsiders)] = ""
    profiles: _Definitions = Field(default_factory=dict)
    toolsets: _Definitions = Field(default_factory=dict)
    depth_rule: list[Level] = Field(default_factory=list, max_length=MAX_LEVELS)
    topology: Topology = Field(default_factory=Topology)
    upgrade_after_failures: Annotated[int, Field(ge=0, le=20)] = 0
    conflicts: Annotated[_Word, _one_of(("self", "arbiter"))] = ""
    locks: Annotated[_Word, _one_of(("off", "advisory", "enforced"))] = ""
    footprints: Annotated[_Word, _one_of(("sequence", "tell", "arbiter"))] = ""


SECTIONS: Mapping[Path, type[BaseModel]] = {
    (): PolicyFile,
    ("agent",): Agent,
    ("limits",): Limits,
    ("depth_rule",): Level,
    ("topology",): Topology,
}
"""The models by the keys that lead to them, numbers of lists left out: what may stand where."""
