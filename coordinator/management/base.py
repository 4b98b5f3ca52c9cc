"""What all operators' commands share: parsing, exit codes, errors in words, a quiet end on Ctrl-C and in a closed pipe.

Exit codes: 0 ok; 1 what was asked about is not ok; 2 bad input, or nothing to ask (no database);
130 interrupted by Ctrl-C; 141 the reader of our output went away.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import sys
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from coordinator import public_api
from coordinator.documents import untrusted
from coordinator.management.output import Output
from coordinator.public_errors import (
    CoordinatorError,
    InvalidInputError,
    LimitExceededError,
    NotAllowedError,
)
from coordinator.public_types import AgentView, ScopeKind
from grid.public_errors import GridError
from tracker import public_api as tracker
from tracker.public_errors import TrackerError
from tracker.public_types import RepositoryView

OK, NOT_OK, BAD_INPUT, INTERRUPTED, NOBODY_READS = 0, 1, 2, 130, 141
_CODES = "exit codes: 0 ok, 1 {}, 2 bad input"


class GridCommand(BaseCommand):
    """A command that answers with an exit code; subclasses add `arguments` and `answer`."""

    requires_system_checks = ()  # they cost a second and say nothing about the question
    examples: ClassVar[str] = ""
    """One per line, with a word on what it does; shown by --help."""
    not_ok: ClassVar[str] = "it was refused"
    """What exit code 1 means here."""
    out: Output

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Show the examples and the exit codes below the options."""
        lines = "\n".join(f"  {line.strip()}" for line in self.examples.strip().splitlines())
        epilog = f"examples:\n{lines}\n\n{_CODES.format(self.not_ok)}"
        kwargs.update(epilog=epilog, formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """What every command takes."""
        self.arguments(parser)
        parser.add_argument("--json", action="store_true", help="JSON for programs instead of words for people")

    def arguments(self, parser: CommandParser) -> None:
        """What this command takes."""

    def answer(self, options: dict[str, Any]) -> int:
        """Do it and return the exit code."""
        raise SystemExit(f"{type(self).__module__} has no answer")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run `answer`; whatever goes wrong becomes one line and an exit code."""
        stream = options.get("stdout") or sys.stdout
        colour = True if options.get("force_color") else False if options.get("no_color") else None
        try:
            with _calm_logs(options.get("verbosity", 1)):
                self.out = Output(stream, as_json=options["json"], colour=colour)
                code = self.answer(options)
                stream.flush()
        except (NotAllowedError, LimitExceededError) as error:
            raise CommandError(_words(error), returncode=NOT_OK) from error
        except (CoordinatorError, GridError, TrackerError) as error:
            raise CommandError(_words(error), returncode=BAD_INPUT) from error
        except DatabaseError as error:
            fix = "run `manage.py migrate`, or check DATABASE_URL"
            raise CommandError(f"the database cannot be used: {_words(error)}; {fix}", returncode=BAD_INPUT) from error
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget(stream)
            raise SystemExit(NOBODY_READS) from None
        if code:
            raise SystemExit(code)


def actor() -> str:
    """Who acts, for the audit: `cli:<user>`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without a name
        name = f"uid-{os.getuid()}"
    return "cli:" + ("-".join(untrusted.one_line(name, 60).split()) or "nobody")


def add_issue(parser: CommandParser, *, optional: bool = False, more: str = "") -> None:
    """The argument ISSUE."""
    parser.add_argument(
        "issue",
        metavar="ISSUE",
        nargs="?" if optional else None,
        type=text(300),
        help=f"12, app#12, a place in the tree like 12.1, or the start of an execution's id{more}",
    )


def add_scope(parser: CommandParser, *, issue_help: str = "this agent alone, not its sub-issues") -> None:
    """The arguments that name a scope: exactly one of them."""
    scope = parser.add_mutually_exclusive_group(required=True)
    scope.add_argument("--fleet", action="store_true", help="everything")
    scope.add_argument(
        "--repo", metavar="REPO", type=text(4000), help="a repository: its path, or its name (local/app)"
    )
    scope.add_argument("--tree", metavar="ISSUE", type=text(300), help="an issue's whole tree")
    scope.add_argument("issue", nargs="?", metavar="ISSUE", type=text(300), help=issue_help)


def scope_of(options: dict[str, Any]) -> tuple[str, str, AgentView | None]:
    """The scope that the arguments of `add_scope` name: its key, its name for people, the agent it was found by."""
    if options["fleet"]:
        return public_api.scope_of(ScopeKind.FLEET), "the fleet", None
    if options["repo"]:
        found = repository(options["repo"])
        return public_api.scope_of(ScopeKind.REPOSITORY, repository_id=found.id), found.scope, None
    agent = public_api.find_agent(options["tree"] or options["issue"])
    if options["tree"]:
        return public_api.scope_of(ScopeKind.TREE, agent), f"the tree of {agent.issue}", agent
    return public_api.scope_of(ScopeKind.AGENT, agent), agent.issue, agent


def repository(name: str) -> RepositoryView:
    """The repository under care with this path or name. Raises InvalidInputError that lists those there are."""
    found = tracker.find_repository(name) or tracker.find_repository(str(Path(name).expanduser().resolve()))
    if found is None:
        known = ", ".join(row.scope for row in tracker.list_repositories()[:10]) or "none yet; `submit --repo` adds one"
        raise InvalidInputError(f"no repository {name!r} is under care; known: {known}")
    return found


def text(limit: int) -> Callable[[str], str]:
    """An argument of at most `limit` characters that any database takes."""

    def check(value: str) -> str:
        if len(value) > limit:
            raise ArgumentTypeError(f"{len(value)} characters; at most {limit} are accepted")
        if "\0" in value or (not value.isascii() and _has_surrogates(value)):
            raise ArgumentTypeError("is not UTF-8 text")
        return value

    return check


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument that is a whole number within bounds."""

    def check(value: str) -> int:
        number = int(value) if value.lstrip("-").isdecimal() and len(value) < 20 else None
        if number is None or not least <= number <= most:
            raise ArgumentTypeError(f"{value[:40]!r} is no whole number between {least} and {most}")
        return number

    return check


@contextlib.contextmanager
def _calm_logs(verbosity: int) -> Iterator[None]:
    """Keep the log's routine out of an operator's terminal; -v 2 shows it."""
    root = logging.getLogger()
    before = root.level
    if verbosity < 2:
        root.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        root.setLevel(before)


def _words(error: Exception) -> str:
    return untrusted.terminal(str(error)).strip()[:4000] or type(error).__name__


def _has_surrogates(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _forget(stream: Any) -> None:
    """Let the interpreter's last flush go nowhere, instead of complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
