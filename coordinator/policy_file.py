"""`.agentgrid.yml`: what a repository wants of the agents that work on it. Pure.

The file comes from a repository's default branch, so anybody who can write there wrote it; docs/policy-file.md
describes it for them. Reading it never decides what is granted: `coordinator.policy` does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from coordinator import strict_yaml
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import Outsiders
from coordinator.strict_yaml import Path, Problem, shortened
from coordinator.untrusted import printable

FILE_NAME = ".agentgrid.yml"
VERSION = 1
MAX_BYTES = 64 * 1024
MAX_COMMANDS = 20
MAX_COMMAND_CHARACTERS = 2_000
MAX_PATTERNS = 20
MAX_DEFINITIONS = 50
MAX_LEVELS = 8
MAX_EDGES = 50
_MAX_SHOWN = 50
_DEFINITION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthLevel:
    """What agents of one depth may use at most."""

    tier: str = ""
    """Name of the strongest tier; empty: no cap."""
    without: tuple[str, ...] = ()
    """Tools taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one file says; whatever it does not say is empty."""

    adapter: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The adapter's own, plain JSON, not yet checked by it."""
    setup: tuple[str, ...] = ()
    """Shell commands run before the agent and again before acceptance."""
    acceptance: tuple[str, ...] = ()
    """Shell commands that must exit 0 on the committed work."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The limits it names, and no others; names and units as in the file."""
    allow_protected_paths: tuple[str, ...] = ()
    """Patterns of protected files that agents may change all the same; see `coordinator.policy`."""
    outsiders: str = ""
    """`drop` or `fence`, see `Outsiders`."""
    profile: str = ""
    """Name of the profile of agents that name none."""
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Profiles of its own by name, plain JSON, not yet checked."""
    toolsets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Toolsets of its own by name, plain JSON, not yet checked."""
    depth_rule: tuple[DepthLevel, ...] = ()
    """For depth 0, 1, …; the last one holds for all below it."""
    siblings_talk: bool = False
    """Agents of one parent may write to each other."""
    edges: tuple[tuple[str, str], ...] = ()
    """Pairs of profiles whose agents may write to each other within a tree."""
    upgrade_after_failures: int = 0
    """An agent whose run failed so often gets the next tier that its parent holds; 0: never."""
    conflicts: str = ""
    """`self` or `arbiter`: who says how work that cannot be merged is merged."""
    locks: str = ""
    """`off`, `advisory` or `enforced`: what locks of others mean for a run's work."""
    footprints: str = ""
    """`sequence`, `tell` or `arbiter`: what follows when agents of a tree declared the same files."""


class PolicyError(InvalidInputError):
    """The file breaks rules; the message has a line for each, `problems` the same as values."""

    def __init__(self, problems: Iterable[Problem], *, source: str = FILE_NAME) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        lines = [
            f"  line {problem.line}: {problem.message}" if problem.line else f"  {problem.message}"
            for problem in self.problems[:_MAX_SHOWN]
        ]
        if len(self.problems) > _MAX_SHOWN:
            lines.append(f"  and {len(self.problems) - _MAX_SHOWN} more")
        super().__init__("\n".join([f"{source}: {count}", *lines]))


def _shown_as_run(command: str) -> str:
    """Refuse a command that looks other than it is: people review these files."""
    if printable(command) != command:
        raise ValueError("holds characters that nobody can see, such as zero-width or bidi controls; type it again")
    return command


_Command = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_COMMAND_CHARACTERS),
    AfterValidator(_shown_as_run),
]
_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_shown_as_run)]
_Seconds = Annotated[int, Field(ge=1, le=86_400)]
_Live = Annotated[int, Field(ge=1, le=1_000)]


def _outsiders(value: str) -> str:
    if value not in list(Outsiders):
        raise ValueError(f"must be one of: {', '.join(Outsiders)}")
    return value


def _conflicts(value: str) -> str:
    if value not in ("self", "arbiter"):
        raise ValueError("must be one of: self, arbiter")
    return value


def _locks(value: str) -> str:
    if value not in ("off", "advisory", "enforced"):
        raise ValueError("must be one of: off, advisory, enforced")
    return value


