"""Rows added and changed by prepared statements are what Django would have stored."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from coordinator.models import AuditEntry, Nudge
from coordinator.public_types import Answer, Source
from grid.models import Execution
from grid.public_types import State
from grid.statements import writing
from grid.statements.prepared import given, given_all
from grid.statements.writing import PreparedUpdate, insert
from tests.factories import make_agent, make_child, make_execution, make_git_repository

pytestmark = pytest.mark.django_db(transaction=True)
QUEUED = PreparedUpdate(
    lambda: Execution.objects.filter(pk=given("execution"), state__in=given_all("states")).order_by("created_at")
)


def columns(row: Any) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_row_is_stored_whole_and_knows_what_the_database_filled_in():
    row = AuditEntry(actor="alice", action="nudge", target="agent:1", detail={"why": ["it is", None]})
    insert(row)
    assert row.pk
    assert columns(row) == columns(AuditEntry.objects.get())
    row.detail = {}
    row.save()
    assert AuditEntry.objects.get().detail == {}, "the same row, and not a second one"


def test_all_kinds_of_columns(tmp_path):
    agent = make_agent(make_git_repository(tmp_path / "repository"))
    row = Nudge(agent=agent, source=Source.SWEEP, reason="é\N{SNOWMAN}", answer=Answer.REFUSED, decision={"code": 1})
    row.is_open = False
    insert(row)
    stored = Nudge.objects.get(pk=row.pk)
    assert columns(row) == columns(stored)
    assert (stored.source, stored.answer, stored.not_before) == ("sweep", "refused", None)
    run = Execution.objects.get(pk=make_execution().pk)
    Execution.objects.all().delete()
    insert(run)
    assert columns(Execution.objects.get()) == columns(run)


def test_what_the_database_refuses_is_djangos_error():
    make_execution()
    again = Execution.objects.get()
    again.pk = uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(again)
    assert Execution.objects.count() == 1


def test_a_change_sets_values_and_expressions_and_tells_what_it_left():
    run = make_execution()
    changes = {"host": "h", "result": {"a": [1]}, "token": F("token") + 1, "claimed_at": Now(), "stop_reason": ""}
    where = {"execution": run.pk, "states": [State.QUEUED]}
    assert QUEUED.run(changes, returning=("token", "host"), **where) == [(run.token + 1, "h")]
    assert QUEUED.run({**changes, "host": "other"}, returning=("token",), **where) == [(run.token + 2,)]
    stored = Execution.objects.get()
    assert (stored.host, stored.result, stored.token) == ("other", {"a": [1]}, run.token + 2)
    assert stored.claimed_at is not None
    assert len(QUEUED.run({"claimed_at": None}, **where)) == 1
    assert Execution.objects.get().claimed_at is None


def test_what_differs_from_call_to_call_can_be_a_part_of_an_expression():
    run = make_execution()
    where = {"execution": run.pk, "states": [State.QUEUED]}
    before = writing._update.cache_info().currsize
    for number in (2, 30):
        assert QUEUED.run({"seq": F("seq") + given("count")}, returning=("seq",), count=number, **where)
    assert Execution.objects.get().seq == run.seq + 32
    assert writing._update.cache_info().currsize == before + 1, "one statement for all numbers"


def test_another_row_is_named_by_itself_or_by_its_key(tmp_path):
    parent = make_agent(make_git_repository(tmp_path / "repository"))
    child = make_child(parent)
    change = PreparedUpdate(lambda: type(child).objects.filter(pk=given("agent")))
    for changes, expected in (
        ({"parent": None}, None),
        ({"parent": parent}, parent.pk),
        ({"parent_id": None}, None),
        ({"parent_id": parent.pk}, parent.pk),
    ):
        assert len(change.run(changes, agent=child.pk)) == 1
        child.refresh_from_db()
        assert child.parent_id == expected


def test_rows_that_do_not_fit_stay_as_they_are():
    run = make_execution()
    assert QUEUED.run({"host": "h"}, execution=run.pk, states=[State.LOST, State.RUNNING]) == []
    assert QUEUED.run({"host": "h"}, execution=uuid4(), states=[State.QUEUED]) == []
    assert Execution.objects.get().host == ""
