"""Real shims around the hostile agent, for tests: start one, look at it, leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from grid import processes
from grid.processes import ShimSpec, ShimState, StartCode
from grid.shim import reaper

FAKE_AGENT = Path(__file__).with_name("fakeagent.py")
NEEDED_BY_PYTHON = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
CAPABILITIES = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
ROOT = os.geteuid() == 0 and CAPABILITIES != 0
"""Root with the powers of root; an agent of ours that runs these tests has none."""


class Runs:
    """A folder of runs and the nursery that serves them."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="grid-shim-"))
        self.dir.chmod(0o755)  # for agents with a user of their own
        self.host = self.dir / "host"
        self.all: list[Run] = []
        self.pids: set[int] = set()
        """Of nurseries, to be ended with us."""

    def make(self, mode: str, *args: str, folder: str = "", **spec: Any) -> Run:
        """A run that was not started; `spec` overrides fields of ShimSpec."""
        run = Run(self, self.dir / (folder or f"run-{len(self.all)}"), [mode, *args], spec)
        self.all.append(run)
        return run

    def begin(self, mode: str, *args: str, **spec: Any) -> Run:
        """A run whose agent runs."""
        run = self.make(mode, *args, **spec)
        assert run.start() == StartCode.RUNNING, run.log()
        return run

    def nursery(self) -> int:
        """Pid of the nursery, started if need be."""
        pid = processes.ensure_nursery(host_dir=self.host, python=sys.executable)
        assert pid, (self.host / "nursery.log").read_text()
        self.pids.add(pid)
        return pid

    def left(self) -> list[int]:
        """Living processes that work below our folder, the nursery's aside."""
        return living_in(self.dir, but=self.host)

    def shims(self) -> list[int]:
        """Living shims, whose folders only root can see."""
        found = [processes.shim_identity(run.dir) for run in self.all]
        return [identity.pid for identity in found if identity and processes.is_running(identity)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End everything; kill until nothing comes back, as a daemon may respawn."""
        if nursery := processes.nursery_pid(self.host):
            self.pids.add(nursery)
        for _ in range(100):
            reaper.signal_each(self.left() + self.shims(), signal.SIGKILL)
            if not self.left():
                break
            time.sleep(0.01)
        reaper.signal_each(filter(alive, self.pids), signal.SIGTERM)
        wait_for(lambda: not any(map(alive, self.pids)), "end of the nursery")
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not living_in(self.dir)


class Run:
    """One run of the hostile agent."""

    def __init__(self, runs: Runs, directory: Path, args: list[str], spec: dict[str, Any]) -> None:
        self.runs, self.dir, self.work = runs, directory, directory / "work"
        self.work.mkdir(parents=True)
        (self.dir / "prompt").write_text(spec.pop("prompt_text", "fix the bug\n"))
        uid = spec.get("uid")
        if uid is not None:
            self.dir.chmod(0o711)
            spec.setdefault("gid", uid)
            os.chown(self.work, uid, uid)
        python = spec.pop("agent_python", sys.executable)
        settings: dict[str, Any] = {
            "run_dir": self.dir,
            "cwd": self.work,
            "prompt": self.dir / "prompt",
            "argv": [python, "-I", "-S", str(spec.pop("agent", FAKE_AGENT)), *args],
            "env": {"PATH": "/usr/bin:/bin", "HOME": str(self.work), "LANG": "C.UTF-8", **NEEDED_BY_PYTHON},
            "ladder": (("INT", 0.4), ("TERM", 0.4)),
            "lease_at": processes.boottime(),
        }
        self.spec = ShimSpec(**(settings | spec))
        self.path = processes.write_spec(self.dir, self.spec)

    def start(self, **kwargs: Any) -> StartCode:
        """Start it as the host does."""
        arguments: dict[str, Any] = {"host_dir": self.runs.host, "spec_path": self.path, "python": sys.executable}
        return processes.start_shim(**(arguments | kwargs))

    @property
    def pid(self) -> int:
        """The shim's."""
        identity = processes.shim_identity(self.dir)
        assert identity, self.log()
        return identity.pid

    @property
    def agent(self) -> int:
        """The agent's pid."""
        return int(self.records()[0]["agent"])

    def tell(self, op: str, timeout: float = 2.0, **facts: Any) -> dict[str, Any] | None:
        """Send one command."""
        return processes.command(self.dir, {"op": op, **facts}, timeout=timeout)

    def log(self) -> str:
        """What the shim complained about."""
        path = self.dir / "shim.log"
        return path.read_text() if path.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        """Every record so far; whole lines, numbered without a gap."""
        data = (self.dir / "spool.jsonl").read_bytes()
        assert not data or data.endswith(b"\n"), data[-200:]
        found = [json.loads(line) for line in data.decode("ascii").splitlines()]
        assert [record["n"] for record in found] == list(range(1, len(found) + 1))
        return found

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """Records of one kind."""
        return [record for record in self.records() if record["t"] == kind]

    def lines(self, kind: str = "out") -> list[str]:
        """What the agent printed."""
        return [record["line"] for record in self.kinds(kind)]

    def said(self, text: str) -> Run:
        """Wait until the agent has printed something."""
        wait_for(lambda: any(text in line for line in self.lines()), f"output {text!r}")
        return self

    def left(self) -> list[int]:
        """Living processes that work in this run's workspace."""
        return living_in(self.work)

    def exit(self, *, log: bool = False) -> dict[str, Any]:
        """The exit record, once the shim is gone; nothing else of the run may be left."""
        wait_for(lambda: processes.shim_state(self.dir) is ShimState.GONE, "the shim's end", 30)
        assert log or not self.log(), self.log()
        assert self.left() == []
        last = self.records()[-1]
        assert last["t"] == "exit", last
        return last


def living_in(directory: Path, but: Path | None = None) -> list[int]:
    """Living processes whose current directory is at or below `directory`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            cwd = Path(os.readlink(f"/proc/{name}/cwd").removesuffix(" (deleted)"))
        except OSError:
            continue
        if cwd.is_relative_to(directory) and not (but and cwd.is_relative_to(but)) and alive(int(name)):
            found.append(int(name))
    return found


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return reaper.stat_fields(pid)[0] not in (b"Z", b"X")
    except OSError:
        return False


def state_letter(pid: int) -> str:
    """R, S, T and the like."""
    return reaper.stat_fields(pid)[0].decode()


def wait_for(condition: Callable[[], object], what: str, timeout: float = 20) -> float:
    """Wait until something holds; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout, f"no {what} within {timeout} s"
        time.sleep(0.005)
    return time.monotonic() - began


def peak_rss_mib(pid: int) -> float:
    """Most memory that a living process ever had."""
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def peak_while_running(run: Run, timeout: float = 60) -> float:
    """Watch a shim to its end; return the most memory it had, in MiB."""
    peak, pid, began = 0.0, run.pid, time.monotonic()
    while alive(pid):
        assert time.monotonic() < began + timeout
        try:
            peak = max(peak, peak_rss_mib(pid))
        except (OSError, StopIteration):
            break
        time.sleep(0.01)
    return peak
