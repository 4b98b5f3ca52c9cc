"""Our programs as processes that need not load everything anew: each is forked from a Python that has.

Loading Celery, Django, their libraries and our modules takes two seconds of a core for each process, which a stack has
four of. A template of the whole test run has loaded the libraries; from it each stack forks one that has loaded Django
under the stack's own environment, and from that its workers and commands. They are processes with arguments, streams,
sessions and exit codes of their own; only `python -m` itself is left out, which tests of `up` and of the demo start.
"""

from __future__ import annotations

import atexit
import configparser
import contextlib
import ctypes
import functools
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import django
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.db import connections

from agentgrid.hardening import hide_memory
from agentgrid.supervisor import ROOT, end_with_parent

_REQUEST_MAX_BYTES = 150_000
"""Above that the kernel may refuse the message; ten times what any test says."""
_MAX_FDS = 16
_PR_SET_DUMPABLE = 4
_START_SECONDS = 60.0
"""On a machine that is busy with other things."""
LIBRARIES = (
    "boto3",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "celery.events.state",
    "celery.worker.consumer",
    "cron_descriptor",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "django.contrib.admin.templatetags.base",
    "django.contrib.postgres.fields",
    "django.core.handlers.asgi",
    "django.core.management.commands.check",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.forms",
    "django.template.defaulttags",
    "django.test",
    "django.views.debug",
    "environ",
    "genai_prices",
    "github",
    "httpx",
    "jinja2",
    "jinja2.sandbox",
    "kombu.transport.SQS",
    "kombu.transport.filesystem",
    "kombu.transport.redis",
    "packaging.specifiers",
    "psutil",
    "psycopg",
    "pydantic",
    "redis",
    "rich.console",
    "rich.live",
    "rich.table",
    "mcp.server.mcpserver",
    "starlette.applications",
    "rest_framework.serializers",
    "pygit2",
    "whitenoise.responders",
    "cryptography.fernet",
    "uvicorn",
    "uvicorn.protocols.http.h11_impl",
    "yaml",
)
"""What can be loaded before there are settings, besides our pure modules; forks load the rest themselves."""
AGENT = (
    "grid.agents.builtin.program",
    "grid.agents.builtin.providers.anthropic",
    "grid.agents.builtin.providers.ollama",
    "grid.agents.builtin.providers.openai",
    "pydantic_ai.models.fallback",
)
"""What the built-in agent loads, whichever model it is to use."""


@dataclass(slots=True)
class Forked:
    """A process of ours, with the part of `subprocess.Popen` that tests use."""

    pid: int
    answer: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        with contextlib.suppress(BlockingIOError):
            self._read(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. Raises subprocess.TimeoutExpired."""
        try:
            self._read(timeout)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(["forked"], timeout or 0.0) from None
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it this signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM, unless it is known to have ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, unless it is known to have ended."""
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout: float | None) -> None:
        if self.returncode is not None:
            return
        self.answer.settimeout(timeout)
        code = self.answer.recv(100)
        self.answer.close()
        # Its template ended first, which ends what it has forked, too.
        self.returncode = int(code) if code else -signal.SIGKILL


class Template:
    """The end of the tests: a Python that has loaded something, and forks on demand. Threads may share it."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, control: socket.socket) -> None:
        self._process, self._control = process, control

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
        pass_fds: Sequence[int] = (),
        folder: str | os.PathLike[str] = ROOT,
    ) -> Forked:
        """Fork a process that runs a module as `python -m` does, in a session of its own.

        Args:
            module: As after `-m`.
            environment: The whole of it.
            streams: For its input, output and errors.
            pass_fds: Further ones, which keep their numbers.
            folder: Where it works.
        """
        answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # two answers stay two
        with theirs:
            request = {"argv": [module, *arguments], "environment": dict(environment), "fds": list(pass_fds)}
            request["folder"] = os.fspath(folder)
            fds = [theirs.fileno(), *streams, *pass_fds]
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
        answer.settimeout(_START_SECONDS)
        pid = answer.recv(100)
        if not pid:
            answer.close()
            raise RuntimeError("what the tests' processes are forked from has ended; see what it printed")
        return Forked(pid=int(pid), answer=answer)

    def close(self) -> None:
        """End it; what it has forked gets SIGTERM."""
        self._control.close()  # it reads that nobody can ask any more
        self._process.wait(_START_SECONDS)


def with_django(environment: Mapping[str, str]) -> Template:
    """A template that has loaded Django and our modules under a stack's environment."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, open(os.devnull, "rb") as nothing:
        process = of_libraries(environment).start(
            "tests.services.loaded",
            "django",
            str(theirs.fileno()),
            environment=environment,
            streams=(nothing.fileno(), 1, 2),
            pass_fds=[theirs.fileno()],
        )
    return Template(process, control)


