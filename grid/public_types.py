"""Values that cross the grid's border: what to run, what is known about a run, what happened.

Everything here is frozen and free of Django, so that pure modules and other packages can use it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


class State(enum.StrEnum):
    """States of an execution; the arrows between them are in `grid.lifecycle`."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    QUARANTINED = "quarantined"


LIVE = frozenset({State.QUEUED, State.CLAIMED, State.RUNNING, State.STOPPING})
"""States in which an execution holds its subject; at most one such execution exists for a subject."""

ON_HOST = frozenset({State.CLAIMED, State.RUNNING, State.STOPPING})
"""States in which a host owns the execution and holds a lease on it."""

TERMINAL = frozenset(State) - LIVE

CONTINUED = frozenset({State.INTERRUPTED, State.OVER_BUDGET})
"""Ends in the middle of good work: the next run takes up the commit and, where its program can, the conversation."""


class Mode(enum.StrEnum):
    """Why an execution runs."""

    WORK = "work"
    RESUME = "resume"
    RESOLVE = "resolve"
    BENCH = "bench"
    CHAT = "chat"


class OutcomeKind(enum.StrEnum):
    """What an agent says it achieved."""

    DONE = "done"
    SPLIT = "split"
    BLOCKED = "blocked"
    NOTHING_TO_DO = "nothing_to_do"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProposal:
    """A sub-issue that an agent asks for."""

    key: str
    """The agent's own short name for it, unique within the outcome: `[a-z0-9-]{1,40}`."""
    title: str
    body: str
    blocked_by: tuple[str, ...] = ()
    """Keys of siblings in the same outcome that must be closed first."""
    acceptance: tuple[str, ...] = ()
    """Shell commands that must exit 0 on the child's work; added to the repository's own."""
    profile: str = ""
    """Name of the profile it would run under; never more than its parent may give."""
    prompt: str = ""
    """Name of a template of the prompt library for its runs; empty: the usual one."""
    footprint: tuple[str, ...] = ()
    """Paths and patterns that it means to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The agent's own report, validated and bounded, yet still only words of an agent."""

    kind: OutcomeKind
    summary: str = ""
    children: tuple[ChildProposal, ...] = ()
    comment: str = ""
    resolutions: tuple[Mapping[str, Any], ...] = ()
    """Decisions about conflicts: `conflict`, `choice`, `order`, `reason` each; what they mean is the coordinator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """Which agent to run and how."""

    adapter: str
    """Name of a module in `grid.agents`: `command` or `builtin`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Adapter's own options, plain JSON: `{"command": "…"}` or `{"model": "scripted", "script": "…"}`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Extra variables for the agent, literal values; never secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the shim stops a process tree. Seconds and bytes."""

    wall_seconds: int = 1800
    idle_seconds: int = 600
    output_bytes: int = 64 << 20
    """Kept in the spool; what comes after is dropped but for the tail of each stream."""
    output_stop_bytes: int = 4 << 30
    """An agent that prints more is stopped."""
    memory_bytes: int = 0
    """All processes together where the sandbox can count them, else the address space of each (RLIMIT_AS); 0: no limit."""
    processes: int = 0
    """All processes and threads of the run where the sandbox can count them, else all of the agent's uid (RLIMIT_NPROC);
    0 means no limit but the sandbox's own."""
    file_bytes: int = 8 << 30
    """Largest file a process may write (RLIMIT_FSIZE)."""
    tool_calls: int | None = None
    """Of the agent: a run that makes more is asked to stop; None: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Where an execution works: a branch of a repository in the grid's store."""

    repository: str
    """Key of the store's repository: `[a-z0-9][a-z0-9._-]{0,63}`."""
    source: str
    """What the store mirrors: a path or a URL that git understands."""
    branch: str
    """The agent's branch, `agent/<issue>-<slug>`, without `refs/heads/`."""
    base: str
    """Commit (40 hex digits) the workspace starts from."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credential:
    """What one git command shows to a server. Never stored, and never part of a launch."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """Everything needed to run one execution, on any host; stored with the row as JSON."""

    subject: str
    """Opaque key of what is worked on (`issue:12`); at most one live execution for each."""
    root: str
    """Opaque key of the root tree, under which its events are exported."""
    mode: Mode
    agent: AgentSpec
    work: Work
    prompt: str
    limits: Limits = field(default_factory=Limits)
    verify_limits: Limits = field(default_factory=lambda: Limits(wall_seconds=900, idle_seconds=600))
    """For each set-up and each acceptance command."""
    setup: tuple[str, ...] = ()
    """Shell commands run by us in the workspace before the agent, and again before acceptance."""
    acceptance: tuple[str, ...] = ()
    """Shell commands run by us on the committed work in a fresh checkout; all must exit 0."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    """The frozen profile that the agent runs under, as `grid.public_toolkit.FrozenProfile.as_json` wrote it; empty: none."""
    capability: Mapping[str, Any] = field(default_factory=dict)
    """What the coordinator let the agent use when this was queued; kept for people, the grid does not read it."""
    sandbox: str = ""
    """Backend that the agent must run in, or empty for the host's default; refused where it cannot be had."""
    priority: int = 0
    """Higher runs first."""
    attempt: int = 1
    crashes: int = 0
    """How often this work took its runner with it before; the third time it is quarantined instead of lost."""
    continues: str = ""
    """Id of a stopped execution of the same agent and program whose conversation this one takes up, where it can be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Evidence of one acceptance command."""

    command: str
    passed: bool
    exit_code: int | None
    """None when a signal or a limit ended it."""
    seconds: float
    tail: str
    """The last lines it printed, at most 4,000 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an ended execution left."""

    outcome: Outcome | None = None
    """None when the agent reported nothing."""
    head: str = ""
    """Commit that holds the work, in the store; empty when there is none."""
    changed: bool = False
    """Whether `head` differs from the base."""
    checks: tuple[Check, ...] = ()
    reason: str = ""
    """Why it ended in one line, for people: `acceptance failed: pytest (exit 1)`."""
    exit_code: int | None = None
    exit_signal: int | None = None
    is_permanent: bool = False
    """It could not start for a reason that the same attempt again would meet again; `reason` names the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """A snapshot of one execution."""

    id: UUID
    subject: str
    root: str
    mode: Mode
    state: State
    attempt: int
    token: int
    phase: str
    host: str
    branch: str
    base: str
    agent: str
    priority: int
    created_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    lease_until: datetime | None
    stop_requested: str
    """Why it was asked to stop, or empty."""
    result: Result
    wall_seconds: float
    """From claim to end (or to now), 0 when never claimed."""
    sandbox: str = ""
    """What its agent ran in: `process` (nothing), `bwrap`, `docker`; empty before the start."""
    continues: str = ""
    """Id of the execution whose conversation it was to take up; empty: none."""

    @property
    def is_live(self) -> bool:
        """Whether it still holds its subject."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose bearer token it was: an execution that is live and holds its lease."""

    execution_id: UUID
    fence: int
    """Its fencing token; whatever is written for it names this."""
    subject: str
    root: str
    agent: str
    """Name of the adapter."""
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One row of the event log."""

    id: int
    stream: str
    """`execution:<uuid>` or `agent:<id>`; `seq` runs 1..n on it without a gap."""
    seq: int
    root: str
    kind: str
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CliCheck:
    """Whether this machine can run an agent."""

    name: str
    path: str
    """Of its program; empty: not found, or it needs none."""
    version: str
    accepted: str
    """Range of versions that are expected to work; empty: any."""
    missing: tuple[str, ...]
    """What keeps it from working, each with the fix."""
    dry_run: str | None
    """What went wrong in the dry run; empty: nothing. None: not tried."""
    seconds: float
    works: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """A machine that runs agents, as it last reported."""

    name: str
    slots: int
    running: int
    pid: int
    heartbeat_age_seconds: float
    is_draining: bool
    note: str
