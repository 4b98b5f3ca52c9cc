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
    author_trust: Trust = Trust.NONE
    """Of its author when it was last read; NONE also where nobody looked it up."""


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
    trust: Trust = Trust.NONE
    """Of its author when it was last read; NONE also where nobody looked it up."""


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
    SET_LABEL = "set_label"
    REOPEN = "reopen"
    OPEN_CHANGE = "open_change"
    MARK_READY = "mark_ready"
    EDIT = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write to a tracker, wished for inside the transaction that decided it.

    The payload of each kind (all values plain JSON; `ref`, `parent`, `child`, `after` are issue keys in the same scope,
    or `{"from": KEY_OF_AN_EARLIER_WRITE}` for an issue that this write's predecessor creates):

        create_issue    title, body, labels[], parent?, blockers[]?  (parent and blockers are linked right after)
        link_child      parent, child, after?, replace?  (taken from another parent where it has one)
        set_blockers    ref, blockers[]
        set_state       ref, state
        upsert_comment  ref, slot, data{}, markdown
        close           ref, reason
        assign          ref, actor
        react           ref, kind, comment?  (id of a comment)
        set_label       ref, name, present  (labels that show no state; `agent:hold` is one)
        reopen          ref
        open_change     ref, head, base, title, body, outlived?  (a draft; text and title of an open one are brought up
                        to date, one that people ended after the pull request `outlived` is left so: `CodeHost`)
        mark_ready      ref, head  (the open draft of this branch becomes ready for review)
        edit            ref, title, body, was?  (an issue's texts; `was`: the digest of those that are replaced, by
                        `public_api.text_digest`: where they are others by now, nothing is written)
    """

    key: str
    """Unique for ever; a second wish with the same key is the same wish."""
    kind: WriteKind
    payload: Mapping[str, Any]
    coalesce: str = ""
    """An unstarted write with the same non-empty value is replaced by this one (status edits)."""
    not_before: datetime | None = None
    """Rests until then without holding up the writes behind it (edits that may wait)."""


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
    """Of a done `create_issue`: `{"key": "12"}`; of `upsert_comment`: `{"id": "…"}`; of `open_change`: `{"key": "15"}`,
    which may have been merged or closed, or `{"refused": WHY}`; of `edit`: `{"title": …, "body": …}` as the tracker holds
    them now, or `{"refused": WHY}`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueLinks:
    """How an issue hangs together with others."""

    position: int
    """Among its siblings."""
    children: int
    """How many sub-issues it has, closed ones too."""
    blockers: tuple[tuple[int, str], ...]
    """Id and key of the issues that it waits for or waited for."""


# --- pull requests --------------------------------------------------------------------------------------------------


class ChecksState(enum.StrEnum):
    """What the tracker's own checks (CI) say of a commit."""

    NONE = ""
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """A pull request as last read."""

    repository_id: int
    ref: Ref
    """Its scope and number."""
    head_branch: str
    head_sha: str
    base_branch: str
    title: str
    is_open: bool
    is_merged: bool
    is_draft: bool
    is_ours: bool
    """Opened by us, from a branch of the repository itself."""
    url: str
    checks: ChecksState
    updated_at: datetime


class FeedbackKind(enum.StrEnum):
    """How people and checks answer a pull request."""

    REVIEW = "review"
    """A submitted review that asks for changes, or comments."""
    COMMENT = "comment"
    """A comment in the conversation."""
    REVIEW_COMMENT = "review_comment"
    """A comment on a line."""
    CHECK = "check"
    """A check that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One thing said about a pull request."""

    id: str
    """Stable for the tracker: `review_comment:7000000123`; of a check `check:NAME:HEAD_SHA`."""
    kind: FeedbackKind
    author: str
    trust: Trust
    """Of the author; of a check, ADMIN when it belongs to the repository's own CI."""
    text: str
    """Body of the comment, or the last lines of the check's log."""
    path: str
    """File it is about, or empty."""
    line: int | None
    head_sha: str
    """Commit it is about."""
    asks_for_changes: bool
    """False for an approval, which needs no rework."""
    created_at: datetime
    is_edited: bool = False
    """Its words are not those it was made with, as far as the tracker tells."""


# --- what comes in --------------------------------------------------------------------------------------------------


class HintKind(enum.StrEnum):
    """What a delivery or a sweep says may have changed. A hint is never the new state: that is read from the tracker."""

    ISSUE = "issue"
    COMMENT = "comment"
    CHANGE = "change"
    """A pull request, its reviews or its checks."""
    PUSH = "push"
    INSTALLATION = "installation"
    PING = "ping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Something happened; go and look."""

    kind: HintKind
    action: str
    """The tracker's word: `opened`, `labeled`, `created`, …; `sweep` when nobody knows."""
    scope: str
    key: str = ""
    """Issue or pull request; empty for a push or an installation."""
    actor: str = ""
    """Who did it; empty when nobody knows (sweeps)."""
    actor_is_bot: bool = False
    label: str = ""
    """Of `labeled` and `unlabeled`."""
    assignee: str = ""
    """Of `assigned` and `unassigned`."""
    comment_id: str = ""
    text: str = ""
    """Of the comment, as the hint claims: enough to leave it alone, too little to act on."""
    head_sha: str = ""
    """Commit that checks or a push are about."""
    branch: str = ""
    installation_id: int | None = None
