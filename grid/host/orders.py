"""What the host tells one shim: that its lease goes on, that its agent has to stop, what its agent is told.

Shims are tried again until they have answered; a shim that an agent has stopped must not keep the host from the others.
"""

from __future__ import annotations

import functools
import logging

from grid import delivery, lifecycle, phases, processes
from grid.host.errands import Errands
from grid.host.watch import Watch
from grid.models import Execution
from grid.processes import ShimState
from grid.public_types import State

log = logging.getLogger(__name__)
SILENT_BEATS = 2
STOP_RETRY_SECONDS = 2.0


def renew(watch: Watch, at: float, *, errands: Errands) -> None:
    """Tell a shim that its lease goes on; end one that is silent for too long.

    Args:
        at: When the lease was renewed, by `processes.boottime`.
        errands: Takes the end of a silent one, which may take a while.
    """
    answer = processes.command(watch.run_dir, {"op": "renew", "at": at}, timeout=0.05 if watch.unanswered else 0.3)
    watch.unanswered = 0 if answer else watch.unanswered + 1
    if watch.unanswered >= SILENT_BEATS and processes.shim_state(watch.run_dir) == ShimState.ALIVE:
        log.warning("a stopped shim", extra={"action": "end_shim", "execution_id": str(watch.id)})
        errands.send(watch.id, processes.end_shim, watch.run_dir)


def deliver_stop(watch: Watch, row: Execution, *, is_draining: bool, kill_at: float | None) -> None:
    """Have an agent stop whom somebody stopped, or whose host is about to go.

    Args:
        kill_at: From then on it is killed, by `processes.boottime`.
    """
    reason = row.stop_reason or ("interrupted" if is_draining else "")
    hurry = kill_at is not None and processes.boottime() > kill_at
    wanted = f"kill {reason}" if hurry else reason
    now = processes.boottime()
    if not reason or watch.stop_sent == wanted or now < watch.retry_at:
        return
    watch.retry_at = now + STOP_RETRY_SECONDS
    if row.state == State.RUNNING:
        lifecycle.move(row.pk, old={State.RUNNING}, new=State.STOPPING, reason=reason, token=row.token)
    answer = processes.command(watch.run_dir, {"op": "kill" if hurry else "stop", "reason": reason}, timeout=0.5)
    if answer:
        watch.stop_sent, watch.retry_at = wanted, 0.0


def hand_over(watch: Watch, row: Execution) -> None:
    """Write messages for a running program to its input; those that came after its last phase wait for the next run."""
    if row.inbox_count == watch.handed_over or watch.phase.kind != phases.Kind.AGENT or watch.stop_sent:
        return
    if processes.boottime() < watch.retry_at:
        return
    post = functools.partial(processes.command, watch.run_dir, timeout=0.5)
    if delivery.hand_over(watch.id, fence=watch.token, post=post):
        watch.handed_over = row.inbox_count
    else:
        watch.retry_at = processes.boottime() + STOP_RETRY_SECONDS


def fence(watch: Watch, *, errands: Errands) -> None:
    """Kill an agent whose execution is not ours any more, from outside when its shim does not answer: nobody looks after it again."""
    if watch.ended is not None or processes.command(watch.run_dir, {"op": "kill", "reason": "fenced"}, timeout=0.5):
        return
    if watch.id not in errands and processes.shim_state(watch.run_dir) == ShimState.ALIVE:
        errands.send(watch.id, processes.end_shim, watch.run_dir)
