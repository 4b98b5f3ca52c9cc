"""The processes of a machine, started, watched, restarted and stopped by one parent.

`manage.py up` runs it; tests and the demo start the same definitions from `stack`. Everything happens in one thread:
the kernel ends a child when the *thread* that started it dies (PR_SET_PDEATHSIG), and nothing here ever waits long.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("web", "control", "executions", "beat")
STOP_SECONDS = 28.0  # platforms kill 30 s after SIGTERM
_HEALTHY_SECONDS = 60.0
_LONGEST_DELAY_SECONDS = 30.0
_LONGEST_LINE_BYTES = 65_536
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process of ours."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of the supervisor's own environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a process: started, output, exited, restarting, stopping, killed, stopped."""

    kind: str
    process: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def stack(
    kinds: Iterable[str] = KINDS, *, broker_kind: str, port: int = 8000, agent_url: str = ""
) -> list[ProcessSpec]:
    """The definitions of our processes, to be started in `ROOT`.

    Args:
        kinds: Any of `KINDS`; for each the process's name, too.
        broker_kind: Scheme of BROKER_URL. Threads drain the file system broker 15 times as fast as processes do; on the
            other brokers only processes can be stopped cold while a task runs.
        port: Where `web` listens, on 127.0.0.1.
        agent_url: Where agents of this machine reach `web`; empty: at this one, when it is among them.
    """
    kinds = list(kinds)
    python = sys.executable
    if broker_kind == "gridfs":
        pool, environment = ("-P", "threads", "-c", "4"), {}
    else:
        pool, environment = ("-P", "prefork", "-c", "2"), {"REMAP_SIGTERM": "SIGQUIT"}
    celery = (python, "-m", "celery", "--quiet", "-A", "agentgrid")
    silence = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    web = (python, "-m", "uvicorn", "agentgrid.asgi:application", "--host", "127.0.0.1", "--port", str(port))
    specs = {
        "web": ProcessSpec(
            name="web", command=(*web, "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "5")
        ),
        "beat": ProcessSpec(name="beat", command=(*celery, "beat", "--pidfile=")),
    }
    for queue in ("control", "executions"):
        command = (*celery, "worker", "-n", f"{queue}@%h", "-Q", queue, *pool, *silence)
        specs[queue] = ProcessSpec(name=queue, command=command, environment=environment)
    url = agent_url or (f"http://127.0.0.1:{port}" if "web" in kinds else "")
    wiring = {"AGENTGRID_AGENT_URL": url} if url else {}
    return [replace(specs[kind], environment={**specs[kind].environment, **wiring}) for kind in kinds]


def spawn(spec: ProcessSpec, *, environment: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own (Ctrl-C does not reach it); it gets SIGTERM when this thread dies.

    Args:
        spec: What to run.
        environment: The whole environment; `spec.environment` is laid over it.
        output: File descriptor for its output and errors.
    """
    parent = os.getpid()
    return subprocess.Popen(
        spec.command,
        cwd=ROOT,
        env={**environment, **spec.environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(parent),
    )


def end_with_parent(parent: int) -> None:
    """Have this process, just forked from `parent`, get SIGTERM when the thread that forked it ends."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)


def restart_delay(failures: int) -> float:
    """Seconds before the next start after so many failures in a row: 1, 2, 4 … 30."""
    return min(_LONGEST_DELAY_SECONDS, 2.0 ** min(max(0, failures - 1), 10))


@dataclass(slots=True, kw_only=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    pipe: int = -1
    buffer: bytes = b""
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0


class Supervisor:
    """Keeps processes running until it is told to stop."""

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        *,
        environment: Mapping[str, str],
        report: Callable[[Event], None],
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._children = [_Child(spec=spec) for spec in specs]
        self._environment = dict(environment)
        self._report = report
        self._stop_seconds = stop_seconds
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0
        self._stop_reason = ""
        self._kill_at: float | None = None
        self._clean = True

    def run(self) -> int:
        """Start everything and stay until SIGINT or SIGTERM; call it from the main thread.

        Returns:
            0 when every process ended by itself once asked, 1 when one had to be killed.
        """
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        old_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._on_stop_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop
        try:
            while self._step():
                pass
        finally:
            self._kill_all()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_wakeup)
            self._selector.close()
            os.close(wake_read)
            os.close(wake_write)
        self._report(Event(kind="stopped", facts={"clean": self._clean}))
        return 0 if self._clean else 1

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1
        self._stop_reason = self._stop_reason or signal.Signals(number).name

    def _step(self) -> bool:
        now = time.monotonic()
        if self._stop_requests and self._kill_at is None:
            self._begin_stop(now)
        if self._kill_at is None:
            for child in self._children:
                if child.process is None and now >= child.start_at:
                    self._start(child, now)
        elif self._stop_requests > 1 or now >= self._kill_at:
            self._kill_all()
        for key, _ in self._selector.select(self._pause(now)):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)
            else:
                self._read(key.data)
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process, time.monotonic())
        return self._kill_at is None or any(child.process for child in self._children)

    def _pause(self, now: float) -> float:
        if self._kill_at is not None:
            return max(0.0, min(1.0, self._kill_at - now))
        waiting = [child.start_at - now for child in self._children if child.process is None]
        return max(0.0, min([1.0, *waiting]))

    def _start(self, child: _Child, now: float) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        child.started_at = now
        try:
            child.process = spawn(child.spec, environment=self._environment, output=write)
        except OSError as error:
            os.close(read)
            self._report(Event(kind="exited", process=child.spec.name, facts={"error": str(error)}))
            self._plan_restart(child, now)
            return
        finally:
            os.close(write)
        child.pipe, child.buffer = read, b""
        self._selector.register(read, selectors.EVENT_READ, child)
        self._report(Event(kind="started", process=child.spec.name, facts={"pid": child.process.pid}))

    def _read(self, child: _Child) -> bool:
        """Pass on what it printed; False when there is nothing (more) right now."""
        try:
            data = os.read(child.pipe, _LONGEST_LINE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe(child)
            return False
        *lines, child.buffer = (child.buffer + data).split(b"\n")
        if len(child.buffer) > _LONGEST_LINE_BYTES:
            lines, child.buffer = [*lines, child.buffer], b""
        for line in lines:
            self._print(child, line)
        return True

    def _print(self, child: _Child, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._report(Event(kind="output", process=child.spec.name, facts={"line": text}))

    def _close_pipe(self, child: _Child) -> None:
        if child.pipe < 0:
            return
        self._print(child, child.buffer)
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        child.pipe, child.buffer = -1, b""

    def _ended(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        # Processes of a worker's pool share its group and end with it. Shims have sessions of their own and live on.
        _kill_group(process.pid)
        while child.pipe >= 0 and self._read(child):
            pass
        self._close_pipe(child)
        code = process.returncode
        facts: dict[str, Any] = (
            {"pid": process.pid, "code": code} if code >= 0 else {"pid": process.pid, "signal": -code}
        )
        child.process = None
        self._report(Event(kind="exited", process=child.spec.name, facts=facts))
        if self._kill_at is None and not self._stop_requests:
            self._plan_restart(child, now)

    def _plan_restart(self, child: _Child, now: float) -> None:
        child.failures = 1 if now - child.started_at >= _HEALTHY_SECONDS else child.failures + 1
        delay = restart_delay(child.failures)
        child.start_at = now + delay
        self._report(Event(kind="restarting", process=child.spec.name, facts={"seconds": delay}))

    def _begin_stop(self, now: float) -> None:
        self._kill_at = now + self._stop_seconds
        self._report(Event(kind="stopping", facts={"reason": self._stop_reason, "seconds": self._stop_seconds}))
        for child in self._children:
            if child.process is not None:
                child.process.terminate()

    def _kill_all(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                self._clean = False
                _kill_group(child.process.pid)
                child.process.wait()
                self._report(Event(kind="killed", process=child.spec.name, facts={"pid": child.process.pid}))


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
