"""`manage.py perf` on real workers, with few samples. Nothing is said about speed here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from bench.perf import processes

KEYS = ["name", "value", "unit", "floor", "ratio", "goal", "met", "note"]


def start(*args: str, folder: Path, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "perf", *args, "--folder", str(folder)],
        cwd=settings.BASE_DIR,
        env={**os.environ, "AGENTGRID_STATE_DIR": str(folder.parent / "operators"), **changes},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_naming(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(str(folder) in part for part in process.cmdline()):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.mark.timeout(400)
def test_figures_are_measured_on_private_installations_beside_bare_ones(folder):
    operators = f"sqlite:///{folder.parent}/operators.sqlite3"
    chosen = ("dispatch.filesystem", "resume.query.sqlite", "gateway", "mcp.call")
    perf = start(*chosen, "--quick", "--json", folder=folder, DATABASE_URL=operators)
    output, errors = perf.communicate(timeout=390)
    assert perf.returncode == 0, errors
    figures = {figure["name"]: figure for figure in map(json.loads, output.splitlines())}
    doors = ["gateway.first_byte.p50", "mcp.call.p50"]
    assert list(figures) == ["dispatch.filesystem.p50", "dispatch.filesystem.p95", "resume.query.sqlite", *doors]
    for name in doors:
        assert figures[name]["value"] is not None, figures[name]["note"]
        assert figures[name]["value"] > 0 < figures[name]["floor"]
    assert figures[doors[0]]["goal"] > figures[doors[0]]["floor"]
    for figure in [figure for name, figure in figures.items() if name not in doors]:
        assert list(figure)[: len(KEYS)] == KEYS
        assert figure["unit"] == "ms" and figure["note"] == ""
        assert figure["value"] > 0 and figure["floor"] > 0
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["floor"], rel=0.05)
    dispatch, resume = figures["dispatch.filesystem.p50"], figures["resume.query.sqlite"]
    assert dispatch["met"] is (dispatch["value"] <= dispatch["floor"] + 40)
    assert dispatch["split_p50"]["claim_to_agent"] > 0 and dispatch["samples"] == 3
    assert resume["agents"] == 10_000 and resume["due"] == 100
    assert list(folder.iterdir()) == [], "the private folders are gone"
    assert processes_naming(folder) == []
    assert (folder.parent / "operators.sqlite3").stat().st_size == 0, "nothing was written to the operator's database"


@pytest.mark.timeout(240)
def test_ctrl_c_stops_and_removes_everything(folder):
    perf = start("dispatch.filesystem", folder=folder)  # with all its samples: it must not end before the signal
    deadline = time.monotonic() + 90
    # Once an agent has run there is a nursery, which belongs to no worker any more.
    while not list(folder.glob("*/state/runs/*/phases/agent")):
        assert perf.poll() is None, perf.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert processes_naming(folder) != []
    perf.send_signal(signal.SIGINT)
    output, errors = perf.communicate(timeout=90)
    assert perf.returncode == 130, output + errors
    assert list(folder.iterdir()) == []
    assert processes_naming(folder) == []


def test_nothing_that_names_the_folder_survives_nor_what_is_below_it(folder):
    # As a nursery: its command line names the folder, those below it are in sessions of their own and name nothing.
    script = "setsid sleep 300 & sleep 300; exit # $0"
    mother = subprocess.Popen(["/bin/sh", "-c", script, str(folder)], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while len(children := psutil.Process(mother.pid).children(recursive=True)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert processes.kill_all_naming(folder) == 3
        # Killed itself, or told by the shell that the child it waited for was.
        assert mother.wait(5) in (-signal.SIGKILL, 128 + signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    finally:
        mother.kill()
        mother.wait()


def test_an_unknown_name_is_answered_with_those_there_are(folder):
    perf = start("dispatsh", folder=folder)
    _, errors = perf.communicate(timeout=60)
    assert perf.returncode == 2
    assert "no benchmark 'dispatsh'" in errors and "dispatch.filesystem" in errors
