"""Processes of one machine, seen from the outside: ancestry, start, and the end of a whole tree. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
ALL_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process; raise instead of returning -1."""
    if LIBC.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) refused")


def now() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def stat_fields(pid: int | str) -> list[bytes]:
    """Fields of /proc/PID/stat from `state` on; the name before them may hold spaces and parentheses."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return boot.read().strip()


def identity() -> dict[str, int | str]:
    """What tells this process from a later one with its number."""
    return {"pid": os.getpid(), "start": int(stat_fields("self")[19]), "boot": boot_id()}


def set_oom_score(pid: int | str, score: int) -> bool:
    """Say how gladly the kernel kills a process when memory is out; False when we may not."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError:
        return False
    return True


def descendants(root: int, keep: Collection[int] = ()) -> list[int]:
    """Processes below `root`, whatever their session, group or environment; zombies without live threads left out.

    Args:
        root: A process, itself not part of the answer.
        keep: Processes that are left out with all that is below them.
    """
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = stat_fields(name)
        except OSError:
            continue  # gone meanwhile
        if fields[0] not in (b"Z", b"X") or int(fields[17]) > 1:
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = [pid for pid in children.get(todo.pop(), ()) if pid not in keep]
        found += below
        todo += below
    return found


def is_below(pid: int, root: int) -> bool:
    """Whether `root` is an ancestor of `pid`; True as well when the line of ancestors cannot be read to its end."""
    try:
        while pid not in (0, 1, root):
            pid = int(stat_fields(pid)[1])
    except OSError:
        return True
    return pid == root


def kill_tree(
    root: int, *, keep: Collection[int] = (), is_empty: Callable[[], bool] | None = None, seconds: float = 10.0
) -> tuple[int, int]:
    """Freeze everything below `root`, then kill it; return how many were seen and how many are left.

    Works from outside as well: a host sweeps a stopped shim *before* it kills it, because killing orphans its tree.

    Args:
        root: A process, itself spared.
        keep: Spared with all that is below them.
        is_empty: An exact test for the end, which a subreaper has: waitpid says ECHILD. /proc may miss a newborn.
        seconds: After so long it gives up; some processes cannot be killed.
    """
    seen: set[int] = set()
    deadline = now() + seconds
    is_empty = is_empty or (lambda: not descendants(root, keep))
    while not (is_done := is_empty()) and now() < deadline:
        frozen: set[int] = set()
        while (running := set(descendants(root, keep)) - frozen) and now() < deadline:
            signal_each(running, signal.SIGSTOP)  # until stable: nobody is left to fork or to respawn
            frozen |= running
        signal_each(frozen, signal.SIGKILL)
        seen |= frozen
        time.sleep(0.002)
    return len(seen), 0 if is_done else len(descendants(root, keep))  # a look at every process of the machine


def signal_each(pids: Iterable[int], signum: int) -> None:
    """Send one signal to each process that still exists and may be signalled."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            continue
