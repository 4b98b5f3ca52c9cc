"""`manage.py bus`, and where else an operator sees how far the queue is behind."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator import sweeps
from grid import event_log
from tests.integration.coordinator.command_rows import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.made_up_events]


@pytest.fixture
def away(settings: Any) -> None:
    """A bus whose queue nobody serves."""
    settings.GRID_BUS_URL, settings.GRID_BUS_IS_SECURE = "sqs://testing:testing@127.0.0.1:9/events.fifo", False
    settings.DOCTOR_CHECKS = ["grid.public_bus.check"]
    event_log.append(stream="agent:7", root="tree:7", events=[("a", {})] * 3)


def test_without_a_bus_it_says_how_to_get_one():
    assert "EVENT_BUS_URL names a queue" in run("bus").out
    assert run("bus", "--json").json == {"bus": None, "problems": []}
    assert run("bus", "skip").code == 0
    for act in ("publish", "prepare"):
        said = run("bus", act)
        assert said.code == 2 and "set EVENT_BUS_URL" in said.error
    assert "Event bus" not in run("status").out
    assert sweeps.sweep()["bus"] == 0


def test_a_queue_that_is_away_shows_everywhere(away):
    said = run("bus")
    assert said.code == 1
    assert "events.fifo is 3 events behind" in said.out and "check EVENT_BUS_URL" in said.out
    document = run("bus", "--json").json
    assert document["bus"]["events_behind"] == 3 and len(document["problems"]) == 1
    assert "events.fifo is 3 events behind" in run("status").out
    assert run("status", "--json").json["bus"]["queue"] == "events.fifo"
    assert any("127.0.0.1:9" in warning["detail"] for warning in run("doctor", "--json").json["warnings"])
    assert run("bus", "prepare").code == 2
    done = run("bus", "publish", "--seconds", "5", "--json")
    assert done.code == 1 and done.json["sent"] == 0 and "check EVENT_BUS_URL" in done.json["problem"]
    assert sweeps.sweep()["bus"] == 1, "a worker is woken, and nothing else minds"


def test_what_is_old_can_be_left_out(away):
    assert run("bus", "skip", "--json").json == {"left_out": 3}
    assert run("bus", "--json").json["bus"]["events_behind"] == 0
    assert "events.fifo has every event" in run("status").out


@pytest.mark.parametrize("url", ["sqs:///", "redis://x/q", "sqs:///two/parts", "sqs://key:se#cret@host/q"])
def test_an_address_that_names_no_queue_stops_the_start(url):
    import os
    import subprocess
    import sys

    from agentgrid.supervisor import ROOT

    done = subprocess.run(
        [sys.executable, "-c", "import agentgrid.settings"],
        cwd=ROOT,
        env={"PATH": os.defpath, "EVENT_BUS_URL": url, "AGENTGRID_READ_DOTENV": "False", "SECRET_KEY": "x"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "EVENT_BUS_URL: give sqs://" in done.stderr
