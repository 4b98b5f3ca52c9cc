"""What GitHub's answers say, as values. Answers are read as hostile input: texts cleaned, sizes bounded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from github.GithubObject import GithubObject

from tracker import labels, limits
from tracker.github import parts
from tracker.public_types import AgentState, CloseReason, IssueView, Ref, Trust

_URL_MAX_CHARS = 500
_BRANCH_MAX_CHARS = 250
_REASONS = {"not_planned": CloseReason.NOT_PLANNED, "duplicate": CloseReason.NOT_PLANNED}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteIssue:
    """An issue as GitHub tells it. A pull request is one too: look at `is_pull` first."""

    id: int
    """GitHub's own number for it, unlike `number`."""
    number: int
    scope: str
    """`owner/name` of its repository; relations may cross repositories."""
    title: str
    body: str
    """With the line of ours that tells what it was created for, if there is one."""
    is_open: bool
    close_reason: CloseReason | None
    author: str
    author_is_bot: bool
    label_names: tuple[str, ...]
    """All of them, those that show a state too."""
    assignees: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    url: str
    is_pull: bool
    parent: Ref | None
    """Its parent as far as the answer tells; None also where GitHub left it out."""
    children_total: int
    """Of GitHub's summary, which may lag: good for skipping a listing, not for limits."""
    blockers_total: int
    comments_total: int
    us: str
    """Who read it, for telling our own acts from people's."""

    @property
    def ref(self) -> Ref:
        """Its name everywhere."""
        return Ref(self.scope, str(self.number))

    @property
    def key(self) -> str:
        """The issue's key within its repository."""
        return str(self.number)

    @property
    def agent_state(self) -> AgentState:
        """The state that its labels show; none when it is closed."""
        return labels.split(self.label_names)[0] if self.is_open else AgentState.NONE

    @property
    def plain_labels(self) -> tuple[str, ...]:
        """Labels that show no state."""
        return labels.split(self.label_names)[1]

    @property
    def is_ours(self) -> bool:
        """Whether we opened it."""
        return parts.is_same_login(self.author, self.us)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteComment:
    """A comment on an issue, or in a pull request's conversation."""

    id: int
    number: int
    """Of the issue or pull request."""
    author: str
    author_is_bot: bool
    is_ours: bool
    body: str
    """With our marker, if there is one."""
    created_at: datetime
    updated_at: datetime
    url: str

    @property
    def edited_at(self) -> datetime | None:
        """None as long as nobody has edited it; GitHub counts in whole seconds."""
        return self.updated_at if self.updated_at > self.created_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePull:
    """A pull request."""

    id: int
    number: int
    title: str
    body: str
    is_open: bool
    is_merged: bool
    is_draft: bool
    author: str
    head_branch: str
    head_sha: str
    head_scope: str
    """`owner/name` that the head branch is in; empty when that repository is gone."""
    base_branch: str
    base_scope: str
    created_at: datetime
    updated_at: datetime
    url: str
    us: str

    @property
    def key(self) -> str:
        """Its key within its repository."""
        return str(self.number)

    @property
    def is_from_fork(self) -> bool:
        """Whether its branch is in another repository, where anybody may push."""
        return self.head_scope.casefold() != self.base_scope.casefold()

    @property
    def is_ours(self) -> bool:
        """Opened by us, from a branch of the repository itself."""
        return parts.is_same_login(self.author, self.us) and not self.is_from_fork


def raw(thing: GithubObject) -> dict[str, Any]:
    """The answer that a PyGithub object was made of; the plain property of completable objects would ask again."""
    data = GithubObject.raw_data.__get__(thing)
    return data if isinstance(data, dict) else {}


