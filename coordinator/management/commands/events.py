from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandParser
from rich.text import Text

from coordinator import public_api
from coordinator.management import follow, following
from coordinator.management.base import NOT_OK, OK, GridCommand, add_issue, text
from coordinator.management.output import cell, table
from coordinator.public_errors import InvalidInputError
from grid import public_events as grid_events
from grid.public_events import Problem

_SHOWN = 100
"""Problems or differences; a broken file may have millions."""


class Command(GridCommand):
    help = "The event log: export it, look for what is wrong with it, build the state from it, follow it."
    examples = """
    manage.py events export 12 -o tree.jsonl            the log of the tree of issue 12
    manage.py events export --all > everything.jsonl    of everything
    manage.py events verify tree.jsonl                  torn, gaps, doubles, unknown or broken events, with their lines
    manage.py events verify --database                  the same for the log in the database
    manage.py events replay all.jsonl --into sqlite:////tmp/again.sqlite3 --check
    manage.py events follow 12 --kinds lock.,thread.    as it grows
    manage.py events kinds                              what can happen, and what each event says
    """
    not_ok = "something is wrong with the log, or its replay is not our state"

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="export|verify|replay|follow|kinds")
        export = _act(acts, "export", "write the log of a tree, or of everything, as JSON lines")
        add_issue(export, optional=True)
        export.add_argument("--all", action="store_true", help="the log of everything")
        export.add_argument("-o", "--output", metavar="FILE", type=text(4000), help="where to; else standard output")
        verify = _act(acts, "verify", "say everything that is wrong with exported files, or with the database's log")
        verify.add_argument("files", metavar="FILE", nargs="*", type=text(4000), help="as exported")
        verify.add_argument("--database", action="store_true", help="the log in the database")
        replay = _act(acts, "replay", "build the state tables from exported files in an empty, migrated database")
        replay.add_argument("files", metavar="FILE", nargs="+", type=text(4000), help="of all trees, or one for each")
        replay.add_argument("--into", metavar="DATABASE_URL", required=True, type=text(4000), help="the empty database")
        replay.add_argument("--check", action="store_true", help="compare it with our own database")
        following.add_arguments(_act(acts, "follow", "print events as they come"))
        kinds = _act(acts, "kinds", "the catalogue of events")
        kinds.add_argument("--markdown", action="store_true", help="as the table in docs/events.md")

    def answer(self, options: dict[str, Any]) -> int:
        acts: Mapping[str, Callable[[dict[str, Any]], int]] = {
            "export": self._export,
            "verify": self._verify,
            "replay": self._replay,
            "follow": lambda given: following.answer(self.out, self.stderr, given),
            "kinds": self._kinds,
        }
        return acts[options["act"]](options)

    def _export(self, options: dict[str, Any]) -> int:
        if bool(options["issue"]) == options["all"]:
            raise InvalidInputError("say which log: of an ISSUE's tree, or --all")
        root = follow.root_key(public_api.find_agent(options["issue"])) if options["issue"] else ""
        if options["output"] is None:
            _write_to(getattr(self.out.stream, "buffer", None) or _Decoded(self.out.stream), root)
            return OK
        target = Path(options["output"])
        count = _written_whole(target, root)
        self.out.document({"file": str(target), "lines": count})
        self.out.line(cell(f"{count} lines in {target}", "green"))
        return OK

    def _verify(self, options: dict[str, Any]) -> int:
        if bool(options["files"]) == options["database"]:
            raise InvalidInputError("say what to look at: one FILE or more, or --database")
        found: list[tuple[str, Problem]] = []
        if options["database"]:
            problems = list(islice(grid_events.verify_database(), _SHOWN))
            problems += (
                [
                    Problem(0, "gap", f"{name} has {rows} rows, its last number is {last}")
                    for name, rows, last in grid_events.streams_with_gaps()
                ]
                if not problems
                else []
            )
            found = [("the database", problem) for problem in problems]
        for name in options["files"]:
            with _opened(Path(name)) as file:
                found += [(name, problem) for problem in islice(grid_events.verify(file), _SHOWN)]
        self.out.document(
            {
                "ok": not found,
                "problems": [
                    {"file": name, "line": problem.line, "code": problem.code, "text": problem.text}
                    for name, problem in found
                ],
            }
        )
        for name, problem in found:
            self.out.line(
                cell(f"{name}, line {problem.line}: " if problem.line else f"{name}: "), cell(problem.text, "red")
            )
        if not found:
            self.out.line(cell("nothing is wrong with it", "green"))
        return NOT_OK if found else OK

    def _replay(self, options: dict[str, Any]) -> int:
        files = [Path(name) for name in options["files"]]
        differences: list[str] = []
        with grid_events.opened(options["into"]) as alias:
            rows = grid_events.replay(files, into=alias)
            if options["check"]:
                differences = [str(one) for one in islice(grid_events.compare(alias), _SHOWN)]
        self.out.document({"rows": rows, "checked": options["check"], "differences": differences})
        counted: list[Text] = table(
            [(name, str(count)) for name, count in rows.items() if count], headers=("table", "rows")
        )
        self.out.lines(counted)
        for difference in differences:
            self.out.line(cell(difference, "red"))
        if options["check"] and not differences:
            self.out.line(cell("it is our state, row for row", "green"))
        return NOT_OK if differences else OK

    def _kinds(self, options: dict[str, Any]) -> int:
        if options["markdown"]:
            self.out.stream.write("".join(f"{line}\n" for line in grid_events.as_markdown()))
            return OK
        kinds = sorted(grid_events.KINDS.values(), key=lambda kind: kind.name)
        self.out.document(
            {
                "kinds": [
                    {
                        "name": kind.name,
                        "v": kind.v,
                        "stream": kind.stream,
                        "meaning": kind.meaning,
                        "tables": list(kind.tables),
                        "schema": kind.schema.model_json_schema(),
                    }
                    for kind in kinds
                ]
            }
        )
        self.out.lines(
            table([(kind.name, kind.stream, kind.meaning) for kind in kinds], headers=("kind", "stream", "meaning"))
        )
        return OK


class _Decoded:
    """Takes bytes for a stream of text."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        self._stream.write(line.decode())


def _act(acts: Any, name: str, words: str) -> CommandParser:
    parser: CommandParser = acts.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON for programs")
    return parser


def _write_to(stream: Any, root: str) -> int:
    count = 0
    for line in grid_events.export(root):
        stream.write(line)
        count += 1
    return count


def _written_whole(target: Path, root: str) -> int:
    """Write a file that is there whole or not at all; prompts are in it, so that it is its owner's alone."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            count = _write_to(file, root)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    except OSError as error:
        raise InvalidInputError(f"{target} cannot be written: {error.strerror}") from error
    finally:  # after a Ctrl-C, or without the database, too
        with contextlib.suppress(OSError):
            scratch.unlink()
    return count


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
