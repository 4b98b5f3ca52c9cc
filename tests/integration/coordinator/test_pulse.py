"""A grid whose `control` or `beat` is dead says so, instead of looking busy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from coordinator import passes, public_api
from coordinator.models import Agent, SweepSlot
from coordinator.public_types import AgentState
from coordinator.reading import pulse
from grid import executions
from grid.models import Execution
from grid.public_types import Result, State
from tests.integration.coordinator.command_rows import care, run, started, submitted

pytestmark = pytest.mark.django_db(transaction=True)
NOBODY = "nobody has swept"


@pytest.fixture(autouse=True)
def only_what_is_here(settings: Any, state_dir: Path) -> None:
    settings.DOCTOR_CHECKS = []
    settings.STATIC_ROOT = str(state_dir)  # WhiteNoise warns of a missing folder


def silent_for(seconds: float) -> None:
    passes.sweep()
    then = timezone.now() - timedelta(seconds=seconds)
    SweepSlot.objects.filter(name="sweep").update(slot=int(then.timestamp() // 5))


def test_an_end_that_nobody_takes_up_is_no_wait_for_a_slot(tmp_path: Path) -> None:
    agent = submitted(care(tmp_path))
    assert "waits for a free slot of a host" in run("explain", agent.issue).out
    row = started(agent)
    Agent.objects.filter(pk=agent.id).update(state=AgentState.QUEUED)  # as it is while no event is taken up
    assert "its run is running, and `control` has not taken that up yet" in run("explain", agent.issue).out
    executions.end(row.pk, token=row.token, state=State.SUCCEEDED, reason="done", result=Result())
    said = "its run has ended (succeeded) and waits for `control` to take that up"
    for command in (("status",), ("explain", agent.issue), ("tree", agent.issue)):
        assert said in " ".join(run(*command).out.split())
        assert "free slot" not in run(*command).out
    assert Execution.objects.get(pk=row.pk).state == State.SUCCEEDED


def test_status_doctor_and_the_start_page_tell_that_nobody_sweeps(tmp_path: Path, admin_client: Client) -> None:
    def tell_it() -> list[bool]:
        doctor = [row["check"] for row in run("doctor", "--json").json["warnings"]]
        page = admin_client.get("/admin/").content.decode()
        return [NOBODY in run("status").out, "sweeps" in doctor, NOBODY in page]

    submitted(care(tmp_path))
    assert tell_it() == [True] * 3  # not once since the work came
    silent_for(10)
    assert tell_it() == [False] * 3
    silent_for(50)
    assert tell_it() == [True] * 3
    assert "start `control` and `beat`" in run("status").out
    assert NOBODY in run("status", "--json").json["sweeps"]
    passes.sweep()
    assert tell_it() == [False] * 3


def test_what_watches_processes_hears_of_it_without_work_too(client: Client) -> None:
    assert pulse.problem(now=timezone.now()) == "" and public_api.sweeps_late() == []  # never begun, and nothing to do
    silent_for(50)
    assert pulse.problem(now=timezone.now()) == ""
    (said,) = public_api.sweeps_late()
    assert said.startswith(f"{NOBODY} for ")
    assert NOBODY in client.get("/healthz").json()["checks"]["sweeps"][0]
    passes.sweep()
    assert client.get("/healthz").json()["checks"]["sweeps"] == []


def test_a_longer_period_has_longer_to_be_late(settings: Any) -> None:
    entry = {**settings.CELERY_BEAT_SCHEDULE["coordinator.sweep"], "schedule": 60.0}
    settings.CELERY_BEAT_SCHEDULE = {**settings.CELERY_BEAT_SCHEDULE, "coordinator.sweep": entry}
    passes.sweep()
    now = timezone.now()
    assert pulse.problem(now=now + timedelta(seconds=110), without_work=True) == ""
    assert pulse.problem(now=now + timedelta(seconds=250), without_work=True)
