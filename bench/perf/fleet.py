"""Agents for a benchmark: a real repository, issues submitted and not yet started, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from django.conf import settings
from django.db import transaction

from bench.perf import processes
from bench.perf.figures import PerfError
from coordinator import public_api as coordinator
from coordinator.public_types import ATTENTION, AgentState, AgentView, ScopeKind, Submission
from grid import public_api as grid
from grid.public_types import TERMINAL, State

ACTOR = "perf"
FILES = 200
FILE_BYTES = 4096
"""Together 0.8 MB in 200 files: a small real project."""
_IDENTITY = ("-c", "user.name=perf", "-c", "user.email=perf@agent-grid.invalid", "-c", "commit.gpgsign=false")


def git(*args: str, folder: Path) -> None:
    """Run git with an identity. Raises PerfError."""
    command = [settings.GIT, *_IDENTITY, *args]
    processes.run(command, environment=processes.base_environment(folder), seconds=60, folder=folder)


def make_repository(path: Path) -> Path:
    """A git repository with one commit of `FILES` files in 20 folders."""
    for number in range(FILES):
        file = path / f"folder{number % 20:02d}" / f"file{number:03d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        line = f"line of file {number:03d}, which differs from all others\n"
        file.write_text((line * (FILE_BYTES // len(line) + 1))[:FILE_BYTES])
    git("init", "-q", "-b", "main", folder=path)
    git("add", "-A", folder=path)
    git("commit", "-q", "-m", "First", folder=path)
    return path


def submit(count: int, *, repository: Path, argv: Sequence[str], title: str) -> list[int]:
    """Submit issues to a fleet that is paused, so that none starts; returns their agents' ids. See `release`."""
    repository_id = coordinator.add_repository(str(repository)).id
    coordinator.refresh_repository(repository_id)
    coordinator.pause(coordinator.scope_of(ScopeKind.FLEET), actor=ACTOR)
    ids = []
    for number in range(count):
        wanted = Submission(title=f"{title} {number}", adapter="command", options={"argv": list(argv)})
        agent, _, _ = coordinator.submit(repository_id=repository_id, submission=wanted, actor=ACTOR)
        ids.append(agent.id)
    return ids


def release() -> None:
    """Open the fleet. From now on a nudge starts a submitted agent; where a beat runs, its next sweep does so, too."""
    coordinator.unpause(coordinator.scope_of(ScopeKind.FLEET), actor=ACTOR)


def nudge(agent_id: int) -> int:
    """Nudge an agent and return the moment (ns of the system's clock) at which the nudge was committed."""
    committed: list[int] = []
    with transaction.atomic():
        # Registered first, so it runs after the commit and before the message that wakes a worker is sent.
        transaction.on_commit(lambda: committed.append(time.time_ns()))
        coordinator.nudge(agent_id, actor=ACTOR)
    return committed[0]


def wait_until_done(ids: Collection[int], *, seconds: float, pause: float = 0.05) -> list[AgentView]:
    """The agents, once all are done. Raises PerfError when one fails, or when it takes longer than `seconds`."""
    missing, found = list(ids), list[AgentView]()

    def all_are() -> bool:
        # From the front, and only as far as the first that is not done yet: looking must not load the database.
        while missing:
            agent = coordinator.get_agent(missing[0])
            if agent.state in ATTENTION:
                raise PerfError(f"agent {agent.id} is {agent.state}: {agent.blocked_reason}")
            if agent.state != AgentState.DONE:
                return False
            found.append(agent)
            missing.pop(0)
        return True

    until(all_are, f"{len(ids)} agents are done", seconds=seconds, pause=pause)
    return found


def wait_until_running(count: int, *, seconds: float) -> None:
    """Return once so many executions run. Raises PerfError."""

    def are_there() -> bool:
        return grid.state_counts().get(State.RUNNING, 0) >= count

    until(are_there, f"{count} agents run", seconds=seconds, pause=0.2)


def wait_until_ended(count: int, *, seconds: float) -> None:
    """Return once so many executions have ended. Raises PerfError."""

    def have_ended() -> bool:
        return sum(number for state, number in grid.state_counts().items() if state in TERMINAL) >= count

    until(have_ended, f"{count} executions have ended", seconds=seconds, pause=0.5)


def wait_for_host(*, seconds: float = 60) -> None:
    """Return once a worker has announced this machine as a host. Raises PerfError."""
    until(lambda: any(host.heartbeat_age_seconds < 60 for host in grid.hosts()), "a host reports", seconds=seconds)


def until(condition: Callable[[], bool], what: str, *, seconds: float, pause: float = 0.05) -> None:
    """Look again and again. Raises PerfError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise PerfError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(pause)
