"""What the fake GitHub remembers. People are held by id, so that renaming one changes nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tracker.fake_github.errors import Json

LEVELS = ("none", "read", "triage", "write", "maintain", "admin")
"""What a person may do in a repository, weakest first: GitHub's `role_name`."""


@dataclass(slots=True, kw_only=True)
class User:
    """A person, a bot or an organization."""

    id: int
    login: str
    type: str
    """`User`, `Bot` or `Organization`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A registered GitHub App."""

    id: int
    slug: str
    private_key_pem: str = field(repr=False)
    public_key_pem: str = field(repr=False)
    bot_login: str
    bot_id: int
    owner_id: int
    permissions: dict[str, str]
    """`read` or `write` by permission name, such as `issues`."""
    created_at: str


@dataclass(slots=True, kw_only=True)
class Installation:
    """An App installed on an account."""

    id: int
    app_id: int
    account_id: int
    repository_ids: list[int] | None
    """None: all repositories of the account, also later ones."""
    permissions: dict[str, str]
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationToken:
    """What an installation token may do, and until when."""

    installation_id: int
    permissions: dict[str, str]
    repository_ids: frozenset[int] | None
    expires_at: str


@dataclass(slots=True, kw_only=True)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(slots=True, kw_only=True)
class Reaction:
    """One person's reaction of one kind to an issue or comment."""

    id: int
    user_id: int
    content: str
    created_at: str


@dataclass(slots=True, kw_only=True)
class Comment:
    """A comment on an issue or pull request."""

    id: int
    issue: int
    user_id: int
    body: str
    created_at: str
    updated_at: str
    reactions: list[Reaction] = field(default_factory=list)
    pinned_at: str | None = None
    pinned_by: int | None = None
    minimized: str | None = None
    """The reason why it is hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEvent:
    """One entry of an issue's timeline, comments excepted."""

    id: int
    event: str
    actor_id: int
    created_at: str
    details: Json = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Review:
    """A submitted review."""

    id: int
    user_id: int
    state: str
    """`APPROVED`, `CHANGES_REQUESTED`, `COMMENTED` or `DISMISSED`."""
    body: str
    commit_id: str
    submitted_at: str


@dataclass(slots=True, kw_only=True)
class ReviewComment:
    """A comment on a line of a pull request."""

    id: int
    user_id: int
    review_id: int | None
    body: str
    path: str
    line: int | None
    side: str
    commit_id: str
    in_reply_to: int | None
    created_at: str
    updated_at: str
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Pull:
    """What makes an issue a pull request."""

    id: int
    head: str
    base: str
    head_sha: str
    """The head's commit; follows the branch while the pull request is open."""
    base_sha: str
    draft: bool
    fork_owner_id: int | None = None
    """Whose fork the head is in; None: the repository itself. The branch is looked up in the repository all the same."""
    merged_at: str | None = None
    merged_by: int | None = None
    merge_commit_sha: str | None = None
    reviews: list[Review] = field(default_factory=list)
    review_comments: list[ReviewComment] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Issue:
    """An issue, or a pull request seen as one."""

    id: int
    number: int
    repository_id: int
    title: str
    body: str | None
    user_id: int
    created_at: str
    updated_at: str
    state: str = "open"
    state_reason: str | None = None
    closed_at: str | None = None
    closed_by: int | None = None
    labels: list[int] = field(default_factory=list)
    assignees: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    """Issue ids in their order."""
    parent: int | None = None
    blocked_by: list[int] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    timeline: list[TimelineEvent] = field(default_factory=list)
    body_edited_at: str | None = None
    body_edited_by: int | None = None
    pull: Pull | None = None


@dataclass(slots=True, kw_only=True)
class Status:
    """A commit status."""

    id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    user_id: int
    created_at: str


@dataclass(slots=True, kw_only=True)
class CheckRun:
    """A check run; its suite is named by App and commit."""

    id: int
    suite_id: int
    sha: str
    name: str
    status: str
    conclusion: str | None
    output: Json
    details_url: str | None
    external_id: str
    app_id: int
    started_at: str
    completed_at: str | None


@dataclass(slots=True, kw_only=True)
class Repository:
    """A repository with everything in it."""

    id: int
    owner_id: int
    name: str
    private: bool
    default_branch: str
    git_dir: Path | None
    created_at: str
    permissions: dict[int, str] = field(default_factory=dict)
    """Level by user id."""
    labels: dict[int, Label] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    """By number, pull requests among them."""
    comments: dict[int, Comment] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    check_runs: dict[int, CheckRun] = field(default_factory=dict)
    last_number: int = 0
    deleted: set[int] = field(default_factory=set)
    """Numbers of deleted issues: asking for them answers 410."""
    has_issues: bool = True
    archived: bool = False
    pushed_at: str = ""

    def label(self, name: str) -> Label | None:
        """The label of that name, whatever its case."""
        return next((label for label in self.labels.values() if label.name.casefold() == name.casefold()), None)


@dataclass(slots=True, kw_only=True)
class State:
    """Everything that a read can see."""

    users: dict[int, User] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    repositories: dict[int, Repository] = field(default_factory=dict)
