"""How a task that does nothing tells when it ran: one small file each, in the private state folder of a benchmark.

Messages have no results here. All times are nanoseconds of the system's clock, which all processes of a machine share.
"""

from __future__ import annotations

import time
from pathlib import Path

from django.conf import settings

from bench.perf.figures import PerfError

_LOOK_SECONDS = 0.005


def prepare() -> None:
    """Make the folder, without which no stamp is written."""
    _folder().mkdir(parents=True, exist_ok=True)


def leave(number: int, at_ns: int) -> None:
    """Write one stamp. Does nothing where no benchmark runs: the message of a stranger must not fill a disk."""
    if _folder().is_dir():
        unfinished = _folder() / f".{number}"
        unfinished.write_text(str(at_ns))
        unfinished.rename(_folder() / str(number))


def wait(number: int, *, seconds: float = 60) -> int:
    """The stamp of this number, once it is there. Raises PerfError when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return int((_folder() / str(number)).read_text())
        except FileNotFoundError:
            time.sleep(_LOOK_SECONDS)
    raise PerfError(f"no worker ran a task within {seconds:.0f} s; see the workers' logs")


def _folder() -> Path:
    return Path(settings.STATE_DIR) / "perf-stamps"
