"""Rows as events carry them."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F
from django.db.models.functions import Now

from grid.events import rows
from grid.models import Event, Execution, InboxItem

ID = UUID("6b1e4a52-8a5c-4d80-9d3e-0f6a3f1f0001")


class Colour(enum.StrEnum):
    RED = "red"


def test_a_row_has_plain_values_under_the_names_of_columns() -> None:
    at = datetime(2026, 11, 28, 8, 30, tzinfo=timezone(timedelta(hours=1)))
    item = InboxItem(pk=4, execution_id=ID, key="k", sender="cli:root", text="hello", state=Colour.RED, created_at=at)
    assert rows.row(item, "execution", "created_at") == {
        "table": "grid_inboxitem",
        "id": 4,
        "set": {"execution_id": str(ID), "created_at": "2026-11-28T07:30:00+00:00"},
    }
    assert rows.row(item, "execution_id") == rows.row(item, "execution")
    assert rows.row(item)["set"] == {
        "execution_id": str(ID),
        "key": "k",
        "sender": "cli:root",
        "text": "hello",
        "state": "red",
        "created_at": "2026-11-28T07:30:00+00:00",
    }
    assert type(rows.row(item)["set"]["state"]) is str
    assert rows.gone(item) == {"table": "grid_inboxitem", "id": 4, "gone": True}
    assert rows.gone(InboxItem(), 7) == {"table": "grid_inboxitem", "id": 7, "gone": True}


@pytest.mark.parametrize("value", [Now(), F("seq") + 1, object(), Event(), {1, 2}])
def test_what_nobody_knows_the_value_of_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no plain value"):
        rows.row(Execution(pk=ID, result=value), "result")


def test_a_column_that_is_none_is_refused() -> None:
    with pytest.raises(FieldDoesNotExist, match="grid_execution has no column 'colour'"):
        rows.row(Execution(pk=ID), "colour")


def test_plain_values_go_deep() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert rows.plain({"a": (ID, [at, Colour.RED]), 3: None}) == {"a": [str(ID), [at.isoformat(), "red"]], "3": None}
