"""From a shim's spool to events: nothing lost, nothing twice, nothing too large."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from grid import executions, launching, phases, specs
from grid.agents.bounds import MAX_EVENT_BYTES
from grid.host.watch import Watch
from grid.models import Event, Execution, Host
from tests.factories import make_execution

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def watch(state_dir: Path) -> Watch:
    """Of an execution whose first phase runs, by the rows."""
    Host.objects.create(
        pk="here", slots=1, pid=1, boot_id="boot", started_at=timezone.now(), heartbeat_at=timezone.now()
    )
    row = executions.claim(make_execution(acceptance=("true",)).pk, host="here")
    assert row is not None
    return watched(row, "agent")


def watched(row: Execution, phase: str) -> Watch:
    """As the host watches it."""
    spec = specs.load_spec(row.spec, row.prompt)
    made = Watch(row, spec, phases.find(spec, phase))
    made.run_dir.mkdir(parents=True, exist_ok=True)
    assert made.run_dir == launching.phase_path(row.pk, made.phase)
    return made


def spool(watch: Watch, *lines: str, stream: str = "out") -> None:
    """Append lines of output as a shim would."""
    path = watch.run_dir / "spool.jsonl"
    number = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as file:
        for offset, line in enumerate(lines, 1):
            file.write(json.dumps({"n": number + offset, "t": stream, "line": line}) + "\n")


def said(watch: Watch) -> list[str]:
    """Every line in the events of its execution."""
    bodies = (
        Event.objects.filter(stream=watch.stream, kind="agent.output").order_by("seq").values_list("body", flat=True)
    )
    return [line for body in bodies for line in body.get("lines") or [body["text"]]]


@pytest.mark.parametrize("phase", ["agent", "verify-1"])
def test_lines_of_one_look_share_an_event_and_keep_their_order(watch: Watch, phase: str) -> None:
    row = Execution.objects.get(pk=watch.id)
    watch = watched(row, phase)
    spool(watch, "one", "two", "three")
    spool(watch, "oh", stream="err")
    spool(watch, "four")
    watch.catch_up(polls=8)
    bodies = list(Event.objects.filter(stream=watch.stream, kind="agent.output").values_list("body", flat=True))
    assert [body["stream"] for body in bodies] == ["out", "err", "out"]
    assert said(watch) == ["one", "two", "three", "oh", "four"]


def test_no_event_grows_beyond_its_bound_however_many_lines_there_are(watch: Watch) -> None:
    verify = watched(Execution.objects.get(pk=watch.id), "verify-1")
    spool(verify, *[""] * 9000, *["x"] * 9000, *["é" * 100] * 500)
    verify.catch_up(polls=50)
    sizes = [len(json.dumps(body, ensure_ascii=False)) for body in Event.objects.values_list("body", flat=True)]
    assert len(said(verify)) == 18_500
    assert max(sizes) <= MAX_EVENT_BYTES


def failing_once(statement: str) -> Callable[..., Any]:
    """A database that goes away in the middle of the first such statement."""
    failed: list[str] = []

    def run(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if statement in sql and not failed:
            failed.append(sql)
            raise OperationalError("the connection was lost")
        return execute(sql, params, many, context)

    return run


@pytest.mark.parametrize("statement", ["UPDATE", "INSERT"])
def test_output_survives_a_database_that_goes_away_while_it_is_stored(watch: Watch, statement: str) -> None:
    spool(watch, "one", "two")
    with connection.execute_wrapper(failing_once(statement)):
        with pytest.raises(OperationalError):
            watch.catch_up(polls=8)
        spool(watch, "three")
        watch.catch_up(polls=8)
        watch.catch_up(polls=8)
    assert said(watch) == ["one", "two", "three"]
    seqs = list(Event.objects.filter(stream=watch.stream).order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_host_that_takes_over_repeats_nothing(watch: Watch) -> None:
    spool(watch, "one", "two")
    watch.catch_up(polls=8)
    spool(watch, "three")
    successor = watched(Execution.objects.get(pk=watch.id), "agent")
    successor.catch_up(polls=8)
    assert said(watch) == ["one", "two", "three"]


def test_a_bearer_token_that_an_agent_prints_is_in_no_event(watch: Watch) -> None:
    """`env` prints it, and events go to pages, exports and queues of others."""
    token = "agx_" + "t" * 43
    spool(watch, f"AGENTGRID_TOKEN={token}", json.dumps({"said": token}))
    watch.catch_up(polls=8)
    assert said(watch)[0] == "AGENTGRID_TOKEN=agx_…"
    assert all(token not in json.dumps(body) for body in Event.objects.values_list("body", flat=True))
