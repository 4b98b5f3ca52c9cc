"""What processes use, as the kernel counts it: memory that is theirs, processor time of them and their children."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from bench.perf.figures import PerfError, SkippedError

_KIB = 1024


def nursery(state_dir: Path) -> psutil.Process:
    """The process from which this installation's shims are forked. Raises PerfError when there is none."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            names_us = any(str(state_dir) in word for word in words)
            # A shim is a fork of it and has its command line; its parent is the nursery.
            if names_us and any(word.endswith("nursery.py") for word in words) and not _is_shim(process):
                return process
    raise PerfError("no nursery runs: the agents were started cold, or none was started")


def pss_bytes(processes: Iterable[psutil.Process]) -> int:
    """Proportional set size of these processes together: a page that k processes share counts a k-th for each.

    Raises:
        SkippedError: The kernel does not tell us, because a process hides its memory or there is no smaps_rollup.
    """
    total = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except ProcessLookupError:
            continue  # it ended meanwhile
        except FileNotFoundError:
            if psutil.pid_exists(process.pid):
                raise SkippedError("this kernel has no /proc/PID/smaps_rollup") from None
            continue
        except PermissionError as error:
            raise SkippedError("shims hide their memory from all but root: run it as root") from error
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * _KIB
    return total


def with_children(pids: Iterable[int]) -> list[psutil.Process]:
    """These processes and all below them."""
    found = []
    for pid in pids:
        process = psutil.Process(pid)
        found += [process, *process.children(recursive=True)]
    return found


def cpu_seconds(pids: Mapping[str, int], *, state_dir: Path) -> dict[str, float]:
    """Processor time used so far: of each worker, of what it ran (git), of shims with their agents, of who nudges."""
    own = psutil.Process().cpu_times()
    used = {"nudging": own.user + own.system}
    for name, pid in pids.items():
        times = [psutil.Process(pid).cpu_times()]
        times += [child.cpu_times() for child in psutil.Process(pid).children()]  # of a pool
        used[name] = sum(one.user + one.system for one in times)
        used[f"{name}_git"] = sum(one.children_user + one.children_system for one in times)
    times_of_nursery = nursery(state_dir).cpu_times()
    used["nursery"] = times_of_nursery.user + times_of_nursery.system
    used["shims_and_agents"] = times_of_nursery.children_user + times_of_nursery.children_system
    return used


def _is_shim(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and any(word.endswith("nursery.py") for word in parent.cmdline())
