"""The nursery: one process for each host directory that forks shims and buries what a killed shim leaves.

    python -I -S grid/shim/nursery.py HOST_DIR [IDLE_S]      returns once it serves; the nursery goes on by itself

A fork of it is ready in a tenth of the time of a cold interpreter and shares its memory. As a child subreaper it inherits
the orphans of a shim that died of SIGKILL, whatever their session or environment, and kills them at once.

Requests: one JSON object in one packet on HOST_DIR/nursery.sock, one answer.
    {"op": "start", "spec": PATH, "version": V}   {"code": N} from the new shim itself, or {"stale": V} if versions differ
    {"op": "ping"}                                {"pid": N, "version": V, "shims": N}
    {"op": "retire"}                              {"pid": N}; gives up socket and lock, stays until its shims are gone

It survives the worker that started it, also SIGINT and SIGHUP. SIGTERM retires it: where everybody is told to go, its shims
stop their agents, and it goes last. Without shims and requests it ends by itself after IDLE_S seconds.
Exit codes of the starter: 0 serving, 75 another one serves this directory, 70 it failed (see HOST_DIR/nursery.log).
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # -I leaves it out

from grid.shim.keeper import Nursery
from grid.shim.reaper import ALL_SIGNALS, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, prctl, set_oom_score
from grid.shim.start import in_background, settle, write_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LOCK, LOG = "nursery.lock", "nursery.log"
IDLE_S = 60.0
OOM_SCORES = (-1000, 0)
"""Lowest first; not every root may go below what it was born with."""
SERVED_ALREADY = 75


def take_lock() -> int | None:
    """Return the lock of this directory, or None when another nursery holds it."""
    lock = os.open(LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def main(host_dir: str, idle_s: float = IDLE_S) -> NoReturn:
    """Serve one host directory in the background."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
    os.closerange(3, 1 << 30)
    code_out = in_background()
    settle(host_dir, LOG)
    lock = take_lock()
    if lock is None:
        write_code(code_out, SERVED_ALREADY)
        os._exit(0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)
    any(set_oom_score("self", score) for score in OOM_SCORES)
    nursery = Nursery(lock, idle_s)
    nursery.listen()
    gc.disable()  # a collection would write to every page, and end the sharing
    gc.collect()
    gc.freeze()
    write_code(code_out, 0)
    nursery.serve()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
