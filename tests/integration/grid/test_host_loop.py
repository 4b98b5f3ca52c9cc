"""The host's loop: nothing that one agent does keeps it from the others, and nothing is tried for ever."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from django.utils import timezone

from grid import delivery, executions, launching, phases, processes, specs
from grid.conf import conf
from grid.host import doubts, finish, orders
from grid.host.loop import MAX_FAILURES, HostLoop
from grid.host.watch import Watch
from grid.models import Execution, Host
from grid.public_types import AgentSpec, State
from grid.spool import SpoolReader
from tests.factories import make_execution
from tests.hostile.shim_runs import Runs, alive, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
LISTENS = AgentSpec(adapter="builtin", options={"model": "scripted", "script": "steps: []"})
ON_POSTGRES = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite takes it")


@pytest.fixture
def loop(state_dir: Path) -> Iterator[HostLoop]:
    """A host whose ticks are the test's."""
    Host.objects.create(pk="here", slots=4, started_at=timezone.now(), heartbeat_at=timezone.now())
    made = HostLoop(name="here", slots=4)
    yield made
    made.errands.close()
    processes.retire_nursery(conf().host_dir)


def watched(
    loop: HostLoop, subject: str, *records: str, agent: AgentSpec = LISTENS, phase: str = "agent", **spec: Any
) -> Watch:
    """A running execution with a spool; its shim is gone."""
    row = executions.claim(make_execution(subject, agent=agent, **spec).pk, host="here")
    assert row is not None
    Execution.objects.filter(pk=row.pk).update(state=State.RUNNING, phase=phase, sandbox="process")
    row.refresh_from_db()
    launch = specs.load_spec(row.spec, row.prompt)
    watch = loop.watches[row.pk] = Watch(row, launch, phases.find(launch, phase))
    watch.run_dir.mkdir(parents=True)
    (watch.run_dir / "spool.jsonl").write_text("".join(f"{record}\n" for record in records))
    return watch


@pytest.mark.parametrize(
    "record",
    [
        '{"n": 1, "t": "limit", "limit": "wall", "size": NaN}',
        pytest.param('{"n": 1, "t": "limit", "limit": "wall", "text": "\\u0000"}', marks=ON_POSTGRES),
        pytest.param('{"n": 99999999999, "t": "limit", "limit": "wall"}', marks=ON_POSTGRES),
    ],
)
def test_a_spool_that_no_database_takes_ends_its_own_run_alone(loop: HostLoop, record: str) -> None:
    forged = watched(loop, "issue:1", record)
    honest = watched(loop, "issue:2", json.dumps({"n": 1, "t": "out", "line": "hello"}))
    rows = loop._rows()
    for watch in (forged, honest):
        loop._follow(watch, rows[watch.id])
    assert forged.ended is not None
    assert forged.ended.reason == "shim_failed"
    assert honest.recorded == 1


@pytest.mark.parametrize(("error", "state"), [(DataError, State.FAILED), (OperationalError, State.RUNNING)])
def test_an_end_that_no_database_takes_is_given_up_one_that_waits_for_it_is_not(
    loop: HostLoop, error: type[Exception], state: State
) -> None:
    watch = watched(loop, "issue:1")
    watch.failures = MAX_FAILURES - 1

    def fail() -> None:
        raise error("no")

    loop.errands.send(watch.id, fail)
    loop.errands.under_way[watch.id].exception(timeout=30)
    loop._collect()
    assert Execution.objects.get(pk=watch.id).state == state


def test_a_silent_shim_is_written_to_now_and_then(loop: HostLoop) -> None:
    """Each attempt takes half a second in which the host does nothing else."""
    watch = watched(loop, "issue:1")
    assert delivery.deliver(watch.id, key="message:1", sender="cli:ann", text="hello")
    row = loop._rows()[watch.id]
    for _ in range(2):
        watch.retry_at = processes.boottime() - 1.0  # the pause after the attempt before is over
        orders.hand_over(watch, row)
        assert watch.retry_at > processes.boottime() - 1.0 + orders.STOP_RETRY_SECONDS
    assert watch.handed_over == 0


def test_an_agent_that_is_not_ours_any_more_dies_also_under_a_stopped_shim(loop: HostLoop) -> None:
    watch = watched(loop, "issue:1")
    with Runs() as runs:
        run = runs.begin("hang")
        watch.run_dir = run.dir
        os.kill(run.pid, signal.SIGSTOP)
        loop._fence(watch)
        wait_for(lambda: not alive(run.agent), "the agent's end")
    assert watch.id not in loop.watches


def test_what_an_agent_planted_for_a_later_phase_is_cleared_away(loop: HostLoop) -> None:
    """It dies before the acceptance commands begin: what it left would pass for their end."""
    watch = watched(loop, "issue:1", acceptance=("exit 3",))
    run_dir, verify = conf().run_dir(watch.id), phases.find(watch.spec, "verify-1")
    for name in ("verify", "home/tmp"):
        (run_dir / name).mkdir(parents=True)
    planted = launching.phase_path(watch.id, verify)
    planted.mkdir()
    (planted / "spool.jsonl").write_text('{"n": 1, "t": "exit", "reason": "exited", "code": 0, "wall_s": 1}\n')
    os.mkfifo(planted / "spec.json.new")
    row = Execution.objects.get(pk=watch.id)
    finish._next_phase(row, watch, verify, lease_at=processes.boottime())
    real, said = SpoolReader(planted / "spool.jsonl"), list[dict[str, Any]]()

    def is_over() -> bool:
        said.extend(real.read())
        return bool(said) and said[-1]["t"] == "exit"

    wait_for(is_over, "its end")
    assert said[-1]["code"] == 3, "as the command says"


