"""Process trees that do not want to end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from grid import processes
from grid.processes import ShimState
from grid.shim import reaper
from tests.hostile.shim_runs import Runs, alive, state_letter, wait_for


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def test_daemons_are_killed_with_their_agent(runs: Runs) -> None:
    run = runs.begin("daemonize").said("start")
    wait_for(lambda: len(run.left()) == 17, "agent and 8 daemons, each with its child")
    run.tell("kill")
    assert run.exit()["swept"] >= 17


def test_daemons_are_killed_after_success(runs: Runs) -> None:
    end = runs.begin("daemonize-and-leave").exit()
    assert (end["code"], end["reason"]) == (0, "exited")
    assert end["swept"] >= 8


def test_300_children_are_killed(runs: Runs) -> None:
    run = runs.begin("tree", "300").said("start")
    wait_for(lambda: len(run.left()) == 301, "300 children")
    run.tell("kill")
    end = run.exit()
    assert end["swept"] >= 301
    assert end["left"] == 0


def test_a_fork_bomb_is_killed(runs: Runs) -> None:
    run = runs.begin("forkbomb", "200").said("start")
    wait_for(lambda: len(run.left()) > 200, "explosion")
    answer = run.tell("kill", timeout=10)
    assert answer
    assert answer["ok"]
    assert run.exit()["left"] == 0


def test_orphans_are_reaped(runs: Runs) -> None:
    run = runs.begin("orphans").said("start")
    time.sleep(0.3)
    zombies = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = reaper.stat_fields(name)
        except OSError:
            continue
        if fields[0] == b"Z" and int(fields[1]) == run.pid:
            zombies.append(name)
    assert zombies == []
    run.tell("kill")
    run.exit()


def test_a_killed_shim_takes_its_agent_along_and_the_nursery_buries_the_rest(runs: Runs) -> None:
    neighbour = runs.begin("daemonize").said("start")
    wait_for(lambda: len(neighbour.left()) == 17, "the neighbour's daemons")
    run = runs.begin("daemonize").said("start")
    wait_for(lambda: len(run.left()) == 17, "daemons with setsid and without environment")
    os.kill(run.pid, signal.SIGKILL)
    assert wait_for(lambda: not run.left(), "end of all its processes", 5) < 1
    assert processes.shim_state(run.dir) is ShimState.GONE
    assert run.records()[-1]["t"] != "exit"
    assert len(neighbour.left()) == 17  # of a shim that lives
    neighbour.tell("kill")
    neighbour.exit()


def test_an_agent_that_kills_its_shim_gains_nothing(runs: Runs) -> None:
    run = runs.begin("kill-parent")
    shim = run.pid
    wait_for(lambda: not alive(shim), "dead shim")
    assert wait_for(lambda: not run.left(), "end of all its processes", 5) < 1


def test_an_agent_dies_with_its_shim_without_a_nursery(runs: Runs) -> None:
    run = runs.begin("hang").said("start")
    os.kill(runs.nursery(), signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    wait_for(lambda: not alive(run.agent), "dead agent", 2)


def test_a_shim_that_its_agent_stops_is_ended_from_outside(runs: Runs) -> None:
    """The host sees unanswered pings; killing the shim first would orphan the tree."""
    run = runs.begin("stop-supervisor").said("start")
    wait_for(lambda: state_letter(run.pid) == "T", "stopped shim")
    assert [run.tell("ping", timeout=0.2) for _ in range(2)] == [None, None]
    assert processes.shim_state(run.dir) is ShimState.ALIVE
    assert processes.end_shim(run.dir) >= 3
    assert run.exit()["signal"] == signal.SIGKILL


def test_a_shim_that_never_answers_again_is_killed(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILL_GRACE_SECONDS", -1.0)  # no time for SIGCONT
    run = runs.begin("hang").said("start")
    shim = run.pid
    os.kill(shim, signal.SIGSTOP)
    assert processes.end_shim(run.dir) == 1
    wait_for(lambda: not alive(shim), "dead shim")
    assert processes.shim_state(run.dir) is ShimState.GONE
    assert run.left() == []


def test_nothing_writes_after_the_lease(runs: Runs) -> None:
    run = runs.begin("keep-writing", lease_ttl_s=2.5, fence_margin_s=1.5)
    lease_ends = run.spec.lease_at + 2.5
    run.exit()
    time.sleep(0.3)
    written = [float(line) for line in (run.work / "late.txt").read_text().split()]
    assert written
    assert max(written) < lease_ends - 1
