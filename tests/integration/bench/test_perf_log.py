"""Benchmarks that need no worker, in this process: they measure what they say. Nothing is said about speed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from bench.perf import conditional, ingest, readers, resume_children
from bench.perf.catalogue import BENCHMARKS
from bench.perf.figures import Figure

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def place(tmp_path: Path, state_dir: Path, settings: Any) -> Path:
    settings.STATE_DIR = tmp_path / "perf" / "state"
    settings.STATE_DIR.mkdir(parents=True)
    return settings.STATE_DIR


@pytest.fixture
def bare() -> Iterator[None]:
    yield
    with connection.cursor() as db:
        db.execute("DROP TABLE IF EXISTS perf_bare")


def measured(module: Any, name: str) -> dict[str, Figure]:
    benchmark = next(one for one in BENCHMARKS if one.name == name)
    figures = module.measure({**benchmark.quick, "name": name, "pids": {}})
    assert tuple(figure.name for figure in figures) == benchmark.figures
    return {figure.name.removeprefix(f"{name}."): figure for figure in figures}


def test_lines_become_rows_and_the_bare_work_is_measured_beside(place):
    (figure,) = measured(ingest, "events.ingest.sqlite").values()
    assert figure.extra["rows"] == 800, "600 lines, of which each third is two events"
    assert figure.value > 0 < figure.floor


@pytest.mark.made_up_events
def test_readers_miss_and_double_nothing(place):
    figures = measured(readers, "events.readers.sqlite")
    assert figures["missed"].value == figures["doubled"].value == 0
    assert figures["missed"].met and figures["doubled"].met and figures["rate"].value > 0


@pytest.mark.parametrize("name", ["locks.acquire_release.sqlite", "budget.reserve_settle.sqlite"])
def test_acts_are_measured_beside_a_bare_update(place, bare, name):
    (figure,) = measured(conditional, name).values()
    assert figure.value > 0
    assert figure.goal == pytest.approx(0.4 * figure.floor) and figure.met is (figure.value >= figure.goal)


def test_a_parent_is_resumed_by_as_many_statements_however_many_children_it_has(place):
    figures = measured(resume_children, "resume.children")
    assert figures["queries"].value == figures["queries"].floor > 10
    assert figures["queries"].met
