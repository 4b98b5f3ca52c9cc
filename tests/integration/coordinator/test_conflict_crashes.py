"""Whoever decides a conflict, or carries it out, is killed right after a commit; the sweep does the rest, and nothing twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from coordinator import invariants, sweeps
from coordinator.ending import resolutions
from coordinator.models import Agent, AuditEntry, Conflict
from coordinator.teamwork import conflicts
from grid import public_locks as grid_locks
from grid.models import Event, Execution
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, end, running
from tests.services.forks import Forks

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "app.txt"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Running, Running]:
    """Two running agents below one parent: the first has a lock, and the second was refused it."""
    root = running(make_agent(make_git_repository(tmp_path / "app", {PATH: "one\n"})))
    holder, requester = (running(make_child(root.agent, title=title)) for title in ("Left", "Right"))
    end(root)
    assert grid_locks.acquire(holder.execution_id, fence=holder.fence, path=PATH).granted
    refused = grid_locks.acquire(requester.execution_id, fence=requester.fence, path=PATH)
    assert conflicts.from_lock(requester.agent, refused.blockers, path=PATH, reason="a line") is not None
    sweeps.sweep()  # no event is left that would have conflicts looked at
    return holder, requester


def killed_after(act: Callable[[], object]) -> None:
    """Do one transaction in a process that is killed when it has committed, before anybody is woken for it."""

    def dies() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
            act()

    forks = Forks()
    forks.fork(dies)
    assert [one.code for one in forks.ends()] == [-signal.SIGKILL]


def steps() -> list[str]:
    return list(Event.objects.filter(kind="conflict.step").order_by("id").values_list("body__step", flat=True))


def time_is_over() -> None:
    """For those who were asked to give way."""
    Conflict.objects.update(act_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_lock_is_broken_and_handed_over_once_although_whoever_decided_is_killed(pair, steps_before):
    holder, requester = pair
    row = Conflict.objects.get()
    killed_after(lambda: conflicts.decide(row.pk, choice="release", actor="cli:me"))
    row.refresh_from_db()
    assert (row.state, row.step, steps()) == ("decided", 0, []), "it was decided, and nothing else"
    time_is_over()
    for _ in range(steps_before):
        killed_after(lambda: resolutions._act(row.pk))
    assert len(steps()) == steps_before

    for _ in range(3):
        sweeps.sweep()

    assert steps() == ["break-lock", "free"]
    row.refresh_from_db()
    assert (row.state, row.decisions) == ("carried-out", 1)
    assert Event.objects.filter(kind="lock.broken").count() == 1
    assert [lock.pattern for lock in grid_locks.held(execution_id=requester.execution_id)] == [PATH]
    assert not grid_locks.held(execution_id=holder.execution_id)
    assert AuditEntry.objects.filter(action="conflict_decide").count() == 1
    assert invariants.violations() == []


@pytest.mark.parametrize("steps_before", [0, 1])
def test_the_second_is_stopped_once_although_whoever_decided_is_killed(pair, steps_before):
    holder, requester = pair
    row = Conflict.objects.get()
    order = [holder.agent_id]
    killed_after(lambda: conflicts.decide(row.pk, choice="sequence", order=order, actor="cli:me"))
    assert steps() == []
    time_is_over()
    for _ in range(steps_before):
        killed_after(lambda: resolutions._act(row.pk))

    for _ in range(3):
        sweeps.sweep()

    assert steps() == ["stop"]
    stopped = Execution.objects.exclude(stop_reason="")
    assert [(one.pk, one.stop_reason) for one in stopped] == [(requester.execution_id, "interrupted")]
    assert Event.objects.filter(kind="task.stop-requested").count() == 1
    end(holder)
    for _ in range(3):
        sweeps.sweep()
    assert steps() == ["stop", "free"]
    assert Conflict.objects.get().state == "carried-out"
    assert Agent.objects.get(pk=requester.agent_id).nudges.filter(is_open=True).count() == 1
    assert AuditEntry.objects.filter(action="conflict_decide").count() == 1
