"""What `doctor` finds, and that it says what to do."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from pytest_django import Settings

from coordinator import passes
from coordinator.models import Envelope
from grid.models import Event, Execution, Host
from tests.integration.coordinator.command_rows import care, run, started, submitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def only_our_own_checks(settings: Settings) -> None:
    """The broker of this process is in memory, whatever the settings say."""
    settings.DOCTOR_CHECKS = []


def no_complaint() -> list[str]:
    return []


def two_complaints() -> list[str]:
    return ["The queue is gone: run prepare_broker", "plain"]


def broken_check() -> list[str]:
    raise OSError("no route")


def test_a_sound_grid_is_ok(tmp_path: Path) -> None:
    started(submitted(care(tmp_path)))
    passes.sweep()
    said = run("doctor")
    assert said.code == 0
    assert "no law is broken" in said.out
    document = run("doctor", "--json").json
    assert document["violations"] == []
    assert [row["check"] for row in document["warnings"]] == ["sandbox"]  # tests run agents without one
    assert document["facts"]["workspace"].endswith(" ms")


def test_each_broken_row_is_shown_with_its_remedy(tmp_path: Path) -> None:
    started(submitted(care(tmp_path)))
    Event.objects.filter(seq=1, stream__startswith="execution:").delete()
    Envelope.objects.filter(kind="tree").update(executions_spent=4)
    Execution.objects.update(lease_until=timezone.now() - timedelta(minutes=5))
    said = run("doctor")
    assert said.code == 1
    for law in ("2 the ledger adds up", "5 no execution outlives its lease", "6 events have no gap"):
        assert law in said.out
    violations = run("doctor", "--json").json["violations"]
    assert all(set(row) == {"law", "subject", "detail", "remedy"} and all(row.values()) for row in violations)
    assert len(violations) == 3


def test_agents_without_a_sandbox_are_a_warning(settings: Settings) -> None:
    assert "agents run without a sandbox" in run("doctor").out
    settings.GRID_SANDBOX = "firejail"
    found = [row for row in run("doctor", "--json").json["warnings"] if row["check"] == "sandbox"]
    assert "there is no sandbox 'firejail'" in found[0]["detail"]
    assert "docs/sandboxes.md" in found[0]["remedy"]


def test_agents_that_reach_the_whole_site_are_a_warning(settings: Settings) -> None:
    settings.PUBLIC_URL = "https://grid.example.com"
    for url, is_told in (("https://grid.example.com:8443", True), ("https://agents.example.com", False)):
        settings.GRID_AGENT_URL = url
        assert ("every page of grid.example.com" in run("doctor").out) is is_told
    settings.PUBLIC_URL, settings.GRID_AGENT_URL = "http://grid.lan", "http://grid.lan"
    assert "every page" not in run("doctor").out, "our own proxy looks at plain requests"


def test_work_without_a_host_is_a_warning(tmp_path: Path) -> None:
    submitted(care(tmp_path))
    said = run("doctor")
    assert said.code == 0
    assert "no host takes any" in said.out
    assert "manage.py up" in said.out


def test_a_silent_host_with_work_is_a_warning(tmp_path: Path) -> None:
    started(submitted(care(tmp_path)))
    Host.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=90))
    details = [row["detail"] for row in run("doctor", "--json").json["warnings"]]
    silent = [re.search(r"has 1 executions and is silent for (\d+) s", detail) for detail in details]
    assert [90 <= int(found[1]) < 1_000 for found in silent if found] == [True]


def test_checks_of_other_packages_are_plugged_in_by_name(settings: Settings) -> None:
    settings.DOCTOR_CHECKS = [
        f"{__name__}.{name}" for name in ("no_complaint", "two_complaints", "broken_check", "gone")
    ]
    document = run("doctor", "--json").json
    plugged = [row for row in document["warnings"] if row["check"] != "sandbox"]
    found = {row["check"].rpartition(".")[2]: row for row in plugged}
    assert set(found) == {"two_complaints", "broken_check", "gone"}
    assert plugged[0]["remedy"] == "run prepare_broker"
    assert "no route" in found["broken_check"]["detail"]
    assert run("doctor").code == 0


def test_missing_migrations_are_the_first_finding() -> None:
    ((_, last),) = MigrationLoader(connection).graph.leaf_nodes("grid")
    rows = list(MigrationRecorder.Migration.objects.filter(app="grid"))
    MigrationRecorder.Migration.objects.filter(app="grid").delete()
    try:
        said = run("doctor")
        assert said.code == 1
        assert "manage.py migrate" in said.out
        assert f"grid.{last}" in said.out
    finally:
        MigrationRecorder.Migration.objects.bulk_create(rows)
