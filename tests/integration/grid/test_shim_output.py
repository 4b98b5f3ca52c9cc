"""Output without end, without lines, without sense: bounded memory, whole records."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.hostile.shim_runs import ROOT, Runs, peak_while_running

PEAK_MIB = 40


@pytest.fixture
def runs() -> Iterator[Runs]:
    with Runs() as found:
        yield found


def test_a_flood_is_cut_but_its_end_is_kept(runs: Runs) -> None:
    run = runs.begin("spew", str(1 << 30), limits={"output_bytes": 8 << 20})
    peak = peak_while_running(run)
    end = run.exit()
    assert end["code"] == 0
    assert end["out"]["bytes"] > 1 << 30
    assert len(run.kinds("truncated")) == 1
    assert '"written"' in run.lines()[-1]  # the terminal event
    assert (run.dir / "spool.jsonl").stat().st_size < 9 << 20
    assert peak < PEAK_MIB


def test_too_much_output_ends_an_agent(runs: Runs) -> None:
    end = runs.begin("spew", limits={"output_bytes": 1 << 20, "output_stop_bytes": 50 << 20}).exit()
    assert end["reason"] == "output"
    assert end["out"]["bytes"] < 80 << 20


def test_a_line_without_end_is_cut(runs: Runs) -> None:
    run = runs.begin("nolf")
    peak = peak_while_running(run)
    end = run.exit()
    assert (end["out"]["cut"], end["out"]["lines"]) == (1, 2)
    assert run.kinds("out")[0]["cut"] == (400 << 20) - (1 << 20)
    assert peak < PEAK_MIB


def test_binary_output_becomes_valid_text(runs: Runs) -> None:
    run = runs.begin("binary")
    run.exit()
    lines = run.lines()
    assert not any("\0" in line for line in lines)
    assert lines[-1] == "no newline at the end"
    assert any(line.startswith("\u2028 é 漢 🙂") for line in lines)
    "".join(lines).encode("utf-8")  # no lone surrogate came through


def test_broken_events_are_carried_as_lines(runs: Runs) -> None:
    run = runs.begin("bad-json")
    run.exit()
    assert run.lines()[0] == '{"type": "result", "ok": tru'
    assert len(run.lines()[1]) == 100_000


@pytest.mark.skipif(not ROOT, reason="mounting a small file system needs root")
def test_a_full_disk_stops_the_agent_and_tears_no_record(runs: Runs) -> None:
    small = runs.dir / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"this root may not mount: {mount.stderr.strip()}")
    try:
        run = runs.begin("full-disk", folder="small/run")
        end = run.exit()
        assert end["reason"] == "disk"
        assert run.kinds("truncated")[0]["disk_full"]
        assert end["dropped_bytes"] > 0
    finally:
        subprocess.run(["umount", "-l", small], check=True)
