"""Values that cross the tracker's border, the same for every issue tracker."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


class Trust(enum.StrEnum):
    """What a person may do in a repository, strongest first."""

    ADMIN = "admin"
    WRITE = "write"
    TRIAGE = "triage"
    READ = "read"
    NONE = "none"


class CloseReason(enum.StrEnum):
    """Why an issue was closed."""

    COMPLETED = "completed"
    NOT_PLANNED = "not_planned"


class AgentState(enum.StrEnum):
    """The state an issue shows to people, as exactly one `agent:*` label; NONE shows no label."""

    NONE = ""
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    REVIEW = "review"
    BLOCKED = "blocked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names an issue everywhere: tracker scope and key, both opaque (`acme/widgets`, `12`)."""

    scope: str
    key: str

    def __str__(self) -> str:
        return f"{self.scope}#{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDraft:
    """An issue to be created."""

    title: str
    body: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueView:
    """An issue as the tracker shows it."""

    ref: Ref
    title: str
    body: str
    is_open: bool
    close_reason: CloseReason | None
    author: str
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    agent_state: AgentState
    created_at: datetime
    updated_at: datetime
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentView:
    """A comment; `slot` is set on comments of ours that are edited in place."""

    id: str
    ref: Ref
    author: str
    is_ours: bool
    slot: str
    body: str
    created_at: datetime
    edited_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page[T]:
    """One page of a listing; `cursor` is None on the last one."""

    items: tuple[T, ...]
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryView:
    """A repository under the grid's care."""

    id: int
    tracker: str
    """`local` or `github`."""
    scope: str
    source: str
    """Path or URL that git clones from."""
    default_branch: str


class WriteKind(enum.StrEnum):
    """Writes the outbox knows how to carry out."""

    CREATE_ISSUE = "create_issue"
    LINK_CHILD = "link_child"
    SET_BLOCKERS = "set_blockers"
    SET_STATE = "set_state"
    UPSERT_COMMENT = "upsert_comment"
    CLOSE = "close"
    ASSIGN = "assign"
    REACT = "react"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write to a tracker, wished for inside the transaction that decided it.

    The payload of each kind (all values plain JSON; `ref`, `parent`, `child`, `after` are issue keys in the same scope,
    or `{"from": KEY_OF_AN_EARLIER_WRITE}` for an issue that this write's predecessor creates):

        create_issue    title, body, labels[], parent?, blockers[]?  (parent and blockers are linked right after)
        link_child      parent, child, after?
        set_blockers    ref, blockers[]
        set_state       ref, state
        upsert_comment  ref, slot, data{}, markdown
        close           ref, reason
        assign          ref, actor
        react           ref, kind, comment?  (id of a comment)
    """

    key: str
    """Unique for ever; a second wish with the same key is the same wish."""
    kind: WriteKind
    payload: Mapping[str, Any]
    coalesce: str = ""
    """An unstarted write with the same non-empty value is replaced by this one (status edits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """How a write stands."""

    key: str
    kind: WriteKind
    is_done: bool
    error: str
    """Empty unless it failed for ever or failed last time."""
    is_permanent: bool
    """True when it failed and will not be tried again."""
    attempts: int
    value: Mapping[str, Any] = field(default_factory=dict)
    """Of a done `create_issue`: `{"key": "12"}`; of `upsert_comment`: `{"id": "…"}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueFacts:
    """What admission must know about an issue."""

    is_open: bool
    held: bool
    """A person keeps us away: label `agent:hold`, or a person assigned."""
    hold_reason: str
    """For people, e.g. `label agent:hold`; empty unless held."""
    open_blockers: tuple[Ref, ...]
    """Open issues that this one waits for, sorted."""
