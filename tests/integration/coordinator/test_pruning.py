"""What is old and needed by nobody goes; what somebody may still ask for stays, and the log replays."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from coordinator import pruning, sweeps
from coordinator.models import Agent
from coordinator.operating import control
from coordinator.public_types import AgentState
from grid import public_api as grid
from grid import public_events as events
from grid import public_locks as grid_locks
from grid.models import Event, Execution, FileLock, InboxItem
from grid.public_types import OutcomeKind
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tests.services.runs_of_locks import lapse

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "app.py"
LATER = timedelta(days=60)


@pytest.fixture
def children(tmp_path: Path) -> tuple[Running, Running]:
    """Two of one parent that run: the first lost its lock to the second."""
    root = running(make_agent(make_git_repository(tmp_path / "app")))
    loser, winner = (running(make_child(root.agent, title=title)) for title in ("Left", "Right"))
    end(root)
    assert take(loser).granted
    lapse(Execution.objects.get(pk=loser.execution_id))
    assert take(winner).granted
    Execution.objects.filter(pk=loser.execution_id).update(lease_until=timezone.now() + LATER)
    return loser, winner


def take(run: Running) -> grid_locks.Answer:
    return grid_locks.acquire(run.execution_id, fence=run.fence, path=PATH)


def prune() -> int:
    return pruning.locks(timezone.now() + LATER)


def test_locks_stay_while_work_may_be_taken_that_is_held_against_them(children, tmp_path, migrated_sqlite):
    loser, winner = children
    assert pruning.locks(timezone.now()) == 0
    end(winner)
    end(loser, OutcomeKind.BLOCKED)
    assert (winner.agent.state, loser.agent.state) == (AgentState.DONE, AgentState.BLOCKED)
    assert prune() == 0, "a person may have the blocked one go on, in 60 days as well"
    assert grid_locks.stale_writes(loser.execution_id, [PATH])

    control.cancel(loser.agent_id, actor="cli:me")
    assert pruning.locks(timezone.now() + timedelta(days=20)) == 0, "people look back that far"
    assert (prune(), prune()) == (2, 0)
    assert not FileLock.objects.exists()
    assert Event.objects.filter(kind="lock.pruned").count() == 2

    log, again = tmp_path / "log.jsonl", tmp_path / "again.sqlite3"
    log.write_bytes(b"".join(events.export()))
    with log.open("rb") as file:
        assert list(events.verify(file)) == []
    shutil.copy(migrated_sqlite, again)
    with events.opened(f"sqlite:///{again}") as alias:
        events.replay([log], into=alias)
        ours = [str(one) for one in events.compare(alias)]
    assert [one for one in ours if "filelock" in one or "lockspace" in one] == []


@pytest.mark.parametrize(("days", "expected"), [(60, ""), (30, ""), (20, "b" * 40)])
def test_who_was_cancelled_long_ago_does_not_go_on_from_work_that_nobody_can_judge_any_more(children, days, expected):
    loser, _ = children
    end(loser, OutcomeKind.BLOCKED)
    Agent.objects.filter(pk=loser.agent_id).update(head="b" * 40)  # a checkpoint, which is on no branch
    control.cancel(loser.agent_id, actor="cli:me")
    Agent.objects.filter(pk=loser.agent_id).update(ended_at=timezone.now() - timedelta(days=days))
    control.retry(loser.agent_id, actor="cli:me")
    assert loser.agent.head == expected


def test_housekeeping_removes_what_is_over(children, django_user_model, client):
    loser, winner = children
    for run in children:
        InboxItem.objects.create(execution_id=run.execution_id, key="1", sender="x", text="y")
    end(loser, OutcomeKind.BLOCKED)
    assert grid.prune_inbox(before=timezone.now() - timedelta(seconds=60)) == 0
    Execution.objects.filter(pk=loser.execution_id).update(ended_at=timezone.now() - LATER)
    client.force_login(django_user_model.objects.create_superuser("ann"))
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))

    found = sweeps.housekeeping()

    assert found["inbox"] == 1
    assert list(InboxItem.objects.values_list("execution_id", flat=True)) == [winner.execution_id]
    assert Session.objects.count() == 1, "hers is not over"