def of_libraries(environment: Mapping[str, str]) -> Template:
    """The test run's template that fits this environment."""
    return _of_libraries(environment.get("REMAP_SIGTERM", ""))  # billiard reads it once, when it is loaded


@functools.cache
def of_agent() -> Template:
    """A template of the test run that has loaded the built-in agent, with the clients of its providers."""
    return _template("agent", {})


@functools.cache
def _of_libraries(remap_sigterm: str) -> Template:
    return _template("libraries", {"REMAP_SIGTERM": remap_sigterm} if remap_sigterm else {})


def _template(kind: str, variables: Mapping[str, str]) -> Template:
    known = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.loaded", kind, str(theirs.fileno())],
            cwd=ROOT,
            env=known | dict(variables),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    template = Template(process, control)
    atexit.register(template.close)
    return template


# --- the template itself ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Server:
    """Forks for every request and tells how each fork has ended, until nobody can ask any more."""

    control: socket.socket
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    forks: dict[int, tuple[int, socket.socket]] = field(default_factory=dict)
    """By the number of a pidfd."""

    def serve(self) -> dict[str, Any]:
        """Return in each fork, with what it is to be; never in the process itself."""
        assert threading.active_count() == 1, "a fork has one thread"
        self.selector.register(self.control, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is not self.control:
                    self._ended(key.fd)
                    continue
                data, fds, _, _ = socket.recv_fds(self.control, _REQUEST_MAX_BYTES, _MAX_FDS)
                if not data:
                    self._end()
                request: dict[str, Any] = json.loads(data)
                if self._fork(request["fds"], fds):
                    return request

    def _fork(self, numbers: list[int], fds: list[int]) -> bool:
        answer, parent = socket.socket(fileno=fds[0]), os.getpid()
        pid = os.fork()
        if pid:
            for fd in fds[1:]:
                os.close(fd)
            pidfd = os.pidfd_open(pid)
            self.forks[pidfd] = (pid, answer)
            self.selector.register(pidfd, selectors.EVENT_READ)
            return False
        end_with_parent(parent)
        os.setsid()
        answer.send(str(os.getpid()).encode())  # only now can its group be killed
        self.selector.close()
        self.control.close()
        answer.close()
        for pidfd, (_, other) in self.forks.items():
            os.close(pidfd)
            other.close()
        _take(fds[1:], [0, 1, 2, *numbers])
        # The objects of the template remember what its own streams could do, such as seek.
        sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        return True

    def _ended(self, pidfd: int) -> None:
        pid, answer = self.forks.pop(pidfd)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with answer, contextlib.suppress(OSError):  # nobody waits any more
            answer.send(str(code).encode())

    def _end(self) -> NoReturn:
        for pid, _ in self.forks.values():
            os.kill(pid, signal.SIGTERM)
        os._exit(0)


def _take(given: list[int], numbers: list[int]) -> None:
    """Put descriptors that were received under the numbers that the program knows them by."""
    above = max([*given, *numbers]) + 1
    moved = [os.dup2(fd, above + place) for place, fd in enumerate(given)]
    for fd in given:
        os.close(fd)
    for fd, number in zip(moved, numbers, strict=True):
        os.dup2(fd, number)
        os.close(fd)


def _become(argv: list[str]) -> NoReturn:
    """Run a module as `python -m` would, and end without taking every module apart: that costs more than most commands."""
    sys.argv = argv
    try:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _load_all(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def _load_pure() -> None:
    """What of ours can be loaded before there are settings: what may not reach Django, by the walls that are checked."""
    walls = configparser.ConfigParser()
    walls.read(ROOT / ".importlinter")
    for name in walls["importlinter:contract:pure"]["source_modules"].split():
        module = importlib.import_module(name)
        inside = pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")
        _load_all([info.name for info in inside if not info.name.endswith(".__main__")])


def _load_django() -> None:
    hide_memory()
    django.setup()
    importlib.import_module(settings.ROOT_URLCONF)  # every command's checks would
    for command, app in get_commands().items():
        if app in ("agentgrid", "coordinator"):
            load_command_class(app, command)
    assert all(connection.connection is None for connection in connections.all()), "forks must not share connections"


def _show_memory() -> None:
    """As a new program's is, so that it is our programs which hide theirs."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _main(kind: str, fd: str) -> NoReturn:
    mine = dict(os.environ)
    if kind == "django":
        _load_django()
    elif kind == "agent":
        _load_all(AGENT)
    else:
        _load_all(LIBRARIES)
        _load_pure()
    request = _Server(socket.socket(fileno=int(fd))).serve()
    if kind == "django":
        _show_memory()
        assert mine == request["environment"], "it was loaded under another environment"
    else:
        os.environ.clear()
        os.environ.update(request["environment"])
    os.chdir(request["folder"])
    _become(request["argv"])


if __name__ == "__main__":
    _main(*sys.argv[1:])
