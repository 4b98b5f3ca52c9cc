from __future__ import annotations

import json
import os
import signal
import sys
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from bench.perf import installation
from bench.perf.catalogue import BENCHMARKS, Benchmark, select
from bench.perf.figures import Figure, PerfError, SkippedError

_EXAMPLES = """
examples:
  manage.py perf                                all figures, a few minutes
  manage.py perf dispatch.filesystem memory     these only; `resume` means all that begin with it
  manage.py perf --json | jq 'select(.met == false)'
  manage.py perf --folder /srv/agentgrid        on the disk that agents will work on
  manage.py perf --quick                        a few samples of each: shows that it works, the values mean little
Every benchmark has a private database, broker and state folder; yours are not touched. Ctrl-C leaves nothing behind.
exit codes: 0 measured, whatever the goals say; 1 a benchmark failed; 2 bad input; 130 interrupted by Ctrl-C
"""
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Measure agent-grid beside what the raw machine does in the same run."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        about = "\n".join(f"  {one.name:24}{one.what}" for one in BENCHMARKS)
        kwargs.update(epilog=f"benchmarks:\n{about}\n{_EXAMPLES}", formatter_class=RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all without one")
        parser.add_argument("--json", action="store_true", help="one JSON object per line and figure")
        parser.add_argument(
            "--database", choices=("sqlite", "postgres"), default="sqlite", help="below dispatch, throughput and memory"
        )
        parser.add_argument(
            "--folder",
            type=_directory,
            metavar="DIR",
            help="where to work, on the file system to be measured (default: the temporary folder)",
        )
        parser.add_argument("--quick", action="store_true", help="few samples: a trial run, not a measurement")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            chosen = select(options["names"])
        except PerfError as error:
            raise CommandError(str(error), returncode=2) from error
        colour = False if options["no_color"] else None
        console = Console(file=options.get("stdout") or sys.stdout, highlight=False, no_color=colour)
        figures: list[Figure] = []
        failures: list[str] = []
        try:
            with _terminated_like_ctrl_c(), installation.empty_database(options["folder"]) as tables:
                for benchmark in chosen:
                    figures += self._measure(benchmark, options, console, failures, tables)
        except KeyboardInterrupt:
            failures.append("interrupted; what was started is stopped and removed")
            raise SystemExit(INTERRUPTED) from None
        finally:
            if not options["json"] and figures:
                console.print(_table(figures))
            for failure in failures:
                self.stderr.write(failure)
        if failures:
            raise SystemExit(1)

    def _measure(
        self, benchmark: Benchmark, options: dict[str, Any], console: Console, failures: list[str], tables: Path
    ) -> list[Figure]:
        params = benchmark.quick if options["quick"] else benchmark.full
        load = os.getloadavg()[0]
        try:
            with _progress(console, benchmark, is_shown=not options["json"]):
                figures = installation.measure(
                    benchmark, params=params, database=options["database"], tables=tables, place=options["folder"]
                )
        except SkippedError as error:
            figures = _without_value(benchmark, f"skipped: {error}")
        except PerfError as error:
            failures.append(f"{benchmark.name}: {error}")
            figures = _without_value(benchmark, f"failed: {str(error).splitlines()[0][:200]}")
        if options["json"]:
            about = {"database": benchmark.database or options["database"], "quick": options["quick"]}
            machine = {"cores": len(os.sched_getaffinity(0)), "load_before": round(load, 2)}
            for figure in figures:
                self.stdout.write(json.dumps(figure.as_json() | about | machine))
            self.stdout.flush()
        return figures


def _directory(text: str) -> Path:
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"{text!r} is not a directory")
    return Path(text).resolve()


@contextmanager
def _progress(console: Console, benchmark: Benchmark, *, is_shown: bool) -> Iterator[None]:
    """Say what is being measured, where somebody watches."""
    if not is_shown:
        yield
    elif console.is_terminal:
        with console.status(f"{benchmark.name}: {benchmark.what}"):
            yield
    else:
        console.print(f"{benchmark.name}: {benchmark.what}", soft_wrap=True)
        yield


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, too, leaves nothing behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _without_value(benchmark: Benchmark, note: str) -> list[Figure]:
    return [Figure(name=name, unit=benchmark.unit, note=note) for name in benchmark.figures]


def _table(figures: list[Figure]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("figure", "value", "floor", "ratio", "goal", "unit", "met"):
        table.add_column(title, justify="right" if title in ("value", "floor", "ratio", "goal") else "left")
    for figure in figures:
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]
        numbers = [_number(each) for each in (figure.value, figure.floor, figure.ratio, figure.goal)]
        table.add_row(figure.name, *numbers, figure.unit, met + figure.note.replace("[", r"\["))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
