"""`manage.py up` as a user starts it, with the environment of a stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from agentgrid.supervisor import ROOT
from tests.services.stack import Stack


class Up:
    """The supervisor and the processes that it started."""

    def __init__(self, stack: Stack, *options: str) -> None:
        self.stack = stack
        command = [stack.python, "manage.py", "up", "--json", *options]
        with (stack.folder / "up.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=stack.env, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What it reported so far."""
        lines = self.stack.logs("up").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def pids(self) -> dict[str, int]:
        """Of its processes, by name."""
        return {event["process"]: event["pid"] for event in self.events("started")}

    def is_ready(self) -> bool:
        """Whether agents can run."""
        return any("host started" in event["line"] for event in self.events("output"))

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGINT)
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)  # the kernel tells its processes to end
            self._process.wait()
            raise
