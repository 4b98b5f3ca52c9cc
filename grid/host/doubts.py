"""Whether a shim that says `interrupted` was told so by who takes the machine down, or by its own agent.

Such an end costs its agent nothing: the run goes on from its work, and no attempt is spent. A machine that goes away signals every
process, the host among them; an agent without a sandbox can signal its shim alone, again and again. So what this host has not
asked for is believed when the host is about to go as well, a moment later at most, and is a crash otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from grid.conf import conf
from grid.host.watch import Watch
from grid.phases import Ended

INTERRUPTED = "interrupted"
MAX_SECONDS, HEARTBEATS = 10.0, 3
WHY = "somebody told its shim to stop, neither its host nor who takes the machine down"


def believed(watch: Watch, ended: Ended, *, asked: str, is_draining: bool, now: float) -> Ended | None:
    """What counts as a phase's end; None while it is too early to say.

    Args:
        watch: Remembers since when it is in doubt.
        ended: By its shim.
        asked: Why the run was asked to stop, by its row; empty when nobody has.
        is_draining: The host is about to go.
        now: By `processes.boottime`, as all times here.
    """
    if ended.reason != INTERRUPTED:
        return ended
    if asked:
        return replace(ended, reason=asked)
    if is_draining or watch.is_inherited:
        return ended
    if watch.doubted_at is None:
        watch.doubted_at = now
    if now < watch.doubted_at + _seconds():
        return None
    return replace(ended, reason="killed", error=WHY)


def is_machine_going(watches: Iterable[Watch], *, now: float) -> bool:
    """Whether it seems that everybody was told to go, this host too: then nothing new is started. One agent signals its own shim."""
    return sum(watch.doubted_at is not None and now < watch.doubted_at + _seconds() for watch in watches) > 1


def _seconds() -> float:
    """For how long an end is in doubt: by then the host has heard of it, too, however busy the machine."""
    return min(MAX_SECONDS, HEARTBEATS * conf().heartbeat_seconds)
