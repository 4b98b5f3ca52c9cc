"""Databases made by the migrations from before version 0.1 go on, or are refused; never passed over."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

LAST = {"grid": "0006_events", "tracker": "0005_edits", "coordinator": "0008_plans"}
"""What each package's first migration stands for."""
pytestmark = pytest.mark.django_db


def missing(**applied: str) -> list[tuple[str, str]]:
    """What `migrate` would do on a database with our tables in which only these migrations of ours are applied."""
    for app, name in applied.items():
        MigrationRecorder.Migration.objects.filter(app=app).delete()
        MigrationRecorder(connection).record_applied(app, name)
    executor = MigrationExecutor(connection)
    return [(step.app_label, step.name) for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def test_a_database_with_all_that_was_before_lacks_nothing() -> None:
    assert missing(**LAST) == []


@pytest.mark.parametrize("app", LAST)
def test_a_database_that_had_not_come_so_far_is_not_passed_over(app: str) -> None:
    assert missing(**LAST | {app: "0003_before"}) == [(app, "0001_version_0_1")]
