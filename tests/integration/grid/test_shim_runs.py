"""One run from start to exit record, with agents that behave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grid import processes
from grid.processes import ShimState, StartCode
from grid.public_errors import LaunchFailedError
from grid.shim import reaper
from tests.hostile.shim_runs import Run, Runs, alive, wait_for


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def cold(run: Run) -> StartCode:
    """Start without a nursery."""
    return processes._cold_start(run.path, python=sys.executable, timeout=20)


@pytest.mark.parametrize("by", ["nursery", "cold"])
def test_a_run_leaves_its_output_and_an_exit_record(runs: Runs, by: str) -> None:
    run = runs.make("ok")
    assert processes.shim_state(run.dir) is ShimState.ABSENT
    assert (run.start() if by == "nursery" else cold(run)) == StartCode.RUNNING
    end = run.exit()
    assert (end["reason"], end["code"], end["signal"]) == ("exited", 0, None)
    assert (end["out"]["lines"], end["err"]["lines"]) == (3, 1)
    assert (run.work / "answer.txt").read_text() == "42\n"
    assert json.loads((run.work / ".agentgrid/outcome.json").read_text())["outcome"] == "done"
    assert run.records()[0]["t"] == "start"
    assert '"prompt_chars": 12' in run.lines()[0]


def test_a_cold_shim_holds_nothing_of_its_starter(runs: Runs) -> None:
    run = runs.make("hang")
    reader, writer = os.pipe()
    command = [sys.executable, "-I", "-S", str(processes.SHIM / "__main__.py"), str(run.path)]
    subprocess.run(
        command, check=True, capture_output=True, pass_fds=[writer], timeout=10
    )  # returns: no stream is kept
    os.close(writer)
    assert os.read(reader, 1) == b""  # everybody else has closed it, or this would wait
    os.close(reader)
    run.said("start").tell("kill")
    run.exit()


@pytest.mark.parametrize("again", ["nursery", "cold"])
def test_a_run_directory_is_used_once(runs: Runs, again: str) -> None:
    run = runs.begin("ok")
    run.exit()
    assert (run.start() if again == "nursery" else cold(run)) == StartCode.ALREADY_USED
    assert len(run.kinds("start")) == 1


def test_an_agent_that_cannot_be_started_is_told_with_its_reason(runs: Runs) -> None:
    run = runs.make("ok", argv=["/no/such/agent"])
    assert run.start() == StartCode.NOT_STARTED
    end = run.exit()
    assert end["reason"] == "not_started"
    assert end["error"] == "[Errno 2] No such file or directory: /no/such/agent"


def test_an_unreadable_spec_fails_the_shim_and_not_the_nursery(runs: Runs) -> None:
    nursery = runs.nursery()
    run = runs.make("ok")
    run.path.write_text("{")
    assert run.start() == StartCode.FAILED
    assert cold(run) == StartCode.FAILED
    assert runs.begin("ok").exit()["code"] == 0
    assert processes.nursery_pid(runs.host) == nursery


def test_a_lease_that_is_over_starts_nothing(runs: Runs) -> None:
    run = runs.make("ok", lease_at=processes.boottime() - 46)
    assert run.start() == StartCode.NOT_STARTED
    assert run.exit()["reason"] == "fenced"
    assert not (run.work / "answer.txt").exists()


def test_a_directory_longer_than_a_socket_path_works(runs: Runs) -> None:
    runs.host = runs.dir / ("h" * 120)
    run = runs.begin("hang", folder="d" * 120)
    answer = run.tell("ping")
    assert answer
    assert answer["ok"]
    run.tell("kill")
    run.exit()


def test_a_native_program_gets_the_signals_and_umask_of_a_login_shell(runs: Runs) -> None:
    run = runs.begin("ok", argv=["/bin/sh", "-c", "yes | head -n 1; umask; grep SigIgn /proc/self/status"])
    assert run.exit()["code"] == 0
    *said, ignored = run.lines()
    assert said == ["y", "0022"]
    # Signals 32 and 33 belong to the C library; GNU make leaves them ignored in everything below it.
    assert int(ignored.split()[1], 16) & ~(3 << 31) == 0
    assert run.lines("err") == []


def test_a_killed_agent_is_told_by_its_signal(runs: Runs) -> None:
    end = runs.begin("die9").exit()
    assert (end["reason"], end["code"], end["signal"]) == ("exited", None, 9)


def test_exit_0_without_a_result_is_reported_as_it_is(runs: Runs) -> None:
    run = runs.begin("exit-0-no-result")
    assert run.exit()["code"] == 0
    assert len(run.lines()) == 1


def test_messages_are_delivered_to_an_open_stdin(runs: Runs) -> None:
    run = runs.begin("echo", stdin="pipe")
    answer = run.tell("deliver", id=7, message={"text": "hello"})
    assert answer
    assert answer["ok"]
    run.said("hello")
    run.tell("deliver", message="bye")
    assert run.exit()["code"] == 0
    assert [record["taken"] for record in run.kinds("control")] == [True, True]


def test_an_agent_that_reads_nothing_blocks_nobody(runs: Runs) -> None:
    run = runs.begin("hang", stdin="pipe", prompt_text="x" * 3_000_000)
    ping, delivery = run.tell("ping"), run.tell("deliver", message="one more")
    assert ping
    assert ping["ok"]
    assert delivery
    assert not delivery["ok"]
    run.tell("kill")
    run.exit()


def test_a_fault_of_the_shim_itself_sweeps_and_reports(runs: Runs) -> None:
    run = runs.begin("daemonize", ladder=(("NOPE", 1),)).said("start")
    run.tell("stop", timeout=0.1)
    end = run.exit(log=True)
    assert end["reason"] == "shim_failed"
    assert "NOPE" in end["error"]
    assert "Traceback" in run.log()


def test_hostile_commands_are_refused_and_survived(runs: Runs) -> None:
    run = runs.begin("hang").said("start")
    for message in ({"op": "dance"}, {"op": "renew"}, {"op": "renew", "at": "soon"}, {}, {"op": ["kill"]}):
        answer = processes.command(run.dir, message)
        assert answer
        assert not answer["ok"]
    assert len(run.kinds("control")) == 5
    assert alive(run.agent)
    run.tell("kill")
    run.exit()


def test_anybody_who_finds_the_run_directory_can_adopt_the_shim(runs: Runs) -> None:
    run = runs.begin("hang")
    identity = processes.shim_identity(run.dir)
    assert identity
    assert processes.is_running(identity)
    assert os.getsid(identity.pid) == identity.pid
    assert processes.shim_state(run.dir) is ShimState.ALIVE
    run.tell("kill")
    run.exit()
    wait_for(lambda: not processes.is_running(identity), "end of the shim")
    other_boot = processes.Identity(pid=os.getpid(), start=identity.start, boot="another")
    assert not processes.is_running(other_boot)
    assert processes.command(run.dir, {"op": "ping"}) is None


def test_ended_and_absent_shims_need_no_ending(runs: Runs, tmp_path: Path) -> None:
    run = runs.begin("ok")
    run.exit()
    wait_for(lambda: not alive(run.pid), "end of the shim")
    assert processes.end_shim(run.dir) == 0
    assert processes.end_shim(tmp_path) == 0
    assert processes.shim_identity(tmp_path) is None
    assert processes.command(tmp_path, {"op": "ping"}) is None
    assert processes.command(tmp_path / "missing", {"op": "ping"}) is None


def test_a_forged_identity_never_ends_the_host(runs: Runs) -> None:
    run = runs.begin("hang").said("start")
    path = run.dir / "shim.json"
    true = path.read_text()
    path.write_text(json.dumps(reaper.identity()))
    assert processes.end_shim(run.dir) == 0
    path.write_text('{"pid": "x"}')
    assert processes.shim_identity(run.dir) is None
    path.write_text(true)
    run.tell("kill")
    run.exit()


def test_a_missing_interpreter_is_a_permanent_error(runs: Runs) -> None:
    run = runs.make("ok")
    with pytest.raises(LaunchFailedError, match="set GRID_PYTHON") as caught:
        run.start(python="/no/such/python")
    assert caught.value.permanent


def test_the_spec_is_readable_by_us_alone(runs: Runs) -> None:
    run = runs.make("ok")
    assert run.path.stat().st_mode & 0o777 == 0o600
