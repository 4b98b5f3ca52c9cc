"""Bearer tokens: what they open, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from grid import bearers, executions, lifecycle
from grid.models import Event, Execution, Host
from grid.public_agents import report_outcome
from grid.public_errors import GridError
from grid.public_types import Result, State
from tests.factories import make_execution

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> Execution:
    host = Host.objects.create(name="h1", slots=2)
    claimed = executions.claim(make_execution().pk, host=host.pk)
    assert claimed is not None
    return claimed


def test_a_token_names_its_execution(row: Execution) -> None:
    bearer = bearers.mint(row.pk, fence=row.token)
    caller = bearers.caller(bearer)
    assert caller is not None
    assert (caller.execution_id, caller.fence, caller.subject) == (row.pk, row.token, row.subject)


def test_only_a_hash_is_stored(row: Execution) -> None:
    bearer = bearers.mint(row.pk, fence=row.token)
    row.refresh_from_db()
    assert bearer not in str(Execution.objects.filter(pk=row.pk).values().get())
    assert row.bearer_sha256 == bearers.digest(bearer)


@pytest.mark.parametrize("wrong", ["", "agx_", "agx_" + "x" * 43, "Bearer x", "agx_" + "x" * 10_000, "agx_\0", "agx_é"])
def test_a_wrong_token_opens_nothing(row: Execution, wrong: str) -> None:
    bearers.mint(row.pk, fence=row.token)
    assert bearers.caller(wrong) is None


def test_a_token_is_dead_at_the_terminal_state(row: Execution) -> None:
    bearer = bearers.mint(row.pk, fence=row.token)
    assert executions.end(row.pk, token=row.token, state=State.FAILED, reason="no", result=Result())
    assert bearers.caller(bearer) is None


def test_a_token_is_dead_when_the_lease_is_over(row: Execution) -> None:
    bearer = bearers.mint(row.pk, fence=row.token)
    Execution.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert bearers.caller(bearer) is None


def test_a_token_of_an_earlier_claim_is_dead(row: Execution) -> None:
    bearer = bearers.mint(row.pk, fence=row.token)
    Execution.objects.filter(pk=row.pk).update(token=row.token + 1)
    assert bearers.caller(bearer) is None
    assert bearers.mint(row.pk, fence=row.token) == ""


def test_a_second_token_ends_the_first(row: Execution) -> None:
    first = bearers.mint(row.pk, fence=row.token)
    second = bearers.mint(row.pk, fence=row.token)
    assert bearers.caller(first) is None
    assert bearers.caller(second) is not None


def test_events_of_calls_are_numbered_and_fenced(row: Execution) -> None:
    assert bearers.record(row.pk, fence=row.token, events=[("tool.requested", {}), ("tool.result", {})])
    assert not bearers.record(row.pk, fence=row.token + 1, events=[("tool.requested", {})])
    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=row.token)
    numbers = list(Event.objects.filter(stream=row.stream).order_by("seq").values_list("seq", flat=True))
    assert numbers == [1, 2, 3, 4, 5]


def test_a_report_is_checked_and_fenced(row: Execution) -> None:
    assert report_outcome(row.pk, fence=row.token, report={"outcome": "done", "summary": "S."})
    assert not report_outcome(row.pk, fence=row.token + 1, report={"outcome": "failed"})
    row.refresh_from_db()
    assert row.report["outcome"] == "done"
    with pytest.raises(GridError, match="outcome"):
        report_outcome(row.pk, fence=row.token, report={"outcome": "splendid"})


def test_the_first_connection_is_remembered(row: Execution) -> None:
    bearers.note_connection(row.pk, fence=row.token)
    row.refresh_from_db()
    first = row.connected_at
    bearers.note_connection(row.pk, fence=row.token)
    row.refresh_from_db()
    assert first is not None
    assert row.connected_at == first
