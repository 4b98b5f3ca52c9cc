"""Acts of operators that the database ends in favour of another transaction are done again, on real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import environ
import psycopg
import pytest
from django.db import OperationalError, connection, connections, transaction
from pytest_django import DjangoDbBlocker

from coordinator import giving_way
from coordinator.ending import resolutions
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Envelope, Nudge
from coordinator.operating import control
from coordinator.public_types import AgentState, Source
from coordinator.reading import touching
from coordinator.teamwork import conflicts
from grid.models import Event
from tests.factories import make_agent, make_child, make_git_repository

SECONDS = 60


@pytest.fixture
def postgres(
    new_postgres_database: Callable[..., str], migrated_postgres: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """A PostgreSQL under our code for this test, whatever the others run on."""
    url = new_postgres_database(template=migrated_postgres)
    before, kept = connections.databases["default"], connections["default"]
    configured = connections.configure_settings({"default": environ.Env.db_url_config(url)})
    connections.databases["default"] = configured["default"]
    del connections["default"]
    try:
        with django_db_blocker.unblock():
            yield
    finally:
        connections["default"].close()
        connections.databases["default"], connections["default"] = before, kept


class Others:
    """Further connections to the same database: one that is waited for first, one that closes a circle with our act."""

    def __init__(self) -> None:
        known = connection.settings_dict
        at = {"dbname": known["NAME"], "user": known["USER"], **known["OPTIONS"]}
        self.watcher = psycopg.connect(**at, autocommit=True)
        self.first, self.rival = psycopg.connect(**at), psycopg.connect(**at)
        # It is never the one that gives way: only our act looks for a circle, when it waits as the last one.
        self.rival.execute("SET deadlock_timeout = '1h'")
        self.rival.execute(f"SET lock_timeout = '{SECONDS}s'")

    def until_waiting(self, count: int) -> None:
        """Return when so many transactions wait for others."""
        deadline = time.monotonic() + SECONDS
        sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while self.watcher.execute(sql).fetchone() != (count,):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        """Give everything back."""
        for one in (self.first, self.rival, self.watcher):
            one.close()


def crossed(act: Callable[[], object], *, wanted: str, first: str, held: str) -> list[Exception]:
    """Do an act that locks `wanted`, then `first`, then `held`, while somebody else locks `held` and then `wanted`.

    Returns:
        What the act raised.
    """
    failed: list[Exception] = []

    def ours() -> None:
        try:
            act()
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    def close_circle() -> None:
        others.rival.execute(f"SELECT 1 FROM {wanted} FOR UPDATE")
        others.rival.commit()

    with closing(Others()) as others:
        others.first.execute(f"SELECT 1 FROM {first} FOR UPDATE")
        others.rival.execute(f"SELECT 1 FROM {held} FOR UPDATE")
        acting, rival = threading.Thread(target=ours), threading.Thread(target=close_circle)
        acting.start()
        others.until_waiting(1)
        rival.start()
        others.until_waiting(2)
        others.first.rollback()
        acting.join()
        rival.join()
    return failed


def row(of: Any) -> str:
    return f"{of._meta.db_table} WHERE id = {of.pk}"


@pytest.fixture
def line(postgres: None, tmp_path: Path) -> list[Agent]:
    """An agent, its child, and the child's child."""
    top = make_agent(make_git_repository(tmp_path / "app"))
    child = make_child(top)
    return [top, child, make_child(child)]


def test_a_cancel_that_gave_way_is_done_again(postgres: None, line: list[Agent]) -> None:
    top, child, last = line
    act = lambda: control.cancel(top.pk, actor="cli:me")  # noqa: E731
    assert crossed(act, wanted=row(last), first=row(child), held=row(top)) == []
    assert set(Agent.objects.values_list("state", flat=True)) == {AgentState.ABANDONED}
    assert AuditEntry.objects.filter(action="cancel").count() == 1


def test_a_raised_limit_that_gave_way_is_raised_once(postgres: None, line: list[Agent]) -> None:
    top, child, _ = line
    control.pause("fleet", actor="cli:me")
    one, other = (dispatch.nudge(agent.pk, source=Source.SWEEP) for agent in (top, child))
    envelope = top.envelope.parent
    assert envelope is not None
    act = lambda: control.raise_limit(f"tree:{top.pk}", actor="cli:me", executions=500)  # noqa: E731
    assert crossed(act, wanted=row(envelope), first=row(one), held=row(other)) == []
    assert Envelope.objects.get(pk=envelope.pk).executions_limit == 500
    assert AuditEntry.objects.filter(action="raise_limit").count() == 1


def test_in_a_transaction_of_the_caller_nothing_is_tried_again(postgres: None, line: list[Agent]) -> None:
    """What the caller did before is undone with it: only the caller can begin anew."""
    top, child, last = line

    def act() -> None:
        with transaction.atomic():
            control.cancel(top.pk, actor="cli:me")

    (error,) = crossed(act, wanted=row(last), first=row(child), held=row(top))
    assert isinstance(error, OperationalError) and giving_way.gave_way(error)
    assert AgentState.ABANDONED not in Agent.objects.values_list("state", flat=True)
    assert not Nudge.objects.exists() and not AuditEntry.objects.exists()


def test_a_step_of_a_conflict_holds_its_agents_before_their_streams(postgres: None, line: list[Agent]) -> None:
    """As whoever decides about an agent does: in the other order the two would wait for each other."""
    top, child, _ = line
    conflict = conflicts.from_overlap(child, make_child(top), patterns=["src"])
    resolutions.advance(conflict.pk)
    conflicts.decide(conflict.pk, choice="fork", actor="cli:me")

    def act() -> None:
        resolutions.advance(conflict.pk)
        connection.close()

    with closing(Others()) as others:
        others.rival.execute(f"SELECT 1 FROM {row(child)} FOR UPDATE")
        acting = threading.Thread(target=act)
        acting.start()
        others.until_waiting(1)
        stream = "SELECT 1 FROM grid_eventstream WHERE name = %s FOR UPDATE NOWAIT"
        others.rival.execute(stream, [child.stream])  # raises where our act has it
        others.rival.rollback()
        acting.join()
    steps = Event.objects.filter(kind="conflict.step").values_list("body__step", flat=True)
    assert list(steps) == ["free"]


def test_a_decision_lets_rows_be_stored_that_refer_to_its_agent(postgres: None, line: list[Agent]) -> None:
    """They ask for its key when they commit, with the agent's stream in their hands: the two would wait for each other."""
    with closing(Others()) as others, transaction.atomic():
        dispatch.locked(line[1].pk)
        touching.subtrees([line[0].pk], lock=True)
        others.rival.execute(f"SELECT 1 FROM {row(line[1])} FOR KEY SHARE NOWAIT")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            others.rival.execute(f"SELECT 1 FROM {row(line[1])} FOR NO KEY UPDATE NOWAIT")
