"""What `lifecycle.change` and `grid.changing.change` write, and when they write nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db.models import F

from coordinator import lifecycle
from coordinator.lifecycle import IllegalMoveError
from coordinator.models import Agent
from grid import changing
from grid.models import Event, Execution
from tests.factories import make_agent, make_execution, make_git_repository

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return make_agent(make_git_repository(tmp_path / "repo"))


def last(stream: str) -> Event:
    found = Event.objects.filter(stream=stream).order_by("seq").last()
    assert found is not None
    return found


def test_a_change_is_one_event_with_the_columns_that_changed(agent: Agent) -> None:
    assert lifecycle.change(agent, event="agent.head-moved", head="abc", only_if={"head": ""})
    event = last(agent.stream)
    assert (event.kind, event.v, event.body) == ("agent.head-moved", 1, {})
    assert event.rows == [{"table": "coordinator_agent", "id": agent.pk, "set": {"head": "abc"}}]
    assert agent.head == "abc" == Agent.objects.get(pk=agent.pk).head


def test_a_condition_that_does_not_hold_leaves_nothing(agent: Agent) -> None:
    before = Event.objects.count()
    assert not lifecycle.change(agent, event="agent.head-moved", head="abc", only_if={"head": "other"})
    assert (Event.objects.count(), agent.head, Agent.objects.get(pk=agent.pk).head) == (before, "", "")


def test_the_state_and_unknown_values_are_refused(agent: Agent) -> None:
    with pytest.raises(IllegalMoveError):
        lifecycle.change(agent, state="done")
    with pytest.raises(TypeError, match="no plain value"):
        lifecycle.change(agent, attempts=F("attempts") + 1)


def test_columns_of_many_executions_change_with_an_event_each() -> None:
    rows = [make_execution(f"issue:{n}") for n in range(3)]
    changed = changing.change(
        Execution.objects.filter(subject__in=["issue:0", "issue:2"]), kind="task.held", is_held=True
    )
    assert {row["id"] for row in changed} == {rows[0].pk, rows[2].pk}
    for row in rows:
        row.refresh_from_db()
        assert (row.is_held, row.seq) == ((False, 1) if row.subject == "issue:1" else (True, 2))
    event = last(rows[0].stream)
    assert event.rows == [{"table": "grid_execution", "id": str(rows[0].pk), "set": {"is_held": True}}]
    assert changing.change(Execution.objects.filter(subject__in=[]), kind="task.held", is_held=True) == []
