"""Phases that were written on the row and never begun, and phases that are begun twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from grid import executions, launching, phases, processes, specs
from grid.conf import conf
from grid.host.loop import HostLoop
from grid.host.watch import Watch
from grid.models import Execution, Host
from grid.processes import ShimState
from grid.public_errors import LaunchFailedError
from grid.public_types import LaunchSpec, State, Work
from tests.factories import git, make_execution, make_git_repository

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def loop(state_dir: Path) -> Iterator[HostLoop]:
    """A host whose ticks are the test's."""
    Host.objects.create(pk="here", slots=2, started_at=timezone.now(), heartbeat_at=timezone.now())
    made = HostLoop(name="here", slots=2)
    yield made
    made.errands.close()
    processes.retire_nursery(conf().host_dir)


def claimed() -> tuple[Execution, LaunchSpec]:
    row = executions.claim(make_execution().pk, host="here")
    assert row is not None
    run_dir = conf().run_dir(row.pk)
    (run_dir / "workspace").mkdir(parents=True)
    (run_dir / "home" / "tmp").mkdir(parents=True)
    return row, specs.load_spec(row.spec, row.prompt)


def unbegun(**changes: object) -> Execution:
    """As a host leaves it that lost the database between writing a phase and starting it."""
    row, _ = claimed()
    Execution.objects.filter(pk=row.pk).update(state=State.RUNNING, phase="agent", **changes)
    return Execution.objects.get(pk=row.pk)


def watch(row: Execution) -> Watch:
    spec = specs.load_spec(row.spec, row.prompt)
    return Watch(row, spec, phases.find(spec, row.phase))


def queued(tmp_path: Path) -> UUID:
    """Work in a repository that is there."""
    source = make_git_repository(tmp_path / "app")
    work = Work(repository="r1", source=str(source), branch="agent/1-x", base=git(source, "rev-parse", "HEAD"))
    return make_execution(work=work).pk


def away(execute: Any, sql: str, *rest: Any) -> Any:
    """A database that is lost where a launch writes its first phase."""
    if sql.startswith("UPDATE") and '"phase"' in sql:
        raise OperationalError("the connection was lost")
    return execute(sql, *rest)


def errands_done(loop: HostLoop) -> None:
    deadline = time.monotonic() + 20
    while loop.errands and time.monotonic() < deadline:
        loop._collect()
        time.sleep(0.02)
    assert not loop.errands


def test_a_host_begins_what_was_written_and_never_begun(loop: HostLoop) -> None:
    row = unbegun(sandbox="process")
    loop._adopt(loop._rows())
    assert row.pk in loop.errands
    errands_done(loop)
    assert processes.shim_state(watch(row).run_dir) != ShimState.ABSENT


def test_what_cannot_be_begun_ends(loop: HostLoop) -> None:
    row = unbegun(sandbox="firejail")
    loop._adopt(loop._rows())
    errands_done(loop)
    row.refresh_from_db()
    assert (row.state, "could not start" in row.reason) == (State.FAILED, True)


def test_what_was_asked_to_stop_meanwhile_is_not_begun(loop: HostLoop) -> None:
    row = unbegun(sandbox="process", stop_reason="cancelled")
    loop._adopt(loop._rows())
    errands_done(loop)
    row.refresh_from_db()
    assert row.state == State.CANCELLED
    assert processes.shim_state(launching.phase_path(row.pk, phases.find(specs.load_spec(row.spec, ""), "agent"))) == (
        ShimState.ABSENT
    )


def test_a_start_that_failed_is_tried_again(loop: HostLoop) -> None:
    row = unbegun(sandbox="process")
    loop.watches[row.pk] = watch(row)
    loop.watches[row.pk].failures = 1
    loop._follow(loop.watches[row.pk], loop._rows()[row.pk])
    assert row.pk in loop.errands
    errands_done(loop)
    assert processes.shim_state(watch(row).run_dir) != ShimState.ABSENT


def test_a_claim_whose_launch_lost_the_database_is_launched_again(loop: HostLoop, tmp_path: Path) -> None:
    pk = queued(tmp_path)
    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        loop._launch(pk)
    assert Execution.objects.get(pk=pk).state == State.CLAIMED
    loop._adopt(loop._rows())
    assert pk in loop.errands
    errands_done(loop)
    row = Execution.objects.get(pk=pk)
    assert row.state == State.RUNNING
    assert processes.shim_state(watch(row).run_dir) != ShimState.ABSENT


def test_a_task_waits_for_the_database_to_launch_what_it_has_claimed(
    loop: HostLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "START_AGAIN_SECONDS", (0.0, 0.0))
    row = executions.claim(queued(tmp_path), host="here")
    assert row is not None
    failed: list[str] = []

    def away_twice(execute: Any, sql: str, *rest: Any) -> Any:
        if len(failed) == 2:
            return execute(sql, *rest)
        try:
            return away(execute, sql, *rest)
        except OperationalError:
            failed.append(sql)
            raise

    with connection.execute_wrapper(away_twice):
        assert launching.start_patiently(row, lease_at=processes.boottime())
    assert len(failed) == 2
    assert Execution.objects.get(pk=row.pk).state == State.RUNNING


def test_a_claim_is_left_to_whoever_launches_it(loop: HostLoop) -> None:
    row, _ = claimed()
    Execution.objects.filter(pk=row.pk).update(phase="agent")
    loop._adopt(loop._rows())
    assert row.pk not in loop.errands
    assert row.pk not in loop.watches


def test_a_tick_reads_all_that_it_needs_of_a_row(loop: HostLoop) -> None:
    pk = unbegun().pk
    row = loop._rows()[pk]
    assert not {"inbox_count", "sandbox", "stop_reason", "state", "phase"} & row.get_deferred_fields()


def test_a_second_start_leaves_the_first_ones_token_alone(loop: HostLoop, settings: Settings) -> None:
    settings.GRID_AGENT_URL = "http://127.0.0.1:1"
    row, spec = claimed()
    agent, at = phases.find(spec, "agent"), processes.boottime()
    assert launching.start_phase(row.pk, spec, agent, lease_at=at)
    first = Execution.objects.values_list("bearer_sha256").get(pk=row.pk)
    assert first != ("",)
    assert not launching.start_phase(row.pk, spec, agent, lease_at=at)
    assert Execution.objects.values_list("bearer_sha256").get(pk=row.pk) == first


def test_nothing_is_started_for_a_claim_that_is_over(loop: HostLoop, settings: Settings) -> None:
    settings.GRID_AGENT_URL = "http://127.0.0.1:1"
    row, spec = claimed()
    Execution.objects.filter(pk=row.pk).update(state=State.LOST)
    with pytest.raises(LaunchFailedError, match="claim is over"):
        launching.start_phase(row.pk, spec, phases.find(spec, "agent"), lease_at=processes.boottime())
    assert processes.shim_state(launching.phase_path(row.pk, phases.find(spec, "agent"))) == ShimState.ABSENT
