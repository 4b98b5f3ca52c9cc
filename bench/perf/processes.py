"""Processes of a benchmark: started with an environment of their own, ended with everything below them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from django.conf import settings

from bench.perf.figures import PerfError

ROOT: Path = settings.BASE_DIR
_PASSED_ON = ("LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""Of the operator's environment; nothing else may change what is measured, or reach the operator's data."""
_TAIL_CHARS = 3000
_KILL_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

type Process = subprocess.Popen[bytes]


def base_environment(home: Path) -> dict[str, str]:
    """What any of our programs needs, and no variable of the operator's that could lead to their data."""
    path = (Path(sys.executable).parent, Path(settings.GIT).parent)
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**inherited, "PATH": os.pathsep.join([*map(str, path), os.defpath]), "HOME": str(home)}


def own_environment() -> dict[str, str]:
    """What this process was told; inside an installation that is all it needs, and nothing of the operator's."""
    return dict(os.environ)


def spawn(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Process:
    """Start a process in a session of its own, so that Ctrl-C does not reach it; it is told to end if we die."""
    parent = os.getpid()

    def end_with_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the call above
                os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: Path = ROOT,
    given: str | None = None,
) -> str:
    """Run a command to its end and return its standard output; `given` is what it reads on standard input.

    Raises:
        PerfError: It failed or took longer than `seconds`; the message has its last lines.
    """
    name = f"`{Path(command[0]).name} {' '.join(command[1:4])}`"
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        output, errors = child.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise PerfError(f"{name} took longer than {seconds:.0f} s") from error
    finally:
        if child.poll() is None:  # also after Ctrl-C
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    if child.returncode:
        tail = (errors or output).strip()[-_TAIL_CHARS:]
        last = tail.rpartition("\n")[2]  # of a traceback it is the line that says what happened
        raise PerfError(f"{name} ended with {child.returncode}: {last}\n{tail}")
    return output


def stop(started: Sequence[Process], *, seconds: float) -> None:
    """Ask processes to end, all at once; what is left of them after `seconds` is killed."""
    for process in started:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + seconds
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # a pool's processes are in its group
        process.wait()


def kill_all_naming(folder: Path) -> int:
    """Kill every process whose command line names a folder, with all below it, until none is left.

    Agents and their shims are found below the nursery, whose command line names the host's directory.

    Returns:
        How many there were.

    Raises:
        PerfError: Some would not die.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _KILL_SECONDS
    while found := list(_naming(folder)):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
                killed.add(process.pid)
        if time.monotonic() > deadline:
            raise PerfError(f"processes survive SIGKILL: {[process.pid for process in found]}; end them by hand")
        time.sleep(0.02)
    return len(killed)


def _naming(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in part for part in process.cmdline()):
                yield from (child for child in process.children(recursive=True) if _is_alive(child))
                if _is_alive(process):
                    yield process


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
