"""Figures and the catalogue: pure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.perf.catalogue import BENCHMARKS, select
from bench.perf.figures import Figure, PerfError, percentile, spread


def test_a_figure_says_the_promised_keys_first_and_its_ratio():
    figure = Figure(name="x", unit="ms", value=30.0, floor=12.0, goal=52.0, met=True, extra={"samples": 3})
    assert list(figure.as_json()) == ["name", "value", "unit", "floor", "ratio", "goal", "met", "note", "samples"]
    assert figure.as_json()["ratio"] == 2.5


def test_a_figure_without_a_value_or_floor_has_no_ratio():
    assert Figure(name="x", unit="ms", note="skipped").ratio is None
    assert Figure(name="x", unit="ms", value=1.0, floor=0.0).ratio is None


def test_a_figure_survives_its_way_between_processes():
    figure = Figure(
        name="x", unit="ms", value=1.5, floor=3.0, goal=5.0, met=True, note="n", extra={"split": {"a": 1.0}}
    )
    assert Figure.from_json(json.loads(json.dumps(figure.as_json()))) == figure


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_a_percentile_is_one_of_the_values_and_has_its_share_below(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_percentiles_of_a_known_sample():
    values = [float(number) for number in range(30, 0, -1)]
    assert spread(values) == {"p50": 15.0, "p95": 29.0, "min": 1.0, "max": 30.0}
    with pytest.raises(ValueError, match="no value"):
        percentile([], 0.5)


def test_names_choose_benchmarks_whole_by_prefix_or_by_figure():
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert [one.name for one in select([])] == names
    assert [one.name for one in select(["resume.query"])] == ["resume.query.sqlite", "resume.query.postgres"]
    assert [one.name for one in select(["resume"])] == [one for one in names if one.startswith("resume.")]
    assert [one.name for one in select(["dispatch.sqs.p95", "memory.agent"])] == ["dispatch.sqs", "memory.agent"]
    with pytest.raises(PerfError, match=r"dispatch\.filesystem"):
        select(["resum"])


def test_the_names_of_the_figures_are_stable():
    assert [name for benchmark in BENCHMARKS for name in benchmark.figures] == [
        "dispatch.filesystem.p50",
        "dispatch.filesystem.p95",
        "dispatch.sqs.p50",
        "dispatch.sqs.p95",
        "throughput.commit",
        "memory.agent",
        "resume.query.sqlite",
        "resume.query.postgres",
        "events.ingest.sqlite",
        "events.ingest.postgres",
        "events.readers.sqlite.missed",
        "events.readers.sqlite.doubled",
        "events.readers.sqlite.rate",
        "events.readers.postgres.missed",
        "events.readers.postgres.doubled",
        "events.readers.postgres.rate",
        "locks.acquire_release.sqlite",
        "locks.acquire_release.postgres",
        "budget.reserve_settle.sqlite",
        "budget.reserve_settle.postgres",
        "resume.children.queries",
        "resume.children.ms",
        "intake.rate",
        "intake.p99",
        "gateway.first_byte.p50",
        "adapter.start.wiring",
        "adapter.start.builtin",
        "mcp.call.p50",
    ]
