"""Hostile agents on a whole stack: submit them, wait for their ends, see what they left and what they took."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from grid import processes
from grid.shim.agent import drop_bounding_set, empty_capabilities
from tests.factories import make_git_repository
from tests.hostile.shim_runs import FAKE_AGENT, alive, peak_rss_mib
from tests.services.stack import Stack

OVER = ("done", "failed", "blocked", "abandoned")
"""States in which an agent does not move by itself."""


class Arena:
    """One stack, its repositories and the hostile agents that were let loose on it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.issues: dict[str, str] = {}
        self.repositories: dict[str, Path] = {}

    def repository(self, name: str, **limits: int) -> Path:
        """A repository whose policy gives an agent one attempt and these limits."""
        if name not in self.repositories:
            lines = [f"  {key}: {value}" for key, value in {"attempts": 1, **limits}.items()]
            policy = "\n".join(["version: 1", "limits:", *lines, ""])
            files = {"README.md": "hello\n", ".agentgrid.yml": policy}
            self.repositories[name] = make_git_repository(self.folder / name, files)
        return self.repositories[name]

    def submit(
        self, mode: str, *args: str, repository: Path, then: str = "", accept: str = "", title: str = ""
    ) -> None:
        """Have the fake agent work on an issue of its own, called as its mode or `title`; with `then` a shell goes on."""
        title = title or mode
        command = shlex.join([sys.executable, "-I", "-S", str(FAKE_AGENT), mode, *args])
        command = f"{command}; {then}" if then else f"exec {command}"  # exec: its parent is the shim, not a shell
        options = ("--agent", "command", "--command", command, *(("--accept", accept) if accept else ()))
        told = self.stack.manage_json("submit", "--repo", str(repository), "--title", title, *options)
        self.issues[title] = told["agent"]["issue"]

    def explain(self, mode: str) -> dict[str, Any]:
        """What `explain --json` says of the issue."""
        # Exit code 1 (`it is not done`) is an answer as well.
        told: dict[str, Any] = self.stack.manage_json("explain", self.issues[mode], check=False)
        return told

    def end_of(self, mode: str, *, timeout: float = 90) -> dict[str, Any]:
        """Wait until the agent does not move any more; the explanation."""

        def over() -> dict[str, Any] | None:
            told = self.explain(mode)
            return told if told["agent"]["state"] in OVER else None

        found = self.stack.wait_until(over, f"{mode} is over", timeout=timeout, pause=0.2)
        assert found is not None
        return found

    def run_dirs(self, told: dict[str, Any]) -> list[Path]:
        """Folders of an explained issue's executions."""
        return [self.stack.state_dir / "runs" / run["id"] for run in told["executions"]]

    def agents_of(self, told: dict[str, Any], *marks: str) -> list[psutil.Process]:
        """Living processes of these executions: working in their folders, or with a mark in their command line."""
        wanted = [*map(str, self.run_dirs(told)), *marks]
        return [process for process in psutil.process_iter() if any(mark in _traces(process) for mark in wanted)]

    def others(self) -> list[psutil.Process]:
        """Living processes of the stack that are neither a worker nor the nursery nor short helpers of a worker."""
        nursery = processes.nursery_pid(self.stack.state_dir / "host")
        workers = ("control", "executions", "beat", "web")
        ours = {self.stack.pid(name) for name in workers if self.stack.is_running(name)}
        found = [process for process in self.stack.processes() if process.pid not in {*ours, nursery}]
        return [process for process in found if _parent(process) not in ours]

    def close(self) -> None:
        """End the stack."""
        self.stack.close()

    def output(self, told: dict[str, Any]) -> list[str]:
        """Everything the agent printed, by the spool of its last run."""
        spool = self.run_dirs(told)[0] / "phases" / "agent" / "spool.jsonl"
        records = map(json.loads, spool.read_text().splitlines())
        return [record["line"] for record in records if record["t"] == "out"]


def _traces(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        if not alive(process.pid):
            return ""
        words = process.cmdline()
        with contextlib.suppress(psutil.Error):
            words.append(process.cwd())
        return "\n".join(words)
    return ""


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return 0


class PeakMemory:
    """Watches the most memory that our own processes ever had, in MiB, while shims come and go."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.peaks = stack, dict[str, float]()
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def look(self) -> dict[str, float]:
        """Look once; the peaks so far by kind of process."""
        pids = {name: self.stack.pid(name) for name in ("control", "executions")}
        pids["nursery"] = processes.nursery_pid(self.stack.state_dir / "host") or 0
        for path in self.stack.state_dir.glob("runs/*/phases/*/"):
            identity = processes.shim_identity(path)
            if identity is not None and processes.is_running(identity):
                pids[f"shim {path.parent.parent.name}"] = identity.pid
        for name, pid in pids.items():
            with contextlib.suppress(OSError, StopIteration):
                kind = name.split()[0]
                self.peaks[kind] = max(self.peaks.get(kind, 0.0), peak_rss_mib(pid))
        return self.peaks

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.look()


@contextlib.contextmanager
def without_capabilities() -> Iterator[ThreadPoolExecutor]:
    """A thread without capabilities; what it starts has none either, and gets SIGTERM when the thread ends.

    For root: agents lose their capabilities and may therefore not look into processes that have some. Where our own
    processes have none, it takes their own protection to keep agents out, as it does for an ordinary user.
    """

    def give_up() -> None:
        if os.geteuid() == 0:
            drop_bounding_set()
            empty_capabilities()

    with ThreadPoolExecutor(max_workers=1, initializer=give_up) as thread:
        yield thread


def until_gone(arena: Arena, told: dict[str, Any], *marks: str, seconds: float = 5) -> None:
    """Wait for the end of every process of these executions; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while left := arena.agents_of(told, *marks):
        assert time.monotonic() < deadline, [(process.pid, _traces(process)) for process in left]
        time.sleep(0.05)
