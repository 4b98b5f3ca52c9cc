"""What ends an agent: limits, commands, signals, the lease."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from grid import processes
from grid.shim import reaper
from tests.hostile.shim_runs import Runs, alive, wait_for


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def test_the_wall_limit_ends_an_agent(runs: Runs) -> None:
    end = runs.begin("hang", limits={"wall_s": 0.6}).exit()
    assert (end["reason"], end["signal"]) == ("wall", signal.SIGINT)
    assert 0.6 <= end["wall_s"] < 2


def test_silence_ends_an_agent(runs: Runs) -> None:
    run = runs.begin("hang", limits={"idle_s": 0.6})
    assert run.exit()["reason"] == "idle"
    assert run.kinds("limit")[0]["limit"] == "idle"


def test_a_limit_of_zero_is_none(runs: Runs) -> None:
    run = runs.begin("ok", limits={"wall_s": 0, "idle_s": 0, "output_bytes": 0, "output_stop_bytes": 0})
    assert run.exit()["reason"] == "exited"
    assert len(run.lines()) == 3


def test_resource_limits_reach_the_agent(runs: Runs) -> None:
    limits = {"nproc": 77, "nofile": 99, "core": 0, "as": 1 << 33, "fsize": 4096, "cpu": 50}
    script = "cat /proc/self/limits; exec dd if=/dev/zero of=big bs=1024 count=8"
    run = runs.begin("ok", argv=["/bin/sh", "-c", script], rlimits=limits)
    assert run.exit()["signal"] == signal.SIGXFSZ
    table = "\n".join(run.lines())
    for words in ("processes 77 77", "open files 99 99", "core file size 0 0", "address space 8589934592 8589934592"):
        assert words in " ".join(table.split())
    assert (run.work / "big").stat().st_size == 4096


def test_an_agent_that_ignores_signals_is_killed_after_the_ladder(runs: Runs) -> None:
    run = runs.begin("ignore-term").said("start")
    run.tell("stop", reason="cancelled")
    end = run.exit()
    assert (end["reason"], end["signal"]) == ("cancelled", signal.SIGKILL)


def test_an_agent_gets_time_for_its_last_word(runs: Runs) -> None:
    run = runs.begin("slow-exit", ladder=(("INT", 3), ("TERM", 1))).said("start")
    run.tell("stop", reason="over_budget")
    end = run.exit()
    assert (end["reason"], end["code"]) == ("over_budget", 0)
    assert "interrupted" in run.lines()[-1]


def test_the_first_reason_stays(runs: Runs) -> None:
    run = runs.begin("ignore-term").said("start")
    run.tell("stop", reason="cancelled")
    run.tell("kill", reason="fenced")
    assert run.exit()["reason"] == "cancelled"


def test_a_stopped_agent_hears_the_ladder(runs: Runs) -> None:
    run = runs.begin("stop-self").said("start")
    wait_for(lambda: reaper.stat_fields(run.agent)[0] == b"T", "stopped agent")
    run.tell("stop")
    assert run.exit()["signal"] == signal.SIGINT


def test_sigterm_to_the_shim_is_an_interruption(runs: Runs) -> None:
    run = runs.begin("slow-exit", ladder=(("INT", 3), ("TERM", 1))).said("start")
    os.kill(run.pid, signal.SIGTERM)
    assert run.exit()["reason"] == "interrupted"


@pytest.mark.parametrize("mode", [("hang",), ("tree", "200")])
def test_sigterm_to_everybody_is_an_interruption_though_the_agent_dies_first(runs: Runs, mode: tuple[str, ...]) -> None:
    pause = 0.02 if len(mode) > 1 else 0  # by then the shim sweeps
    at_once = 0
    for _ in range(20):
        run = runs.begin(*mode).said("start")
        began = time.monotonic()
        os.kill(run.agent, signal.SIGTERM)
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):  # done by now, as below
            os.kill(run.pid, signal.SIGTERM)
        took = time.monotonic() - began
        reason = run.exit()["reason"]
        if took < pause + 0.002:  # else we lost the processor in between, and the shim may have been done by then
            assert reason == "interrupted"
            at_once += 1
        if at_once == 3:
            break
    assert at_once


def test_an_agent_that_closes_its_streams_is_waited_for_without_a_busy_loop(runs: Runs) -> None:
    run = runs.begin("close-stdout", limits={"wall_s": 1}).said("start")
    before = sum(map(int, reaper.stat_fields(run.pid)[11:13]))
    time.sleep(0.5)
    assert sum(map(int, reaper.stat_fields(run.pid)[11:13])) - before <= 1  # clock ticks
    assert run.exit()["reason"] == "wall"


def test_without_renewal_the_shim_kills_its_agent_before_the_lease_ends(runs: Runs) -> None:
    run = runs.begin("ignore-term", lease_ttl_s=4, fence_margin_s=3)
    for _ in range(8):
        time.sleep(0.25)
        answer = run.tell("renew", at=processes.boottime())
        assert answer
        assert 0.9 < answer["fence_in_s"] <= 1
    renewed = processes.boottime()
    end = run.exit()
    assert 0.9 < processes.boottime() - renewed < 2
    assert (end["reason"], end["signal"]) == ("fenced", signal.SIGKILL)


@pytest.mark.parametrize("pause", [1.5, 0.8])
def test_a_renewal_counts_from_when_it_was_sent(runs: Runs, pause: float) -> None:
    """One that waited in the socket of a stopped shim is old; one that came too late does not count at all."""
    run = runs.begin("hang", lease_ttl_s=16).said("start")  # the fence is 1 s after a renewal
    os.kill(run.pid, signal.SIGSTOP)
    sent = processes.boottime()
    assert run.tell("renew", timeout=0.1, at=sent) is None
    time.sleep(pause - 0.1)
    os.kill(run.pid, signal.SIGCONT)
    assert run.exit()["reason"] == "fenced"
    assert processes.boottime() - sent < max(pause, 1) + 0.7


def test_an_agent_cannot_renew_its_own_lease(runs: Runs) -> None:
    run = runs.begin("forge", str(runs.dir / "run-0"))
    run.exit()
    assert [json.loads(line)["ok"] for line in run.lines()] == [False, False]
    assert all("may not command" in record["refused"] for record in run.kinds("control"))


def test_an_agent_cannot_command_the_shim_beside_it(runs: Runs) -> None:
    victim = runs.begin("hang").said("start")
    run = runs.begin("forge", str(victim.dir))
    run.exit()
    assert [json.loads(line)["ok"] for line in run.lines()] == [False, False]
    assert alive(victim.agent)
    victim.tell("kill")
    victim.exit()
