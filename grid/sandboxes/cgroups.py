"""Control groups: memory, processes and processor share of one run, all its processes together.

Where a group can be made below or beside our own: as root, or where systemd delegated a part of the tree to us. Both
versions of the kernel's interface; a machine with version 1 has one tree for each controller.
"""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from grid.public_types import Limits

ROOT = Path("/sys/fs/cgroup")
PREFIX = "agentgrid-"
NEEDED = ("memory", "pids", "cpu")
DEFAULT_PROCESSES = 2048
"""Of a run whose policy names no number: a fork bomb must end somewhere."""
OWN_PROCESSES = 4
"""What a sandbox adds to the agent's own."""
STALE_SECONDS = 60


@functools.cache
def parents() -> Mapping[str, Path]:
    """Where groups can be made, by controller; empty when not all of NEEDED can be had. Tried once."""
    found = _unified() or _split()
    return found if found and _works(found) else {}


def make(name: str, limits: Limits) -> list[Path]:
    """Create a group for one run; returns the folders that its first process must enter. Raises OSError."""
    _remove_stale()
    folders: list[Path] = []
    for controller, parent in parents().items():
        folder = parent / f"{PREFIX}{name}"
        if folder not in folders:
            folder.mkdir(exist_ok=True)
            folders.append(folder)
        for file, value in _values(controller, limits, unified=len(set(parents().values())) == 1).items():
            (folder / file).write_text(f"{value}\n")
    return folders


def _values(controller: str, limits: Limits, *, unified: bool) -> dict[str, int]:
    if controller == "memory":
        if not limits.memory_bytes:
            return {}
        return {"memory.max" if unified else "memory.limit_in_bytes": limits.memory_bytes}
    if controller == "pids":
        return {"pids.max": (limits.processes or DEFAULT_PROCESSES) + OWN_PROCESSES}
    # As much as one of our own processes gets; not less, or an agent on a busy machine would stand still.
    return {"cpu.weight": 100} if unified else {"cpu.shares": 1024}


def _own() -> dict[str, str]:
    """Our group by controller; the one of version 2 under the empty name."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def _unified() -> dict[str, Path]:
    """A parent that hands all controllers to its children: the group around ours, as ours holds processes."""
    try:
        ours = ROOT / _own()[""].lstrip("/")
        for parent in (ours, ours.parent):
            control = parent / "cgroup.subtree_control"
            if parent.is_relative_to(ROOT) and set(NEEDED) <= set((parent / "cgroup.controllers").read_text().split()):
                if not set(NEEDED) <= set(control.read_text().split()):
                    control.write_text(" ".join(f"+{name}" for name in NEEDED))
                return dict.fromkeys(NEEDED, parent)
    except (OSError, KeyError):
        return {}
    return {}


def _split() -> dict[str, Path]:
    """Our own groups of version 1."""
    try:
        own = _own()
        found = {name: ROOT / name / own[name].lstrip("/") for name in NEEDED}
    except (OSError, KeyError):
        return {}
    return found if all(folder.is_dir() for folder in found.values()) else {}


def _works(found: Mapping[str, Path]) -> bool:
    """Whether a group can be made and entered, by doing it."""
    folders = {parent / f"{PREFIX}probe-{time.monotonic_ns()}" for parent in found.values()}
    try:
        for folder in folders:
            folder.mkdir()
        script = 'for folder in "$@"; do echo $$ > "$folder/cgroup.procs" || exit 1; done'
        asked = ["/bin/sh", "-c", script, "sh", *map(str, folders)]
        return subprocess.run(asked, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        for folder in folders:
            _remove(folder)


def _remove_stale() -> None:
    """Remove groups of ended runs; one that holds a process refuses, and a young one may be about to."""
    for parent in set(parents().values()):
        for folder in parent.glob(f"{PREFIX}*"):
            try:
                old = time.time() - folder.stat().st_mtime > STALE_SECONDS
            except OSError:
                continue
            if old:
                _remove(folder)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
