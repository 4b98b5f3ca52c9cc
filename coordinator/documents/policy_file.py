"""`.agentgrid.yml`: what a repository wants of the agents that work on it. Pure.

The file comes from a repository's default branch, so anybody who can write there wrote it; docs/policy-file.md
describes it for them. Its shape is in `coordinator.documents.policy_schema`. Reading it never decides what is granted:
`coordinator.documents.policy` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from coordinator.documents import policy_schema, policy_words, strict_yaml
from coordinator.documents.policy_schema import VERSION, PolicyFile
from coordinator.documents.strict_yaml import Path, Problem
from coordinator.public_errors import InvalidInputError

FILE_NAME = ".agentgrid.yml"
MAX_BYTES = 64 * 1024
_MAX_SHOWN = 50


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
    """Patterns of protected files that agents may change all the same; see `coordinator.documents.policy`."""
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


def _policy(file: PolicyFile) -> Policy:
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


def _checked(value: object, lines: Mapping[Path, int]) -> tuple[PolicyFile | None, list[Problem]]:
    try:
        return PolicyFile.model_validate(value), []
    except ValidationError as error:
        return None, policy_words.problems(error, lines=lines, sections=policy_schema.SECTIONS)
