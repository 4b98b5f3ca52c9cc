"""What the raw machine does: clones of the benchmark's repository, with and without a command in each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.conf import settings

from bench.perf import fleet, processes


def clone_ms(folder: Path, repository: Path, *, count: int) -> list[float]:
    """Milliseconds of each of `count` runs of `git clone --shared`, one after the other.

    It tells what the file system is like: some get slower and slower under creation and deletion.
    """
    bare, clones = _prepare(folder, repository, name="clones")
    times = []
    for number in range(count):
        began = time.perf_counter()
        _clone(bare, clones / str(number))
        times.append((time.perf_counter() - began) * 1000)
    return times


def clones_per_second(folder: Path, repository: Path, *, command: Sequence[str], count: int, at_a_time: int) -> float:
    """Clones with a command run in each, per second."""
    bare, clones = _prepare(folder, repository, name="floor")

    def once(number: int) -> None:
        clone = clones / str(number)
        _clone(bare, clone)
        processes.run(command, environment=processes.base_environment(folder), seconds=60, folder=clone)

    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(once, range(-at_a_time, 0)))  # warm
        began = time.perf_counter()
        list(pool.map(once, range(count)))
        return count / (time.perf_counter() - began)


def _prepare(folder: Path, repository: Path, *, name: str) -> tuple[Path, Path]:
    bare, clones = folder / f"{name}.git", folder / name
    clones.mkdir()
    fleet.git("clone", "-q", "--bare", str(repository), str(bare), folder=folder)
    return bare, clones


def _clone(bare: Path, path: Path) -> None:
    command = [settings.GIT, "clone", "-q", "--shared", str(bare), str(path)]
    processes.run(command, environment=processes.base_environment(path.parent), seconds=60, folder=path.parent)
