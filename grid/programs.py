"""Short programs that are run for an operator and waited for: versions of CLIs, npm."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grid.public_errors import GridError

_KEPT = 20_000


class ProgramError(GridError):
    """The program cannot be started, or took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How it ended."""

    code: int
    """Its exit code, or the signal that ended it, negative."""
    output: str
    """The last 20,000 characters of what it printed, errors too."""


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float) -> Ran:
    """Run a program to its end, with no input and exactly this environment.

    Raises:
        ProgramError: It cannot be started, or had to be killed after `timeout` seconds.
    """
    try:
        started = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(f"cannot run {argv[0]}: {error.strerror}") from error
    with started:
        try:
            output, _ = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            os.killpg(started.pid, signal.SIGKILL)
            raise ProgramError(f"{argv[0]} did not end within {timeout:g} s") from error
    return Ran(code=started.returncode, output=output.decode("utf-8", "replace")[-_KEPT:])
