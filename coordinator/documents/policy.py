"""What a repository's agents may use: its policy file under the fleet's caps. Pure."""

from __future__ import annotations

import dataclasses
import fnmatch
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.documents.policy_file import FILE_NAME, DepthLevel, Policy
from coordinator.public_types import Outsiders
from grid.public_types import Limits

DEFAULT_ADAPTER = "builtin"
DEFAULT, FLEET = "default", "fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLimits:
    """The operator's caps. Seconds, bytes and counts."""

    max_live_per_repository: int
    max_live_per_tree: int
    max_depth: int
    """Of the deepest agent; the root has 0."""
    max_children: int
    """Of one agent."""
    max_open_descendants: int
    """Of a whole tree, at one time."""
    max_attempts: int
    tree_executions: int
    tree_wall_seconds: int
    conflict_seconds: int = 120
    """Until the default is taken in a conflict that nobody decides."""
    wall_seconds: int = 1800
    idle_seconds: int = 600
    verify_wall_seconds: int = 900
    """For each set-up and each acceptance command."""
    memory_bytes: int = 0
    """Of each process; 0 means no cap."""
    processes: int = 0
    """Of the agent's user; 0 means no cap."""
    tool_calls: int = 0
    """Of one run; 0 means no cap, as it does for all that follow."""
    tree_tool_calls: int = 0
    tree_usd: int = 0
    """Money for models, in whole US dollars, as is all money below."""
    tree_tokens: int = 0
    tree_children: int = 0
    """Agents in one tree."""
    spend_without_progress_usd: int = 0
    """Of a tree."""
    day_usd: int = 0
    """Of one day (UTC) of a repository, as are the two below."""
    day_tokens: int = 0
    day_executions: int = 0


CAPS: Mapping[str, str] = {
    "wall_seconds": "wall_seconds",
    "idle_seconds": "idle_seconds",
    "verify_wall_seconds": "verify_wall_seconds",
    "memory_bytes": "memory_bytes",
    "processes": "processes",
    "attempts": "max_attempts",
    "children": "max_children",
    "depth": "max_depth",
    "open_descendants": "max_open_descendants",
    "concurrency": "max_live_per_repository",
    "tree_concurrency": "max_live_per_tree",
    "tree_executions": "tree_executions",
    "tree_wall_seconds": "tree_wall_seconds",
    "conflict_seconds": "conflict_seconds",
    "tool_calls": "tool_calls",
    "tree_tool_calls": "tree_tool_calls",
    "tree_usd": "tree_usd",
    "tree_tokens": "tree_tokens",
    "tree_children": "tree_children",
    "spend_without_progress_usd": "spend_without_progress_usd",
    "day_usd": "day_usd",
    "day_tokens": "day_tokens",
    "day_executions": "day_executions",
}
"""The fleet's cap over each limit of the policy file."""

