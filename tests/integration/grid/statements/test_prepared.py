"""Prepared queries give what Django gives, and every one that we have runs on the database under the tests."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F, Model, Q
from django.test.utils import CaptureQueriesContext

from coordinator.models import Agent, Envelope
from coordinator.public_types import AgentState
from grid.models import Execution
from grid.public_types import State
from grid.statements.prepared import Prepared, given, given_all
from grid.statements.writing import PreparedUpdate
from tests.factories import make_agent, make_child, make_execution, make_git_repository

pytestmark = pytest.mark.django_db(transaction=True)
MOMENT = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)
_NUMBERS = ("after", "agent", "count", "envelope", "issue", "operation", "repository", "token", "tree")
_TEXTS = ("host", "key", "name", "root", "scope", "slot", "stream")
ANYTHING: dict[str, Any] = {
    **dict.fromkeys(_NUMBERS, 1),
    **dict.fromkeys(_TEXTS, "x"),
    **{name: [1, 2] for name in ("agents", "ids", "path")},
    **{name: ["x", "y"] for name in ("keys", "kinds", "states", "values")},
    **{"execution": uuid4(), "executions": [uuid4(), uuid4()], "now": MOMENT},
}
"""A value for each place that our queries have: the same names mean the same everywhere."""


@pytest.fixture
def agent(tmp_path):
    return make_agent(make_git_repository(tmp_path / "repository"))


def ours[Kind](kind: type[Kind]) -> list[Kind]:
    packages = ("coordinator", "grid", "tracker")
    modules = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in packages]
    return list({id(one): one for module in modules for one in vars(module).values() if isinstance(one, kind)}.values())


def same(found: Model, expected: Model) -> bool:
    names = [field.attname for field in expected._meta.concrete_fields]
    return type(found) is type(expected) and all(getattr(found, name) == getattr(expected, name) for name in names)


def test_every_query_of_ours_runs():
    queries = ours(Prepared)
    assert len(queries) > 30
    with transaction.atomic():
        for query in queries:
            assert query.rows(**ANYTHING) == []


def test_every_update_of_ours_runs():
    updates = ours(PreparedUpdate)
    assert len(updates) > 2
    for update in updates:
        field = next(one for one in update.model._meta.concrete_fields if not one.primary_key)
        assert update.run({field.name: F(field.name)}, **ANYTHING) == []


def test_a_row_is_a_model_with_what_was_selected_beside_it(agent):
    query = Prepared(
        lambda: (
            Agent.objects.select_related("envelope__parent", "issue", "parent")
            .annotate(deeper=F("depth") + 1)
            .filter(pk=given("agent"))
        )
    )
    expected = Agent.objects.select_related("envelope__parent", "issue").get(pk=agent.pk)
    for _ in range(2):
        found = query.get(agent=agent.pk)
        with CaptureQueriesContext(connection) as asked:
            assert same(found, expected)
            assert same(found.issue, expected.issue)
            assert same(found.envelope, expected.envelope)
            assert same(found.envelope.parent, expected.envelope.parent)
            assert found.parent is None
        assert asked.captured_queries == [], "all of it came with the row"
        assert found.deeper == agent.depth + 1
        assert not found._state.adding


def test_none_is_none_and_the_models_own_error():
    query = Prepared(lambda: Agent.objects.filter(pk=given("agent")))
    assert query.one(agent=0) is None
    assert not query.exists(agent=0)
    with pytest.raises(Agent.DoesNotExist):
        query.get(agent=0)
    with pytest.raises(KeyError):
        query.rows(another=0)
    with pytest.raises(ValueError, match="None"):
        query.rows(agent=None)


def test_columns_left_out_are_asked_for_later():
    run = make_execution()
    query = Prepared(lambda: Execution.objects.only("state").filter(pk=given("execution")))
    found = query.get(execution=run.pk)
    assert found.get_deferred_fields() >= {"spec", "prompt"}
    assert found.spec == run.spec


def test_values_come_as_python_has_them():
    run = make_execution()
    Execution.objects.filter(pk=run.pk).update(claimed_at=MOMENT)
    query = Prepared(
        lambda: Execution.objects.filter(pk=given("execution")).values_list("pk", "spec", "claimed_at", "is_held")
    )
    assert query.rows(execution=run.pk) == [(run.pk, run.spec, MOMENT, False)]
    one = Prepared(lambda: Execution.objects.filter(pk=given("execution")).values_list("claimed_at", flat=True))
    assert one.rows(execution=run.pk) == [MOMENT]


def test_places_take_texts_numbers_uuids_times_and_enumerations():
    run = make_execution()
    Execution.objects.filter(pk=run.pk).update(claimed_at=MOMENT)
    query = Prepared(
        lambda: Execution.objects.filter(
            Q(token=given("token")) | Q(token__gt=given("token")),
            pk=given("execution"),
            state=given("state"),
            claimed_at__lte=given("now"),
            is_held=given("is_held"),
        )
    )
    fits = {"token": 0, "execution": run.pk, "state": State.QUEUED, "now": MOMENT, "is_held": False}
    assert query.exists(**fits)
    others = {
        "token": 1,
        "execution": uuid4(),
        "state": State.LOST,
        "now": MOMENT - timedelta(seconds=1),
        "is_held": True,
    }
    for name, value in others.items():
        assert not query.exists(**{**fits, name: value}), name


def test_several_values_are_as_many_as_each_call_gives(agent):
    first, second = agent, make_child(agent)
    query = Prepared(
        lambda: (
            Agent.objects.filter(pk__in=given_all("agents"), state__in=given_all("states"), depth__lte=given("depth"))
            .order_by("pk")
            .values_list("pk", flat=True)
        )
    )
    new = {"states": [AgentState.NEW, AgentState.DONE], "depth": 1}
    assert query.rows(agents=[first.pk, second.pk], **new) == [first.pk, second.pk]
    assert query.rows(agents=(pk for pk in [second.pk]), **new) == [second.pk]
    assert query.rows(agents=[], **new) == []
    assert query.rows(agents=range(first.pk, second.pk + 900), **new) == [first.pk, second.pk]


def test_rows_are_locked_in_a_transaction_only():
    query = Prepared(lambda: Envelope.objects.select_for_update().filter(pk=given("envelope")))
    with transaction.atomic():
        assert query.rows(envelope=0) == []
    if connection.features.has_select_for_update:
        with pytest.raises(transaction.TransactionManagementError):
            query.rows(envelope=0)


def test_dictionaries_are_refused_and_not_mistaken_for_rows():
    with pytest.raises(TypeError, match="ValuesIterable"):
        Prepared(lambda: Agent.objects.values("pk")).rows()


def test_threads_share_what_was_compiled(agent):
    builds: list[None] = []

    def build() -> Any:
        builds.append(None)
        return Agent.objects.select_related("envelope").filter(pk=given("agent"))

    query = Prepared(build)
    assert query.get(agent=agent.pk) == agent
    found: list[Agent] = []

    def ask() -> None:
        try:
            found.append(query.get(agent=agent.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [row.envelope.pk for row in found] == [agent.envelope_id] * 3
    assert len(builds) == 1
