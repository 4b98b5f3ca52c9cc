"""A whole agent-grid for one test: real workers in real processes, told everything by environment variables.

    def test_an_issue_is_worked_on(new_stack):
        grid = new_stack(broker="sqs", database="postgres").start()
        grid.manage("submit", …)
        grid.wait_until(lambda: "done" in grid.manage("status").stdout, "the issue is done")
        grid.kill9("executions")
        grid.start("executions")

Whatever happens, nothing of a stack outlives its test; the logs of a failed one are shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest

from agentgrid.supervisor import ProcessSpec, spawn, stack
from tests.services import commands, loaded
from tests.services.servers import free_port

WORKERS = ("control", "executions", "beat")


class Stack:
    """The processes of one installation.

    Args:
        folder: For the state folder (`folder/state`) and the logs.
        database: `sqlite`, or a DATABASE_URL.
        broker: `gridfs`, or a BROKER_URL.
        slots: Agents at a time.
        extra_env: Laid over the environment of every process and command.
        is_forked: Fork the processes from one that has loaded everything, see `loaded`. False where their memory is
            measured: they share pages then, and have those of libraries that they never load.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str = "sqlite",
        broker: str = "gridfs",
        slots: int = 4,
        extra_env: Mapping[str, str] | None = None,
        is_forked: bool = True,
    ) -> None:
        self.folder = folder
        self.is_forked = is_forked
        self.state_dir = folder / "state"
        self.state_dir.mkdir(parents=True)
        self.is_replayed = False
        """Whether its event log is to build its state again when its test went well; set by `new_stack`."""
        self.python = sys.executable
        self.port = free_port()
        self.broker_kind = urlsplit(broker).scheme or broker
        self.env = _environment(self.state_dir, database=database, broker=broker, slots=slots) | dict(extra_env or {})
        self._processes: dict[str, loaded.Forked | subprocess.Popen[bytes]] = {}
        self._sessions: set[int] = set()
        """Of processes started here: what a forked one's command line and environment say is its template's."""
        self._expected_to_end: set[str] = set()
        self._is_prepared = False
        self._templates: list[tuple[dict[str, str], loaded.Template]] = []
        """With Django loaded, by the environment that they have."""

    def manage(
        self, *args: str, check: bool = True, timeout: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command; with `check` a failure fails the test and shows what it printed."""
        done = commands.run(self._template(self.env), self.env, *args, stdin=stdin, timeout=timeout)
        if check and done.returncode:
            pytest.fail(f"{' '.join(args)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start_command(self, *args: str, streams: tuple[int, int, int]) -> loaded.Forked:
        """Start a management command that goes on beside the test, with these for input, output and errors."""
        return self._template(self.env).start("manage", *args, environment=self.env, streams=streams)

    def manage_json(self, *args: str, check: bool = True, timeout: float = 60) -> Any:
        """What a command with `--json` printed, parsed."""
        return json.loads(self.manage(*args, "--json", check=check, timeout=timeout).stdout)

    def prepare(self) -> Stack:
        """Migrate and prepare the broker."""
        self.manage("migrate", "--verbosity=0", timeout=120)
        return self.prepare_broker()

    def prepare_broker(self) -> Stack:
        """Prepare the broker of a stack whose database has its tables; the first `start` then prepares nothing."""
        self.manage("prepare_broker")
        self._is_prepared = True
        return self

    def start(self, *names: str) -> Stack:
        """Start these processes (default: all workers), preparing database and broker the first time."""
        if not self._is_prepared:
            self.prepare()
        agent_url = self.env.get(
            "AGENTGRID_AGENT_URL", f"http://127.0.0.1:{self.port}" if self.is_running("web") else ""
        )
        for spec in stack(names or WORKERS, broker_kind=self.broker_kind, port=self.port, agent_url=agent_url):
            self._spawn(spec)
        if "web" in names:
            self.wait_until(self.web_answers, "web answers", timeout=30)
        return self

    def start_another(self, kind: str, name: str) -> Stack:
        """Start one more worker of a kind that runs already, under a name of its own."""
        (spec,) = stack((kind,), broker_kind=self.broker_kind, port=self.port)
        command = tuple(f"{name}@%h" if word == f"{kind}@%h" else word for word in spec.command)
        self._spawn(replace(spec, name=name, command=command))
        return self

    def _spawn(self, spec: ProcessSpec) -> None:
        assert not self.is_running(spec.name), f"{spec.name} runs already"
        with (self.folder / f"{spec.name}.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
            self._expected_to_end.discard(spec.name)
            started: loaded.Forked | subprocess.Popen[bytes]
            if self.is_forked:
                environment = {**self.env, **spec.environment}
                _, _, module, *arguments = spec.command
                streams = (nothing.fileno(), log.fileno(), log.fileno())
                started = self._template(environment).start(
                    module, *arguments, environment=environment, streams=streams
                )
            else:
                started = spawn(spec, environment=self.env, output=log.fileno())
        self._processes[spec.name] = started
        self._sessions.add(started.pid)

    def pid(self, name: str) -> int:
        """The process id of `web`, `control`, `executions` or `beat`."""
        return self._processes[name].pid

    def is_running(self, name: str) -> bool:
        """Whether this process was started and has not ended."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def kill9(self, *names: str) -> None:
        """Kill these processes as a power cut would, each with the pool processes in its group; shims are not in it."""
        self._expected_to_end.update(names)
        for name in names:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid(name), signal.SIGKILL)
            self._processes[name].wait(10)

    def kill9_everything(self) -> list[str]:
        """Kill every process of the stack, agents included, until none is left; returns what they were."""
        self._expected_to_end.update(self._processes)
        killed: dict[int, str] = {}
        deadline = time.monotonic() + 10
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.Error):
                    killed.setdefault(process.pid, " ".join(process.cmdline())[:200])
                    process.kill()
            if time.monotonic() > deadline:
                pytest.fail(f"processes of the stack survive SIGKILL: {found}")
            time.sleep(0.05)
        for started in self._processes.values():
            started.wait(5)  # reaped, so that no zombie is left behind
        return list(killed.values())

    def terminate(self, *names: str, timeout: float = 30) -> None:
        """Send SIGTERM to these (default: all) at once and wait for them to end by themselves."""
        self._expected_to_end.update(names or self._processes)
        chosen = [self._processes[name] for name in names or self._processes if self.is_running(name)]
        for process in chosen:
            process.terminate()
        for process in chosen:
            process.wait(timeout)

    def terminate_everything(self) -> None:
        """SIGTERM to every single process at once, as a dyno that is shut down does it; agents and shims included."""
        self._expected_to_end.update(self._processes)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.terminate()

    def logs(self, name: str) -> str:
        """Everything this process printed so far, over all its starts."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait_until[T](self, predicate: Callable[[], T], message: str, *, timeout: float = 30, pause: float = 0.1) -> T:
        """The first true value of `predicate`; fails the test when there is none in time or a worker has died.

        It rests for `pause` seconds between two looks, and longer after one that takes long: most are commands, which would
        take the processor from what they wait for.
        """
        deadline = time.monotonic() + timeout
        while True:
            began = time.monotonic()
            if value := predicate():
                return value
            rest = max(pause, min(2 * (time.monotonic() - began), 1.0))
            for name in self._processes.keys() - self._expected_to_end:
                if not self.is_running(name):
                    pytest.fail(f"{name} ended by itself while waiting until {message}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited {timeout} s in vain until {message}")
            time.sleep(rest)

    def processes(self) -> list[psutil.Process]:
        """Every living process that belongs to this stack: started here, working in its folder, or naming it.

        What they are forked from is the test's and no part of it.
        """
        tests = {os.getpid()} | {template.pid for _, template in self._templates}
        mine = {process.pid for process in self._processes.values() if process.poll() is None}
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid not in tests and (process.pid in mine or self._is_ours(process)):
                    found[process.pid] = process
                    found.update({child.pid: child for child in process.children(recursive=True)})
        return [process for process in found.values() if _is_alive(process)]

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of a GET to the web process; redirects are followed."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def web_answers(self) -> bool:
        """Whether the web process serves requests."""
        with contextlib.suppress(OSError):
            return self.http("/livez")[0] == 200
        return False

    def close(self) -> None:
        """End everything, gently first, so that a stack that went well leaves by the front door."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + 5
        while any(process.poll() is None for process in self._processes.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.kill9_everything()
        for _, template in self._templates:
            template.close()

    def _template(self, environment: dict[str, str]) -> loaded.Template:
        for known, template in self._templates:
            if known == environment:
                return template
        self._templates.append((dict(environment), loaded.with_django(environment)))
        return self._templates[-1][1]

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) in self._sessions:
                return True
        marks = [*process.cmdline()]
        with contextlib.suppress(psutil.Error):
            marks.append(process.cwd())
        with contextlib.suppress(psutil.Error):
            marks.append(process.environ().get("AGENTGRID_STATE_DIR", ""))
        return any(str(self.folder) in mark for mark in marks)


def _environment(state_dir: Path, *, database: str, broker: str, slots: int) -> dict[str, str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(state_dir.parent),
        "LANG": "C.UTF-8",
        "DJANGO_SETTINGS_MODULE": "agentgrid.settings",
        "AGENTGRID_READ_DOTENV": "False",
        "AGENTGRID_STATE_DIR": str(state_dir),
        "AGENTGRID_SLOTS": str(slots),
        # Agents of most tests reach for the test's own files; tests of sandboxes ask for one.
        "AGENTGRID_SANDBOX": "process",
        "AGENTGRID_SWEEP_SECONDS": "1",
        "AGENTGRID_RETRY_SECONDS": "0.5",
    }
    if database != "sqlite":
        environment |= {"DATABASE_URL": database, "DATABASE_PREPARED_STATEMENTS": "True"}  # tests in process do without
    if broker != "gridfs":
        environment["BROKER_URL"] = broker
    if broker.startswith("sqs"):
        environment |= {"SQS_IS_SECURE": "False", "SQS_WAIT_SECONDS": "1", "SQS_QUEUE_PREFIX": f"t{uuid4().hex[:8]}-"}
    return environment


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
