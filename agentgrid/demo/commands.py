"""`python -m agentgrid.demo.commands FD`: our commands for a demo, from one process that has loaded them all.

A demo runs a dozen commands, and each would take seconds to load. Every command is still a process of its own, forked for
it, with the demo's environment, arguments, streams and an exit code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

import django
from django.conf import settings
from django.core.management import execute_from_command_line, get_commands, load_command_class

from agentgrid.hardening import hide_memory
from agentgrid.supervisor import end_with_parent

MAX_BYTES = 60_000
"""Of one command, as JSON."""


def main(descriptor: int) -> None:
    """Serve until the demo closes its end: a command comes with the files for its output, its exit code goes back.

    Args:
        descriptor: Of a socket that keeps messages apart. Each is JSON, `{"args": […]}`, with up to two descriptors: for
            standard output, and for errors. What is not given is inherited.
    """
    hide_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends us, and for the command
    _load()
    with socket.socket(fileno=descriptor) as control:
        while True:
            data, streams, _, _ = socket.recv_fds(control, MAX_BYTES, 2)
            if not data:
                return
            request: dict[str, Any] = json.loads(data)
            parent = os.getpid()
            if not (pid := os.fork()):
                end_with_parent(parent)
                control.close()
                _run(["manage.py", *request["args"]], streams)
            for stream in streams:
                os.close(stream)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(OSError):  # nobody waits any more
                control.send(str(code).encode())


def _load() -> None:
    django.setup()
    importlib.import_module(settings.ROOT_URLCONF)  # the checks before a command would
    for command, app in get_commands().items():
        if app in ("agentgrid", "coordinator"):
            load_command_class(app, command)


def _run(argv: list[str], streams: list[int]) -> NoReturn:
    """Be that command, and end without taking every module apart."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    # New objects: those from before the fork remember what their files could do, such as seek.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    code = 1
    try:
        execute_from_command_line(argv)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for file in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                file.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
