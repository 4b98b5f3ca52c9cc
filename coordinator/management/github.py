"""What the commands about GitHub share."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from django.core.management.base import CommandParser
from django.utils import timezone
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from coordinator.management.base import text
from coordinator.management.output import Output, cell
from coordinator.public_errors import InvalidInputError
from tracker import public_api as tracker
from tracker.public_errors import RateLimitedError
from tracker.public_types import RepositoryView

_SOON = timedelta(seconds=2)


def add_repository_argument(parser: CommandParser, *, optional: bool = False) -> None:
    """The argument OWNER/REPO."""
    parser.add_argument(
        "repository",
        metavar="OWNER/REPO",
        nargs="?" if optional else None,
        type=text(200),
        help="a repository on GitHub" + (" (all under care)" if optional else ""),
    )


def under_care() -> list[RepositoryView]:
    """Active repositories on GitHub by name."""
    return [row for row in tracker.list_repositories() if row.tracker == "github"]


def repository(scope: str) -> RepositoryView:
    """The repository under care with this name.

    Raises:
        InvalidInputError: There is none; the message lists those there are.
    """
    known = under_care()
    for row in known:
        if row.scope.casefold() == scope.casefold():
            return row
    names = ", ".join(row.scope for row in known[:10]) or "none yet"
    raise InvalidInputError(
        f"{scope[:200]!r} is not under care (known: {names}); take it on: manage.py github add OWNER/REPO"
    )


def patiently[T](out: Output, act: Callable[[], T]) -> T:
    """Do it; where GitHub says wait, wait and do it again. Ctrl-C ends the waiting."""
    while True:
        try:
            return act()
        except RateLimitedError as error:
            out.line(cell(f"GitHub's quota is used up; goes on at {error.retry_at:%H:%M:%S} UTC", "yellow"))
            time.sleep(max(1.0, (error.retry_at + _SOON - timezone.now()).total_seconds()))


class Bar:
    """A progress bar on a terminal, a line for each phase elsewhere; nothing with --json."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._phase = ""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=out.console, transient=True, disable=not out.is_animated)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, phase: str, done: int, total: int | None = None) -> None:
        """How far it has come."""
        self._progress.update(self._task, description=phase, completed=done, total=max(done, total) if total else None)
        if phase != self._phase and not self._out.is_animated:
            self._out.line(cell(f"reading {phase}", "dim"))
        self._phase = phase