def test_files_of_a_phase_are_written_whatever_lies_there(loop: HostLoop) -> None:
    watch = watched(loop, "issue:1", agent=AgentSpec(adapter="command", options={"command": "true"}))
    for name in ("workspace", "home/tmp"):
        (conf().run_dir(watch.id) / name).mkdir(parents=True)
    (watch.run_dir / "spool.jsonl").unlink()
    for name in ("prompt", "spec.json.new"):
        os.mkfifo(watch.run_dir / name)

    def start() -> None:
        launching.start_phase(watch.id, watch.spec, watch.phase, lease_at=processes.boottime())
        connection.close()

    starting = threading.Thread(target=start, daemon=True)
    starting.start()
    starting.join(60)
    assert not starting.is_alive(), "it waits for a reader of the pipe"
    assert stat.S_IMODE((watch.run_dir / "spec.json").stat().st_mode) == 0o600


def test_a_run_that_a_later_version_has_written_is_lost_and_no_other(loop: HostLoop) -> None:
    """After a release was rolled back."""
    beyond, honest = watched(loop, "issue:1"), watched(loop, "issue:2")
    row = Execution.objects.get(pk=beyond.id)
    Execution.objects.filter(pk=row.pk).update(spec={**row.spec, "novelty": 1})
    loop.watches.clear()
    loop._adopt(loop._rows(), is_start=True)
    row.refresh_from_db()
    assert row.state == State.LOST and "novelty" in row.reason
    assert list(loop.watches) == [honest.id]


# --- who told a shim to stop -------------------------------------------------------------------------------------------

TOLD = json.dumps({"n": 1, "t": "exit", "reason": "interrupted", "code": None, "signal": 2, "wall_s": 1.0})


def follow(loop: HostLoop, *watches: Watch) -> None:
    """One look at these, as a tick takes it; what is sent off is waited for."""
    rows = loop._rows()
    for watch in watches:
        loop._follow(watch, rows[watch.id])
    loop._announce(processes.boottime())
    for under_way in list(loop.errands.under_way.values()):
        under_way.exception(timeout=60)


def is_announced() -> bool:
    """Whether claims see that the host takes work."""
    return Host.objects.get(pk="here").draining_at is None


def later(*watches: Watch) -> None:
    """Have so much time gone by that nothing about their ends is in doubt any more."""
    for watch in watches:
        assert watch.doubted_at is not None
        watch.doubted_at -= doubts.MAX_SECONDS + 1


def test_a_shim_that_was_told_to_stop_alone_was_told_so_by_its_agent(loop: HostLoop) -> None:
    watch = watched(loop, "issue:1", TOLD, phase="setup-1", setup=("make",))
    follow(loop, watch)
    assert Execution.objects.get(pk=watch.id).state == State.RUNNING, "it is too early to say"
    assert is_announced(), "and the others get on with their work"
    later(watch)
    follow(loop, watch)
    row = Execution.objects.get(pk=watch.id)
    assert row.state == State.LOST and doubts.WHY in row.reason


def test_an_end_in_doubt_is_believed_as_soon_as_the_host_is_to_go_as_well(loop: HostLoop) -> None:
    watch = watched(loop, "issue:1", TOLD, phase="setup-1", setup=("make",))
    follow(loop, watch)
    loop.draining.set()
    follow(loop, watch)
    assert Execution.objects.get(pk=watch.id).state == State.INTERRUPTED


@pytest.mark.parametrize("reason", [State.INTERRUPTED, State.CANCELLED, State.OVER_BUDGET])
def test_who_was_asked_to_stop_ends_as_it_was_asked_to(loop: HostLoop, reason: State) -> None:
    """Also when its agent was quicker than the host, and has told the shim itself."""
    watch = watched(loop, "issue:1", TOLD, phase="setup-1", setup=("make",))
    assert executions.request_stop([watch.id], reason=reason)
    follow(loop, watch)
    assert Execution.objects.get(pk=watch.id).state == reason


def test_while_several_shims_say_that_the_machine_goes_nothing_new_is_started(loop: HostLoop) -> None:
    told = [watched(loop, f"issue:{n}", TOLD, phase="setup-1", setup=("make",)) for n in (1, 2)]
    follow(loop, *told)
    assert not is_announced()
    later(*told)
    follow(loop, *told)
    loop._collect()
    loop._announce(processes.boottime())
    assert is_announced()
    assert {row.state for row in Execution.objects.all()} == {State.LOST}


def test_what_ended_while_no_host_was_there_is_believed(loop: HostLoop) -> None:
    """The machine went down, and the host with it, before it could drain."""
    watch = watched(loop, "issue:1", TOLD, phase="setup-1", setup=("make",))
    loop.watches.clear()
    loop._adopt(loop._rows(), is_start=True)
    follow(loop, loop.watches[watch.id])
    assert Execution.objects.get(pk=watch.id).state == State.INTERRUPTED


@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPING])
def test_of_the_living_a_new_host_believes_whom_the_one_before_has_asked_to_stop(loop: HostLoop, state: State) -> None:
    watch = watched(loop, "issue:1", phase="setup-1", setup=("make",))
    Execution.objects.filter(pk=watch.id).update(state=state)
    loop.watches.clear()
    with (watch.run_dir / "spool.jsonl").open() as spool:
        fcntl.flock(spool, fcntl.LOCK_EX)  # as its shim does
        loop._adopt(loop._rows(), is_start=True)
    assert loop.watches[watch.id].is_inherited == (state == State.STOPPING)