def _footprints(value: str) -> str:
    if value not in ("sequence", "tell", "arbiter"):
        raise ValueError("must be one of: sequence, tell, arbiter")
    return value


def _definitions(value: dict[str, Any]) -> dict[str, Any]:
    wrong = next((name for name in value if not _DEFINITION_NAME.fullmatch(name)), None)
    if wrong is not None:
        raise ValueError(f"the name {shortened(wrong)} must be lower-case letters, digits, - and _, at most 60")
    if len(value) > MAX_DEFINITIONS:
        raise ValueError(f"has {len(value)} entries; at most {MAX_DEFINITIONS} are read")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


_Definitions = Annotated[dict[str, dict[str, JsonValue]], AfterValidator(_definitions)]


class _Agent(_Strict):
    adapter: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = ""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    profile: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")] = ""


class _Level(_Strict):
    tier: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")] = ""
    without: list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]] = Field(
        default_factory=list, max_length=50
    )


class _Topology(_Strict):
    siblings: bool = False
    edges: list[
        Annotated[
            list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]],
            Field(min_length=2, max_length=2),
        ]
    ] = Field(default_factory=list, max_length=MAX_EDGES)


class _Limits(_Strict):
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
    tree_children: Annotated[int, Field(ge=1, le=100_000)] = 0
    spend_without_progress_usd: Annotated[int, Field(ge=1, le=1_000_000)] = 0
    day_usd: Annotated[int, Field(ge=1, le=1_000_000)] = 0
    day_tokens: Annotated[int, Field(ge=1, le=10**12)] = 0
    day_executions: Annotated[int, Field(ge=1, le=1_000_000)] = 0


LIMIT_NAMES = tuple(_Limits.model_fields)
"""All limits that a file may set."""


class _File(_Strict):
    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    agent: _Agent = Field(default_factory=_Agent)
    setup: list[_Command] = Field(default_factory=list, max_length=MAX_COMMANDS)
    acceptance: list[_Command] = Field(default_factory=list, max_length=MAX_COMMANDS)
    limits: _Limits = Field(default_factory=_Limits)
    allow_protected_paths: list[_Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    outsiders: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_outsiders)] = ""
    profiles: _Definitions = Field(default_factory=dict)
    toolsets: _Definitions = Field(default_factory=dict)
    depth_rule: list[_Level] = Field(default_factory=list, max_length=MAX_LEVELS)
    topology: _Topology = Field(default_factory=_Topology)
    upgrade_after_failures: Annotated[int, Field(ge=0, le=20)] = 0
    conflicts: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_conflicts)] = ""
    locks: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_locks)] = ""
    footprints: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_footprints)] = ""


_SECTIONS: Mapping[Path, type[BaseModel]] = {
    (): _File,
    ("agent",): _Agent,
    ("limits",): _Limits,
    ("depth_rule",): _Level,
    ("topology",): _Topology,
}


def parse_policy(data: bytes) -> Policy:
    """Read the file; an empty one is the empty policy.

    Raises:
        PolicyError: Every problem found, each with its line and the fix.
    """
    try:
        document = strict_yaml.read(data, max_bytes=MAX_BYTES)
    except strict_yaml.UnreadableError as error:
        raise PolicyError([error.problem]) from error
    file, problems = _checked({} if document.value is None else document.value, document.lines)
    problems = [*document.problems, *problems]
    if file is None or problems:
        raise PolicyError(problems)
    return _policy(file)


def dump_policy(policy: Policy) -> dict[str, Any]:
    """The policy as plain JSON, in the shape of the file."""
    agent = {"adapter": policy.adapter, "options": dict(policy.options), "profile": policy.profile}
    levels = [{"tier": level.tier, "without": list(level.without)} for level in policy.depth_rule]
    topology = {"siblings": policy.siblings_talk, "edges": [list(pair) for pair in policy.edges]}
    later = {
        "outsiders": policy.outsiders,
        "profiles": {name: dict(body) for name, body in policy.profiles.items()},
        "toolsets": {name: dict(body) for name, body in policy.toolsets.items()},
        "depth_rule": [{key: value for key, value in level.items() if value} for level in levels],
        "topology": {key: value for key, value in topology.items() if value},
        "upgrade_after_failures": policy.upgrade_after_failures,
        "conflicts": policy.conflicts,
        "locks": policy.locks,
        "footprints": policy.footprints,
    }
    return {
        "version": VERSION,
        "agent": {key: value for key, value in agent.items() if value},
        "setup": list(policy.setup),
        "acceptance": list(policy.acceptance),
        "limits": dict(policy.limits),
        "allow_protected_paths": list(policy.allow_protected_paths),
        **{key: value for key, value in later.items() if value},
    }


