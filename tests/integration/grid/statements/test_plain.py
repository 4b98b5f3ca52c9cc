"""Statements by hand behave as Django's do: errors, transactions, counting; the same with several on one way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from grid.models import Host
from grid.statements import plain
from grid.statements.plain import run, run_all

pytestmark = pytest.mark.django_db(transaction=True)
SPACE = "INSERT INTO grid_lockspace (repository, token) VALUES (%s, %s)"
READ = "SELECT repository, token FROM grid_lockspace ORDER BY repository"


def test_a_statement_returns_its_rows_or_none():
    assert run(SPACE, ["100 %s", 1]) == []
    assert run(READ) == [("100 %s", 1)]
    assert run("SELECT '50 %%', %s", [7]) == [("50 %", 7)]
    assert run("UPDATE grid_lockspace SET token = 2 WHERE token = %s RETURNING token", [9]) == []


def test_several_give_the_rows_of_the_last():
    with transaction.atomic():
        assert run_all([(SPACE, ["a", 1]), (SPACE, ["b", 2]), (READ, [])]) == [("a", 1), ("b", 2)]
        assert run_all([(SPACE, ["c", 1]), (SPACE, ["d", 2])]) == []
    assert len(run(READ)) == 4


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_of_one_of_several_is_djangos_and_undoes_all(place):
    run(SPACE, ["taken", 1])
    statements = [(SPACE, [f"new {n}", 1]) for n in range(3)]
    statements[place] = (SPACE, ["taken", 1])
    with pytest.raises(IntegrityError), transaction.atomic():
        run_all(statements)
    assert run(READ) == [("taken", 1)], "and the connection goes on"


def test_what_is_rolled_back_is_gone():
    with transaction.atomic():
        run(SPACE, ["a", 1])
        transaction.set_rollback(True)
    assert run(READ) == []


def test_a_broken_transaction_takes_no_more():
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            run(READ)
        with pytest.raises(transaction.TransactionManagementError):
            run_all([(READ, []), (READ, [])])


def test_errors_are_djangos():
    with pytest.raises(DatabaseError):
        run("SELECT nothing FROM nowhere")


def test_whoever_counts_or_stands_in_the_way_gets_every_statement():
    with CaptureQueriesContext(connection) as seen:
        run(READ)
        run_all([(READ, []), (READ, [])])
    assert len(seen) == 3

    def away(*_: object) -> None:
        raise DatabaseError("away")

    with connection.execute_wrapper(away), pytest.raises(DatabaseError, match="away"):
        run(READ)


def test_values_are_stored_as_django_stores_them():
    key, moment = uuid4(), datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    run(
        "INSERT INTO grid_host (name, slots, pid, boot_id, note, started_at, heartbeat_at) VALUES (%s, 1, 1, %s, %s, %s, %s)",
        ["h", "", "", plain.time(moment), plain.time(moment)],
    )
    assert Host.objects.get().heartbeat_at == moment
    assert run("SELECT %s", [plain.uuid(key)]) == [(plain.uuid(key),)]


def test_long_statements_are_not_kept():
    count = 2_000
    rows = ", ".join(["(%s, 1)"] * count)
    before = plain._known.cache_info().currsize
    run(f"INSERT INTO grid_lockspace (repository, token) VALUES {rows}", [str(n) for n in range(count)])
    assert plain._known.cache_info().currsize == before


def test_a_connection_that_died_between_two_tasks_is_made_anew():
    if connection.vendor != "postgresql":
        pytest.skip("a file cannot go away")
    run(READ)
    (pid,) = run("SELECT pg_backend_pid()")[0]
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    db: Any = connection
    db.health_check_enabled, db.health_check_done = True, False  # as when a task begins
    try:
        assert run("SELECT pg_backend_pid()")[0] != (pid,)
    finally:
        db.health_check_enabled = False
