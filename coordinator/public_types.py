"""Values that cross the coordinator's border: agents, nudges, decisions, envelopes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


class AgentState(enum.StrEnum):
    """States of an agent; the arrows between them are in `coordinator.lifecycle`."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    REVIEW = "review"
    BLOCKED = "blocked"
    FAILED = "failed"
    DONE = "done"
    ABANDONED = "abandoned"


ENDED = frozenset({AgentState.DONE, AgentState.ABANDONED})
ATTENTION = frozenset({AgentState.BLOCKED, AgentState.FAILED})
"""States that wait for a person."""


class Source(enum.StrEnum):
    """Who nudged."""

    OPERATOR = "operator"
    WEBHOOK = "webhook"
    SWEEP = "sweep"
    PARENT = "parent"
    CHILD = "child"
    BLOCKER = "blocker"
    RETRY = "retry"
    CONFLICT = "conflict"


class Answer(enum.StrEnum):
    """What became of a nudge."""

    ADMITTED = "admitted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    COALESCED = "coalesced"


class ThreadKind(enum.StrEnum):
    """What a conversation is for."""

    CHAT = "chat"
    CONFLICT = "conflict"
    """Two agents want what only one can have; `coordinator.teamwork.conflicts` opens and closes these."""
    UPGRADE = "upgrade"
    BRIDGE = "bridge"
    """Opened by an operator: its members may also write to each other directly, across trees as well."""


class MessageKind(enum.StrEnum):
    """What is said. To stop an agent is no message: that is `cancel`."""

    CHAT = "chat"
    STATUS = "status"
    QUESTION = "question"
    ANSWER = "answer"
    BLOCKED = "blocked"
    HANDOFF = "handoff"
    RESULT = "result"
    CONFLICT = "conflict"
    UPGRADE_REQUEST = "upgrade_request"


class ScopeKind(enum.StrEnum):
    """Levels of the envelope path, outermost first."""

    FLEET = "fleet"
    REPOSITORY = "repository"
    TREE = "tree"
    AGENT = "agent"
    DAY = "day"
    """Of the fleet or a repository: beside the path, not on it."""


class Outsiders(enum.StrEnum):
    """What becomes of comments by people who may not steer agents."""

    DROP = "drop"
    """No agent sees them."""
    FENCE = "fence"
    """Agents see those that stood there when the issue was approved, marked as no instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The stored answer to a nudge: why something runs, or why it does not."""

    answer: Answer
    code: str
    """Short and stable: `paused`, `blockers`, `capacity`, `budget`, `running`, …"""
    reason: str
    """One sentence for people."""
    until: datetime | None = None
    """When it is looked at again by itself; None: when what it waits for happens."""
    mode: str = ""
    """Of an admitted one: `work`, `resume`, `resolve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """A snapshot of one agent."""

    id: int
    path: str
    """`1`, `1.2`: places in the tree."""
    depth: int
    parent_id: int | None
    root_id: int
    issue_id: int
    issue: str
    """`scope#key`."""
    title: str
    repository_id: int
    state: AgentState
    is_held: bool
    paused_by: str
    """The nearest paused scope (`repository`, `tree`, …), or empty."""
    attempts: int
    crashes: int
    executions: int
    branch: str
    head: str
    summary: str
    blocked_reason: str
    decision: Decision | None
    not_before: datetime | None
    execution_id: UUID | None
    adapter: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    run_state: str = ""
    """Of its last execution (`queued`, `succeeded`, …); empty: it has none."""
    is_applied: bool = True
    """False from the launch of that execution until its end has been taken up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeView:
    """What a scope may use, has reserved and has spent."""

    key: str
    kind: ScopeKind
    paused_at: datetime | None
    rest_until: datetime | None
    """Of the fleet: its breaker is open until then, because everything failed lately."""
    live: int
    max_live: int | None
    executions_limit: int | None
    executions_reserved: int
    executions_spent: int
    wall_limit_seconds: int | None
    wall_reserved_seconds: int
    wall_spent_seconds: int
    usd_limit_micros: int | None = None
    """Money for models, in millionths of a US dollar; so are the two below."""
    usd_reserved_micros: int = 0
    usd_spent_micros: int = 0
    tokens_limit: int | None = None
    tokens_reserved: int = 0
    tokens_spent: int = 0
    unpriced_tokens: int = 0
    """Of the tokens spent, those of models whose price nobody knows."""
    tool_calls_limit: int | None = None
    tool_calls_reserved: int = 0
    tool_calls_spent: int = 0
    children_limit: int | None = None
    """Agents below it, at any depth."""
    children_spent: int = 0
    warned_at: datetime | None = None
    """Since when most of one of its limits is spent."""
    warning: str = ""
    """Which limit that is, in words."""
    breaker_opened_at: datetime | None = None
    """Of a tree: nothing starts in it since then, because money went and no work came."""
    progress_limit_micros: int | None = None
    """Of a tree: what it may spend without work that is accepted."""
    since_progress_micros: int = 0
    """Of a tree: what it has spent since work was accepted last."""
    depth: int = 0
    """How many levels are above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one or several model calls."""

    input_tokens: int = 0
    """Cached ones included, with every provider."""
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """What a model takes, in millionths of a US dollar for a million tokens."""

    input_micros: int
    output_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What models cost an agent, a tree or a scope, as far as anybody knows."""

    usd_micros: int = 0
    """Millionths of a US dollar."""
    tokens: int = 0
    unpriced_tokens: int = 0
    """Of those, the tokens of models whose price nobody knows; they are not in `usd_micros`."""
    is_metered: bool = True
    """False: the agents' own word, of calls that did not go through the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgeView:
    """A nudge and its answer."""

    id: int
    agent_id: int
    source: Source
    reason: str
    created_at: datetime
    answered_at: datetime | None
    decision: Decision | None
    execution_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A row that breaks a law."""

    law: str
    """Number and name, as in docs/invariants.md."""
    subject: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What an operator asks for."""

    title: str
    body: str = ""
    adapter: str = ""
    """Empty: the repository's policy decides, else the built-in agent."""
    options: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""
    """Empty: the repository's policy decides, else the shipped one for roots."""
    acceptance: tuple[str, ...] = ()
    priority: int = 0
    key: str = ""
    """Submitting twice with one key is one submission; empty: title and body are the key."""
