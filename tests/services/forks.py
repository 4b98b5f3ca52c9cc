"""Processes forked from this one, which act on one database at once and say what they found.

What takes seconds to load is loaded once, before the fork. Each child has a pipe for what its act returns: any JSON below
64 KB, which is what a pipe takes before anybody reads it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import DatabaseError, connections

from agentgrid.supervisor import ROOT

_MAX_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A child that is no more."""

    pid: int
    code: int
    """0: its act returned; negative: the signal that killed it."""
    said: Any
    """What its act returned; None when it did not come to that."""


class Forks:
    """The children of this process; it must have no others."""

    def __init__(self) -> None:
        self._pipes: dict[int, int] = {}

    def fork(self, act: Callable[[], object], *, gate: tuple[int, int] | None = None) -> int:
        """Begin to act in a new process, which opens connections of its own; returns its id.

        Args:
            gate: Both ends of a pipe; the child waits until all others have closed the end for writing.
        """
        connections.close_all()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            self._pipes[pid] = reader
            return pid
        code = 1
        try:
            if gate is not None:
                os.close(gate[1])
                os.read(gate[0], 1)
            os.write(writer, json.dumps(act()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def ends(self) -> Iterator[Ended]:
        """Each child as it ends, until none is left; others may be forked meanwhile."""
        while self._pipes:
            pid, status = os.wait()
            with os.fdopen(self._pipes.pop(pid)) as pipe:
                said = pipe.read()
            yield Ended(pid=pid, code=os.waitstatus_to_exitcode(status), said=json.loads(said) if said else None)


def all_at_once(count: int, act: Callable[[int], object]) -> list[Ended]:
    """Fork so many children, numbered from 0, that begin at one moment; returns when all have ended."""
    forks, gate = Forks(), os.pipe()
    for number in range(count):
        forks.fork(partial(act, number), gate=gate)
    os.close(gate[1])
    ended = list(forks.ends())
    os.close(gate[0])
    return ended


def report(ended: Iterable[Ended]) -> int:
    """Print what each child said, a line for each; returns the exit code: 0 when all did their work."""
    codes = []
    for child in ended:
        codes.append(child.code)
        if child.code == 0:
            print(json.dumps(child.said))
    return int(any(codes))


def run(module: str, *arguments: object, env: Mapping[str, str]) -> list[Any]:
    """Run such a module as a program of its own, and return what it printed: one JSON value from each line."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    quiet = {**env, "LOG_LEVEL": "CRITICAL", "BROKER_URL": "memory://"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, text=True, timeout=150, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def again_and_again(act: Callable[[], str], *, seconds: float, least: int) -> Counter[str]:
    """Act for so many seconds and at least so many times; returns how often each answer came.

    What the database refuses is counted as `database: …`. A busy machine may take longer, up to a minute: seconds in which
    nobody met anybody would prove nothing.
    """
    counts, began = Counter[str](), time.monotonic()
    while (passed := time.monotonic() - began) < seconds or (counts.total() < least and passed < _MAX_SECONDS):
        try:
            did = act()
        except DatabaseError as error:
            did = f"database: {str(error)[:80]}"
        counts[did] += 1
    return counts
