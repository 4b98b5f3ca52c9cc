"""What the host does for sandboxes: refusals become events, networks of ended runs go, the backend is on the row."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pytest_django import Settings

from grid import executions, launching, phases, processes, specs
from grid.conf import conf
from grid.host import identity, walls
from grid.host.watch import REFUSED, Watch
from grid.models import Event, Execution, Host
from grid.public_types import Result, State
from grid.sandboxes import network
from tests.factories import make_execution

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def row(state_dir: Path) -> Execution:
    """An execution that a host has claimed; its agent is in a sandbox."""
    Host.objects.create(pk="here", slots=4)
    claimed = executions.claim(make_execution().pk, host="here")
    assert claimed is not None
    Execution.objects.filter(pk=claimed.pk).update(sandbox="bwrap", phase="agent")
    claimed.refresh_from_db()
    return claimed


def refuse(row: Execution, *hosts: str) -> None:
    """As the proxy writes it down."""
    folder = network.folder_of(conf(), row.pk)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "refused.jsonl").open("a") as file:
        file.writelines(json.dumps({"host": host, "why": "not allowed"}) + "\n" for host in hosts)


def refused(row: Execution) -> list[str]:
    """Hosts of the events, in order."""
    bodies = Event.objects.filter(stream=row.stream, kind=REFUSED).order_by("seq").values_list("body", flat=True)
    return [body["host"] for body in bodies]


def watch(row: Execution) -> Watch:
    """As a host has it that just started."""
    spec = specs.load_spec(row.spec, row.prompt)
    return Watch(row, spec, phases.find(spec, "agent"))


def test_every_refusal_becomes_one_event_whoever_watches(row: Execution) -> None:
    first = watch(row)
    first.note_refusals()
    refuse(row, "one.test:443")
    first.note_refusals()
    first.note_refusals()
    refuse(row, "two.test:443")
    watch(row).note_refusals()
    first.note_refusals()
    assert refused(row) == ["one.test:443", "two.test:443"]


def test_nothing_is_written_for_an_execution_that_is_not_ours_any_more(row: Execution) -> None:
    late = watch(row)
    Execution.objects.filter(pk=row.pk).update(token=row.token + 1)
    refuse(row, "one.test:443")
    late.note_refusals()
    assert refused(row) == []


def test_networks_of_ended_runs_are_closed_and_no_others(row: Execution) -> None:
    ended = executions.claim(make_execution("issue:2").pk, host="here")
    unseen = executions.claim(make_execution("issue:3").pk, host="here")
    settings = conf()
    try:
        for each in (row, ended, unseen):
            network.open_for(each.pk, settings)
        executions.end(ended.pk, token=ended.token, state=State.FAILED, reason="over", result=Result())
        walls.keep_networks(settings, [row.pk])  # as known to a tick that read its rows before `unseen` was claimed
        assert set(network.opened(settings)) == {row.pk, unseen.pk}
    finally:
        for execution_id in network.opened(settings):
            network.close(settings, execution_id)
        network.retire(settings)


def test_a_run_that_needs_more_than_the_host_enforces_ends_with_the_fix(row: Execution) -> None:
    spec = dataclasses.replace(specs.load_spec(row.spec, row.prompt), sandbox="network")
    Execution.objects.filter(pk=row.pk).update(spec=specs.dump_spec(spec))
    row.refresh_from_db()
    assert not launching.start(row, lease_at=processes.boottime())
    row.refresh_from_db()
    assert row.state == State.FAILED
    assert "needs more than the sandbox process enforces on this host: network" in row.reason


def test_a_host_says_that_its_agents_have_no_sandbox(settings: Settings) -> None:
    assert identity.isolation_note(conf()).startswith("Warning: agents run without a sandbox")
    settings.GRID_SANDBOX = "firejail"
    assert "there is no sandbox 'firejail'" in identity.isolation_note(conf())
