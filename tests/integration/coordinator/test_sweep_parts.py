"""One part of a pass that fails keeps no other part from its work."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from coordinator import sweeps
from coordinator.launching import dispatch
from coordinator.models import Agent, Nudge
from coordinator.money import spending
from coordinator.public_types import Answer, Source
from grid import public_locks
from tests.factories import make_agent, make_git_repository

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "app"))


def due(agent: Agent) -> Nudge:
    """A nudge that waits for the sweep."""
    row = dispatch.nudge(agent.pk, source=Source.OPERATOR, not_before=timezone.now() - timedelta(seconds=1))
    assert row.answer == Answer.DEFERRED
    return row


@pytest.mark.parametrize("error", [KeyError("bug"), DataError("value out of range")])
def test_what_comes_behind_a_part_that_fails_is_done_and_its_name_is_logged(
    agent: Agent, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = due(agent)

    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(public_locks, "sweep", fail)
    monkeypatch.setattr(spending, "settle_orphans", fail)
    with caplog.at_level(logging.ERROR):
        found = sweeps.sweep()
    row.refresh_from_db()
    assert row.answer == Answer.ADMITTED
    assert (found["locks"], found["calls"], found["nudges"], found["bus"]) == (0, 0, 1, 0)
    assert [record.part for record in caplog.records if hasattr(record, "part")] == ["locks", "calls"]


def test_a_database_that_is_away_ends_the_sweep(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    row = due(agent)

    def fail() -> int:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(public_locks, "sweep", fail)
    with pytest.raises(OperationalError):
        sweeps.sweep()
    row.refresh_from_db()
    assert row.answer == Answer.DEFERRED
