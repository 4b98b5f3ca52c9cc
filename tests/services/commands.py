"""Management commands as processes that need not load Django: each is forked from one process that has.

Loading takes a second of a core, which tests that ask `tree` again and again would take from the workers they wait for.
A command has its own process, arguments, streams and exit code all the same; only `python manage.py` itself is left out.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from typing import NoReturn

import django
import psutil
from django.conf import settings
from django.core.management import execute_from_command_line, get_commands, load_command_class
from django.db import connections

from agentgrid.hardening import hide_memory
from agentgrid.supervisor import ROOT

_REQUEST_MAX_BYTES = 150_000
"""Above that the kernel may refuse the message; ten times what any test says."""


class Commands:
    """The end of the tests: a process with the environment of one stack, ready to be forked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.services.commands", str(theirs.fileno())],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def pids(self) -> set[int]:
        """This process and those that wait for commands, which may be about to end; the commands are not among them."""
        with contextlib.suppress(psutil.Error):
            mine = psutil.Process(self._process.pid)
            return {mine.pid, *(child.pid for child in mine.children())}
        return set()

    def run(self, *args: str, stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run one command; may be called by several threads.

        Raises:
            subprocess.TimeoutExpired: It was killed, `timeout` seconds after it started.
        """
        with contextlib.ExitStack() as stack:
            given, out, errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            given.write(stdin.encode())
            given.seek(0)
            answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # two answers stay two
            stack.enter_context(answer)
            with theirs:
                fds = [file.fileno() for file in (given, out, errors, theirs)]
                socket.send_fds(self._control, [json.dumps(args).encode()], fds)
            pid = int(answer.recv(100) or self._gone())
            answer.settimeout(timeout)
            try:
                code = int(answer.recv(100) or self._gone())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["manage.py", *args], timeout) from None
            printed = []
            for file in (out, errors):
                file.seek(0)
                printed.append(file.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess(["manage.py", *args], code, *printed)

    def _gone(self) -> NoReturn:
        raise RuntimeError("what commands are forked from, or who waits for this one, has ended; see what it printed")

    def close(self) -> None:
        """End the process; commands under way go on."""
        self._control.close()
        self._process.wait(10)  # it reads that nobody can ask any more


def _serve(control: socket.socket) -> list[str]:
    """Fork for every request until nobody can ask any more; the arguments of the command that a fork is to run."""
    while True:
        request, fds, _, _ = socket.recv_fds(control, _REQUEST_MAX_BYTES, 4)
        if not request:
            os._exit(0)
        keeper = os.fork()
        if not keeper:
            control.close()
            return _fork_command(json.loads(request), fds)
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _fork_command(args: list[str], fds: list[int]) -> list[str]:
    """Return in the command's own process; its parent stays here, and tells pid and exit code."""
    with socket.socket(fileno=fds.pop()) as answer:
        pid = os.fork()
        if pid:
            answer.send(str(pid).encode())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(OSError):  # nobody waits any more
                answer.send(str(code).encode())
            os._exit(0)
    for stream, fd in enumerate(fds):
        os.dup2(fd, stream)
        os.close(fd)
    return args


def _run(arguments: list[str]) -> NoReturn:
    """Run a command as `manage.py` would, and end without taking Django apart: that costs more than most commands."""
    sys.argv = ["manage.py", *arguments]
    try:
        execute_from_command_line(sys.argv)
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
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    hide_memory()
    django.setup()
    importlib.import_module(settings.ROOT_URLCONF)  # every command's checks would
    for command, app in get_commands().items():
        if app in ("agentgrid", "coordinator"):
            load_command_class(app, command)
    assert threading.active_count() == 1, "a fork has one thread"
    assert all(connection.connection is None for connection in connections.all()), "forks must not share connections"
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