_PROTECTED_FOLDERS = (".github/workflows/", ".github/actions/")
_PROTECTED_FILES = frozenset({FILE_NAME, "codeowners", ".github/codeowners", "docs/codeowners"})
"""In lower case; CODEOWNERS wherever GitHub looks for one."""
_PLACES = frozenset({".github", ".github/workflows", ".github/actions", "docs"})
"""Folders with something protected below. What changes under such a name itself is a link, a submodule or a file in its place."""
_UNSEEN = frozenset(
    {"\u034f", "\u115f", "\u1160", "\u3164", *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))}
)
"""Further characters without a shape of their own."""
_ZERO_MEANS_NO_CAP = frozenset(
    {
        *("memory_bytes", "processes", "tool_calls", "tree_tool_calls", "tree_usd", "tree_tokens", "tree_children"),
        *("spend_without_progress_usd", "day_usd", "day_tokens", "day_executions"),
    }
)
_DEFAULTS: Mapping[str, object] = {item.name: item.default for item in dataclasses.fields(FleetLimits)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """What holds for a repository, and who said so. Limits are named as in the policy file."""

    adapter: str
    options: Mapping[str, Any]
    setup: tuple[str, ...]
    acceptance: tuple[str, ...]
    wall_seconds: int
    idle_seconds: int
    verify_wall_seconds: int
    memory_bytes: int
    """0 means no limit."""
    processes: int
    """0 means no limit."""
    attempts: int
    children: int
    depth: int
    open_descendants: int
    concurrency: int
    tree_concurrency: int
    tree_executions: int
    tree_wall_seconds: int
    tool_calls: int = 0
    """Of one run; 0 means no limit, as it does for all that follow."""
    tree_tool_calls: int = 0
    tree_usd: int = 0
    tree_tokens: int = 0
    tree_children: int = 0
    spend_without_progress_usd: int = 0
    day_usd: int = 0
    day_tokens: int = 0
    day_executions: int = 0
    allow_protected_paths: tuple[str, ...] = ()
    """Patterns of protected files that agents may change all the same."""
    outsiders: Outsiders = Outsiders.DROP
    """What agents see of comments by people who may not steer them."""
    profile: str = ""
    """Of agents that name none; empty: the shipped one."""
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    toolsets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    depth_rule: tuple[DepthLevel, ...] = ()
    """Beside the fleet's, never instead of it."""
    siblings_talk: bool = False
    """Agents of one parent may write to each other."""
    edges: tuple[tuple[str, str], ...] = ()
    """Pairs of profiles whose agents may write to each other within a tree."""
    upgrade_after_failures: int = 0
    """0: never."""
    conflict_seconds: int = 120
    conflicts: str = "self"
    """Who says how work that cannot be merged is merged: the agent itself merges, or the `arbiter` decides."""
    locks: str = "enforced"
    """What locks of others mean for a run's work; see `coordinator.rules.footprints`, as for the next one."""
    footprints: str = "sequence"
    origin: Mapping[str, str] = field(default_factory=dict)
    """For each field above `default` (nobody chose), `fleet` (the operator's cap) or `.agentgrid.yml`."""
    not_granted: Mapping[str, int] = field(default_factory=dict)
    """Limits for which the file asked more than the fleet allows, with what it asked for."""

    @property
    def run_limits(self) -> Limits:
        """For the agent."""
        return dataclasses.replace(self._limits(self.wall_seconds), tool_calls=self.tool_calls or None)

    @property
    def verify_limits(self) -> Limits:
        """For each set-up and each acceptance command."""
        return self._limits(self.verify_wall_seconds)

    def _limits(self, wall_seconds: int) -> Limits:
        return Limits(
            wall_seconds=wall_seconds,
            idle_seconds=self.idle_seconds,
            memory_bytes=self.memory_bytes,
            processes=self.processes,
        )


def effective(policy: Policy | None, fleet: FleetLimits) -> EffectivePolicy:
    """Lay a repository's policy under the fleet's caps: a limit may only be lowered.

    Args:
        policy: None for a repository without a policy file.
        fleet: The operator's caps.
    """
    policy = policy or Policy()
    origin = {
        "adapter": _said(policy.adapter),
        "options": _said(policy.options),
        "setup": _said(policy.setup),
        "acceptance": _said(policy.acceptance),
        "allow_protected_paths": _said(policy.allow_protected_paths),
        "outsiders": _said(policy.outsiders),
        "profile": _said(policy.profile),
        "profiles": _said(policy.profiles),
        "toolsets": _said(policy.toolsets),
        "depth_rule": _said(policy.depth_rule),
        "siblings_talk": _said(policy.siblings_talk),
        "edges": _said(policy.edges),
        "upgrade_after_failures": _said(policy.upgrade_after_failures),
        "conflicts": _said(policy.conflicts),
        "locks": _said(policy.locks),
        "footprints": _said(policy.footprints),
    }
    limits: dict[str, int] = {}
    not_granted: dict[str, int] = {}
    for name, cap_name in CAPS.items():
        cap: int = getattr(fleet, cap_name)
        asked = policy.limits.get(name)
        is_capped = cap != 0 or name not in _ZERO_MEANS_NO_CAP
        if asked is not None and (asked <= cap or not is_capped):
            limits[name], origin[name] = asked, FILE_NAME
            continue
        limits[name], origin[name] = cap, DEFAULT if cap == _DEFAULTS[cap_name] else FLEET
        if asked is not None:
            not_granted[name] = asked
    return EffectivePolicy(
        adapter=policy.adapter or DEFAULT_ADAPTER,
        options=policy.options,
        setup=policy.setup,
        acceptance=policy.acceptance,
        allow_protected_paths=policy.allow_protected_paths,
        outsiders=Outsiders(policy.outsiders or Outsiders.DROP),
        profile=policy.profile,
        profiles=policy.profiles,
        toolsets=policy.toolsets,
        depth_rule=policy.depth_rule,
        siblings_talk=policy.siblings_talk,
        edges=policy.edges,
        upgrade_after_failures=policy.upgrade_after_failures,
        conflicts=policy.conflicts or "self",
        locks=policy.locks or "enforced",
        footprints=policy.footprints or "sequence",
        origin=origin,
        not_granted=not_granted,
        **limits,
    )


def protected(paths: Iterable[str], *, allowed: Iterable[str]) -> list[str]:
    """The files that only people may change, of those given: they decide what runs with the repository's own rights.

    A name counts as any file system takes it, and so does whatever would bring something else in a folder's place.

    Args:
        paths: Relative to the repository's root.
        allowed: Patterns of files that are let through; `*` stands for anything, slashes too.
    """
    patterns = list(allowed)
    return [
        path
        for path in paths
        if _is_protected(_on_disk(path)) and not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    ]


def _is_protected(path: str) -> bool:
    return path in _PROTECTED_FILES or path in _PLACES or path.startswith(_PROTECTED_FOLDERS)


def _on_disk(path: str) -> str:
    """The name by which some machine finds a file of this name.

    File systems ignore case, marks that nobody sees, ways of composing a letter, and dots, blanks and `:stream` at the end.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold()).replace("\\", "/")
    shown = "".join(mark for mark in plain if unicodedata.category(mark) not in ("Cc", "Cf") and mark not in _UNSEEN)
    return "/".join(part.split(":")[0].rstrip(" .") for part in shown.split("/") if part)


def _said(value: object) -> str:
    return FILE_NAME if value else DEFAULT
