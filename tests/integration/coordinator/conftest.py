"""A grid in the test's own process: real host, nursery, shims, git and database; only Celery is left out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator import sweeps
from coordinator.models import Agent, Nudge
from coordinator.public_types import AgentState
from grid import processes
from grid.conf import conf
from grid.host import identity
from grid.host.loop import HostLoop
from grid.models import Execution
from grid.public_types import LIVE
from tests.factories import make_git_repository


class GridHere:
    """Runs what is queued until a condition holds."""

    def __init__(self) -> None:
        self.loop = HostLoop(name=identity.host_name(conf()), slots=3)
        self.loop.start()

    def until(self, condition: Callable[[], bool], *, timeout: float = 30) -> None:
        """Sweep until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, [*Agent.objects.values_list("path", "state", "decision__reason")]
            sweeps.sweep()
            time.sleep(0.03)

    def until_quiet(self, *, timeout: float = 30) -> None:
        """Sweep until no execution lives, nothing waits to be applied, and no retry is due."""

        def is_quiet() -> bool:
            moving = Agent.objects.filter(state__in=[AgentState.QUEUED, AgentState.RUNNING]).exists()
            live = Execution.objects.filter(state__in=sorted(LIVE)).exists()
            return not moving and not live and not Agent.objects.filter(is_splitting=True).exists()

        self.until(is_quiet, timeout=timeout)

    def close(self) -> None:
        """Drain, and leave no process behind."""
        self.loop.drain(seconds=10)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one commit on `main`."""
    return make_git_repository(tmp_path / "app", {"app.txt": "one\ntwo\nthree\n"})


@pytest.fixture
def grid_here(transactional_db: None, settings: object) -> Iterator[GridHere]:
    """A host in this process; retries come at once."""
    settings.COORDINATOR_RETRY_SECONDS = 0.05  # type: ignore[attr-defined]  # pytest-django's wrapper
    grid = GridHere()
    yield grid
    grid.close()
    pid = processes.nursery_pid(conf().host_dir)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)


def open_nudge(agent: Agent) -> Nudge | None:
    """The agent's open nudge."""
    return Nudge.objects.filter(agent=agent, is_open=True).first()
