"""How a process becomes a shim: from a cold interpreter, or as a child of the nursery.

Start codes: 0 the agent runs, 70 the shim failed, 71 the agent could not be started, 73 the run directory was used before.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys

from grid.shim.reaper import ALL_SIGNALS, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, prctl
from grid.shim.shim import Shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

RUNNING, FAILED, NOT_STARTED, ALREADY_USED = 0, 70, 71, 73


def cold_start(path: str) -> NoReturn:
    """Run the spec in the file in the background; this process exits with the start code once it is known."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)  # until the shim listens to them
    os.closerange(3, 1 << 30)  # whatever the starter leaked
    with open(path, "rb") as file:
        spec = json.load(file)
    code_out = in_background()
    run_shim(spec, answer=lambda code: write_code(code_out, code))


def in_background() -> int:
    """Go on as a child; the parent waits for one byte, its exit code. Returns where the child writes it."""
    code_in, code_out = os.pipe()
    if os.fork():
        os.close(code_out)
        os._exit((os.read(code_in, 1) or bytes([FAILED]))[0])  # nothing: the child died
    os.close(code_in)
    return code_out


def write_code(code_out: int, code: int) -> None:
    """Let the waiting parent go."""
    os.write(code_out, bytes([code]))
    os.close(code_out)


def settle(directory: str, log: str) -> None:
    """Have a session and a directory of our own, and no stream in common with the starter.

    A starter that captures our output would otherwise wait for us.
    """
    os.setsid()
    os.chdir(directory)
    os.umask(0o077)
    log_fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    null_fd = os.open(os.devnull, os.O_RDWR)
    for fd, target in ((null_fd, 0), (null_fd, 1), (log_fd, 2)):
        os.dup2(fd, target)
    for fd in (log_fd, null_fd):
        if fd > 2:
            os.close(fd)


def run_shim(spec: Mapping[str, Any], *, answer: Callable[[int], None], keeper: int = 0) -> NoReturn:
    """Be the shim of one run to its end.

    Args:
        spec: See `grid.processes.ShimSpec`.
        answer: Called once, with the start code.
        keeper: Pid of the nursery that forked us, or 0.
    """
    settle(spec["run_dir"], "shim.log")
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)  # no ptrace, no /proc/PID/environ for others of our uid
    shim = Shim(spec, keeper)
    code = start(shim)
    answer(code)
    if code != RUNNING:
        os._exit(code)
    gc.freeze()
    try:
        shim.run()
    except BaseException as error:  # a fault of ours must leave nothing of the agent's
        fail(shim, error)
        os._exit(FAILED)
    os._exit(0)


def start(shim: Shim) -> int:
    """Start the agent; return the start code."""
    try:
        shim.start()
    except FileExistsError:
        return ALREADY_USED
    except OSError as error:
        shim.reason = shim.reason or "not_started"
        shim.sweep()  # nothing, unless the disk failed after the agent's birth
        shim.write_exit(error=str(error)[:500])
        return NOT_STARTED
    except BaseException as error:
        fail(shim, error)
        return FAILED
    return RUNNING


def fail(shim: Shim, error: BaseException) -> None:
    """Leave a traceback in the log, nothing of the agent, and an exit record if there is a spool."""
    sys.excepthook(type(error), error, error.__traceback__)  # as importing `traceback` would, 5 ms cheaper
    shim.reason = "shim_failed"
    shim.sweep()
    shim.write_exit(error=repr(error)[:500])