def issue(data: Mapping[str, Any], *, us: str) -> RemoteIssue:
    """An issue, or a pull request in its form.

    Args:
        us: Our login.

    Raises:
        UnavailableError: This is no issue.
    """
    is_open = data.get("state") != "closed"
    updated_at = parts.moment(data, "updated_at")
    return RemoteIssue(
        id=parts.number(data, "id"),
        number=parts.number(data, "number"),
        scope=parts.scope_of(parts.text(data.get("repository_url"), longest=_URL_MAX_CHARS)),
        title=parts.title(data.get("title")),
        body=parts.text(data.get("body")),
        is_open=is_open,
        # Closed before GitHub knew reasons: its pages show those as completed.
        close_reason=None if is_open else _REASONS.get(str(data.get("state_reason")), CloseReason.COMPLETED),
        author=parts.login(data.get("user")),
        author_is_bot=parts.is_bot(data.get("user")),
        label_names=parts.label_names(data.get("labels")),
        assignees=parts.unique(parts.login(person) for person in parts.items(data.get("assignees"))),
        created_at=parts.moment(data, "created_at"),
        updated_at=updated_at,
        closed_at=None if is_open else parts.optional_moment(data.get("closed_at")) or updated_at,
        url=parts.text(data.get("html_url"), longest=_URL_MAX_CHARS),
        is_pull=isinstance(data.get("pull_request"), dict),
        parent=parts.parent(parts.text(data.get("parent_issue_url"), longest=_URL_MAX_CHARS)),
        children_total=parts.count(data.get("sub_issues_summary"), "total"),
        blockers_total=parts.count(data.get("issue_dependencies_summary"), "total_blocked_by"),
        comments_total=parts.count(data, "comments"),
        us=us,
    )


def comment(data: Mapping[str, Any], *, us: str) -> RemoteComment:
    """A comment.

    Raises:
        UnavailableError: This is no comment.
    """
    author = parts.login(data.get("user"))
    tail = parts.text(data.get("issue_url"), longest=_URL_MAX_CHARS).rpartition("/")[2]
    return RemoteComment(
        id=parts.number(data, "id"),
        number=int(tail) if limits.is_number(tail) else 0,
        author=author,
        author_is_bot=parts.is_bot(data.get("user")),
        is_ours=parts.is_same_login(author, us),
        body=parts.text(data.get("body")),
        created_at=parts.moment(data, "created_at"),
        updated_at=parts.moment(data, "updated_at"),
        url=parts.text(data.get("html_url"), longest=_URL_MAX_CHARS),
    )


def pull(data: Mapping[str, Any], *, us: str) -> RemotePull:
    """A pull request, as listed or as read by its number.

    Raises:
        UnavailableError: This is no pull request.
    """
    head, base = parts.item(data.get("head")), parts.item(data.get("base"))
    return RemotePull(
        id=parts.number(data, "id"),
        number=parts.number(data, "number"),
        title=parts.title(data.get("title")),
        body=parts.text(data.get("body")),
        is_open=data.get("state") != "closed",
        # Listings tell the time only.
        is_merged=bool(data.get("merged") or data.get("merged_at")),
        is_draft=bool(data.get("draft")),
        author=parts.login(data.get("user")),
        head_branch=parts.text(head.get("ref"), longest=_BRANCH_MAX_CHARS),
        head_sha=parts.text(head.get("sha"), longest=64),
        head_scope=parts.text(parts.item(head.get("repo")).get("full_name"), longest=limits.NAME_MAX_CHARS),
        base_branch=parts.text(base.get("ref"), longest=_BRANCH_MAX_CHARS),
        base_scope=parts.text(parts.item(base.get("repo")).get("full_name"), longest=limits.NAME_MAX_CHARS),
        created_at=parts.moment(data, "created_at"),
        updated_at=parts.moment(data, "updated_at"),
        url=parts.text(data.get("html_url"), longest=_URL_MAX_CHARS),
        us=us,
    )


def view(remote: RemoteIssue, *, ref: Ref, body: str, trust: Trust = Trust.NONE) -> IssueView:
    """The issue as every tracker shows it; `body` without our line."""
    shown = remote.agent_state
    return IssueView(
        ref=ref,
        title=remote.title,
        body=body,
        is_open=remote.is_open,
        close_reason=remote.close_reason,
        author=remote.author,
        labels=tuple(sorted([*remote.plain_labels, *labels.of_state(shown)])),
        assignees=tuple(sorted(remote.assignees)),
        agent_state=shown,
        created_at=remote.created_at,
        updated_at=remote.updated_at,
        url=remote.url,
        author_trust=trust,
    )