def load_policy(value: object) -> Policy:
    """The policy that `dump_policy` wrote.

    Raises:
        PolicyError: Nobody but an older or newer version of this program, or a hand, can have written this.
    """
    file, problems = _checked(value, {})
    if file is None:
        raise PolicyError(problems, source="stored policy")
    return _policy(file)


def _policy(file: _File) -> Policy:
    return Policy(
        adapter=file.agent.adapter,
        options=file.agent.options,
        setup=tuple(file.setup),
        acceptance=tuple(file.acceptance),
        limits=file.limits.model_dump(exclude_unset=True),
        allow_protected_paths=tuple(file.allow_protected_paths),
        outsiders=file.outsiders,
        profile=file.agent.profile,
        profiles=file.profiles,
        toolsets=file.toolsets,
        depth_rule=tuple(DepthLevel(tier=level.tier, without=tuple(level.without)) for level in file.depth_rule),
        siblings_talk=file.topology.siblings,
        edges=tuple((one, other) for one, other in file.topology.edges),
        upgrade_after_failures=file.upgrade_after_failures,
        conflicts=file.conflicts,
        locks=file.locks,
        footprints=file.footprints,
    )


def _checked(value: object, lines: Mapping[Path, int]) -> tuple[_File | None, list[Problem]]:
    try:
        return _File.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(details, lines) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, lines: Mapping[Path, int]) -> Problem:
    place: Path = details["loc"]
    if details["type"] == "extra_forbidden":
        *section, key = place
        known = list(_SECTIONS[tuple(part for part in section if isinstance(part, str))].model_fields)
        close = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        message = f"{_name(section)}unknown key {shortened(key)}; {hint}"
    else:
        message = f"{_name(place)}{_in_words(details)}"
    return Problem(line=_nearest_line(place, lines), message=message)


def _name(place: Iterable[str | int]) -> str:
    """`limits.attempts: `, `setup, entry 2: `."""
    keys = [key for key in place if isinstance(key, str)]
    numbers = "".join(f", entry {index + 1}" for index in place if isinstance(index, int))
    return f"{'.'.join(keys)[:80]}{numbers}: " if keys else ""


def _nearest_line(place: Path, lines: Mapping[Path, int]) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)


_TYPES: Mapping[str, str] = {
    "int_type": "must be a whole number without quotes, such as 10",
    "string_type": "must be text; put it in quotes",
    "list_type": 'must be a list of commands, such as ["pytest -q"]',
    "dict_type": "must be a mapping, such as {model: scripted}",
    "model_type": "must be a mapping: one `key: value` on each line",
    "string_too_short": "is an empty command; remove it",
    "string_pattern_mismatch": "must be a name in lower case, such as builtin or command",
}


def _in_words(details: ErrorDetails) -> str:
    """What is wrong and what would be right; repeats small wrong values only."""
    kind, found, limits = details["type"], details["input"], details.get("ctx", {})
    if found is None:
        return "has no value; give it one or remove the line"
    match kind:
        case "greater_than_equal":
            return f"is {found}; must be at least {limits['ge']:,}"
        case "less_than_equal":
            return f"is {found}; must be at most {limits['le']:,}"
        case "too_long":
            return f"has {len(found)} entries; at most {limits['max_length']} are read"
        case "string_too_long":
            return f"has {len(found):,} characters; at most {limits['max_length']:,} are read. Put it in a script"
        case "int_type" | "string_type" | "list_type" if isinstance(found, str | int | float):
            return f"is {shortened(found)}; {_TYPES[kind]}"
    return _TYPES.get(kind) or details["msg"].removeprefix("Value error, ")
