"""A whole agent-grid for one benchmark: private state folder, database and broker, real workers.

Everything is told to the processes by their environment, so a benchmark never comes near the operator's database. When
the block ends, also by Ctrl-C, nothing of it is left.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings

from bench.perf import processes, servers
from bench.perf.catalogue import Benchmark
from bench.perf.figures import Figure, PerfError
from bench.perf.processes import Process

_PREPARE_SECONDS = 240.0
_SQLITE = "agentgrid.sqlite3"
"""In the state folder, unless DATABASE_URL is given."""
_DRAIN_SECONDS = 3
_LOG_CHARS = 2000
_SILENCE = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@contextlib.contextmanager
def empty_database(place: Path | None) -> Iterator[Path]:
    """Where the first installation of a run that uses SQLite leaves its empty tables, and the others take them from.

    Making them takes longer than many a benchmark.
    """
    with _private_folder(place) as folder:
        yield folder / _SQLITE


def measure(
    benchmark: Benchmark, *, params: Mapping[str, int | str], database: str, tables: Path, place: Path | None = None
) -> list[Figure]:
    """Carry out one benchmark on an installation of its own.

    Args:
        benchmark: What to measure.
        params: Numbers of samples, agents or rows.
        database: `sqlite` or `postgres`, where the benchmark does not care.
        tables: Of `empty_database`.
        place: Directory for the private folder; None means the system's temporary one.

    Raises:
        SkippedError: Something it needs is not installed.
        PerfError: It failed.
    """
    with contextlib.ExitStack() as stack:
        chosen = benchmark.database or database
        database_url = stack.enter_context(servers.postgres(place)) if chosen == "postgres" else ""
        broker_url = stack.enter_context(servers.sqs()) if benchmark.broker == "sqs" else ""
        folder = stack.enter_context(_private_folder(place))
        environment = _environment(folder, benchmark, database_url=database_url, broker_url=broker_url)
        _prepare(environment, database=None if database_url else folder / "state" / _SQLITE, tables=tables)
        started = stack.enter_context(_workers(benchmark, folder, environment))
        given = {**params, "name": benchmark.name, "pids": {name: process.pid for name, process in started.items()}}
        command = [sys.executable, "-m", "bench.perf", benchmark.module, json.dumps(given)]
        try:
            output = processes.run(command, environment=environment, seconds=benchmark.seconds)
        except PerfError as error:
            raise PerfError(f"{error}{_logs(folder)}") from error
        figures = [Figure.from_json(json.loads(line)) for line in output.splitlines() if line.startswith("{")]
    if tuple(figure.name for figure in figures) != benchmark.figures:
        raise PerfError(f"{benchmark.name} gave {[figure.name for figure in figures]}, not {benchmark.figures}")
    return figures


@contextlib.contextmanager
def _private_folder(place: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ag-perf-", dir=place))
    try:
        yield folder
    finally:
        with _undisturbed():
            try:
                processes.kill_all_naming(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _workers(benchmark: Benchmark, folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, Process]]:
    started: dict[str, Process] = {}
    try:
        for name in benchmark.workers:
            command, extra = _worker(name, broker=benchmark.broker)
            log = folder / f"{name}.log"
            started[name] = processes.spawn(command, environment={**environment, **extra}, log=log)
        yield started
    finally:
        with _undisturbed():
            # The host must be asked before its agents are killed: they are below the nursery, not below the worker.
            processes.stop(list(started.values()), seconds=_DRAIN_SECONDS + 5)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Cleaning up takes seconds and is not interrupted: a second Ctrl-C would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(name: str, *, broker: str) -> tuple[list[str], dict[str, str]]:
    """Command and further environment of one worker, as `up` and the Procfile start it."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "agentgrid"]
    if name == "beat":
        return [*celery, "beat", "--pidfile="], {}
    # Only workers of a benchmark know the task that does nothing.
    command = [*celery, "worker", "-I", "bench.tasks", "-n", f"{name}@%h", "-Q", name, *_SILENCE]
    if broker == "filesystem":
        return [*command, "-P", "threads", "-c", "4"], {}
    return [*command, "-P", "prefork", "-c", "2"], {"REMAP_SIGTERM": "SIGQUIT"}


def _environment(folder: Path, benchmark: Benchmark, *, database_url: str, broker_url: str) -> dict[str, str]:
    many = str(max(1000, *(number for number in benchmark.full.values() if isinstance(number, int))))
    environment = processes.base_environment(folder) | {
        "DJANGO_SETTINGS_MODULE": "agentgrid.settings",
        "AGENTGRID_READ_DOTENV": "False",
        "AGENTGRID_STATE_DIR": str(folder / "state"),
        "AGENTGRID_SLOTS": str(benchmark.slots),
        "AGENTGRID_DRAIN_SECONDS": str(_DRAIN_SECONDS),
        "AGENTGRID_AGENT_PATH": settings.GRID_AGENT_PATH,
        # What a sandbox adds is in docs/sandboxes.md; here figures of machines with and without one can be compared.
        "AGENTGRID_SANDBOX": "process",
        # What is measured is the machinery, not the caps.
        "AGENTGRID_MAX_LIVE": many,
        "AGENTGRID_MAX_LIVE_PER_REPOSITORY": many,
        "AGENTGRID_MAX_CHILDREN": many,
        "AGENTGRID_MAX_OPEN_DESCENDANTS": many,
        "LOG_LEVEL": "WARNING",
    }
    if database_url:
        environment |= {"DATABASE_URL": database_url, "DATABASE_PREPARED_STATEMENTS": "True"}  # no pooler is in between
    if broker_url:
        environment |= {
            "BROKER_URL": broker_url,
            "SQS_IS_SECURE": "False",
            "SQS_QUEUE_PREFIX": f"perf-{uuid4().hex[:8]}-",
        }
    return environment


def _prepare(environment: Mapping[str, str], *, database: Path | None, tables: Path) -> None:
    """Make tables and queues.

    Args:
        environment: Of the installation.
        database: Its file; None on PostgreSQL.
        tables: See `empty_database`.
    """
    if database is not None and tables.exists():
        database.parent.mkdir(parents=True)
        shutil.copy(tables, database)
    command = [sys.executable, "-m", "bench.perf", "preparing", "{}"]
    processes.run(command, environment=environment, seconds=_PREPARE_SECONDS)
    if database is not None and not tables.exists():
        shutil.copy(database, tables)


def _logs(folder: Path) -> str:
    """The last lines of each worker, for the error of a benchmark that failed."""
    tails: dict[str, Any] = {log.stem: log.read_text(errors="replace")[-_LOG_CHARS:] for log in folder.glob("*.log")}
    return "".join(f"\n--- {name}\n{tail.strip()}" for name, tail in sorted(tails.items()) if tail.strip())
