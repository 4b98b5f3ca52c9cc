"""The state of the fake with its lock, its clock and its look-ups; what every view works on."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

from tracker.fake_github.errors import Json, not_found
from tracker.fake_github.faults import Fault
from tracker.fake_github.hook_records import Hook, Outbound
from tracker.fake_github.records import LEVELS, InstallationToken, Issue, Repository, State, TimelineEvent, User

RATE_LIMIT = 5_000
RATE_WINDOW_SECONDS = 3_600


class Store:
    """State, lock, clock and look-ups. One lock guards everything; hold it with `writing` or `lock`."""

    def __init__(self, *, url: str, git_root: Path | None) -> None:
        self.url = url
        self.git_root = git_root
        self.lock = threading.RLock()
        self.state = State()
        self.tokens: dict[str, int] = {}
        """User id by personal token."""
        self.installation_tokens: dict[str, InstallationToken] = {}
        self.hooks: dict[int, Hook] = {}
        self.outbound = Outbound()
        self.faults: list[Fault] = []
        self.rate_limit = RATE_LIMIT
        self.token_lifetime_seconds = 3_600
        self.spent: dict[str, tuple[dt.datetime, int]] = {}
        """When the window ends and how much of it is used, by identity."""
        self.something_queued = threading.Event()
        # Far from any issue number, so that code which mixes up the two fails at once.
        self._ids = itertools.count(7_000_000_001, 37)
        self._ahead = dt.timedelta()
        self._previous: State | None = None
        self._writers = 0

    # -- clock and ids

    def now(self) -> dt.datetime:
        """The fake's time, UTC, whole seconds as in the API."""
        return (dt.datetime.now(dt.UTC) + self._ahead).replace(microsecond=0)

    def timestamp(self) -> str:
        """`now` as the API writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self, seconds: float) -> None:
        """Put the fake's clock forward: tokens expire, limits reset."""
        with self.lock:
            self._ahead += dt.timedelta(seconds=seconds)

    def new_id(self) -> int:
        """An id that no other thing has."""
        return next(self._ids)

    # -- writes and stale reads

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock for one write; what was there before is kept while a stale read is planned."""
        with self.lock:
            planned = any(fault.kind == "stale" and fault.fired < fault.times for fault in self.faults)
            if self._writers == 0:
                self._previous = copy.deepcopy(self.state) if planned else None
            self._writers += 1
            try:
                yield
            finally:
                self._writers -= 1

    @contextlib.contextmanager
    def as_before_the_last_write(self) -> Iterator[None]:
        """Show the previous state inside; the lock is held."""
        with self.lock:
            current = self.state
            self.state = self._previous or current
            try:
                yield
            finally:
                self.state = current

    # -- look-ups; all raise ApiError(404) when there is nothing

    def user(self, login: str) -> User:
        """The user of that login, whatever its case."""
        wanted = login.casefold()
        for user in self.state.users.values():
            if user.login.casefold() == wanted:
                return user
        raise not_found()

    def has_user(self, login: str) -> bool:
        """Whether somebody has that login."""
        return any(user.login.casefold() == login.casefold() for user in self.state.users.values())

    def login(self, user_id: int) -> str:
        """The login that a user has now."""
        return self.state.users[user_id].login

    def repository(self, full_name: str) -> Repository:
        """The repository `owner/name`, whatever its case."""
        wanted = full_name.casefold()
        for repository in self.state.repositories.values():
            if self.full_name(repository).casefold() == wanted:
                return repository
        raise not_found()

    def full_name(self, repository: Repository) -> str:
        """`owner/name` as it is now."""
        return f"{self.login(repository.owner_id)}/{repository.name}"

    def issue_by_id(self, issue_id: int) -> Issue:
        """The issue with that database id, in any repository."""
        for repository in self.state.repositories.values():
            for issue in repository.issues.values():
                if issue.id == issue_id:
                    return issue
        raise not_found()

    def repository_of(self, issue: Issue) -> Repository:
        """Where an issue lives."""
        return self.state.repositories[issue.repository_id]

    def blocked_issues(self, issue: Issue) -> list[Issue]:
        """The issues that this one blocks."""
        return [
            other
            for repository in self.state.repositories.values()
            for other in repository.issues.values()
            if issue.id in other.blocked_by
        ]

    def level(self, repository: Repository, user_id: int) -> str:
        """What a person may do there: one of `LEVELS`."""
        if user_id == repository.owner_id:
            return "admin"
        return repository.permissions.get(user_id, "none" if repository.private else "read")

    def may(self, repository: Repository, user_id: int, level: str) -> bool:
        """Whether a person has at least that level."""
        return LEVELS.index(self.level(repository, user_id)) >= LEVELS.index(level)

    # -- small writes that many views need

    def touch(self, issue: Issue) -> None:
        """Mark an issue as changed now."""
        issue.updated_at = self.timestamp()

    def note(self, issue: Issue, event: str, actor_id: int, **details: object) -> None:
        """Append to an issue's timeline and mark it changed."""
        self.touch(issue)
        plain: Json = dict(details)
        entry = TimelineEvent(
            id=self.new_id(), event=event, actor_id=actor_id, created_at=issue.updated_at, details=plain
        )
        issue.timeline.append(entry)
