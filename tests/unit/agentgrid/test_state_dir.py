"""What other users of the machine can reach."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgrid import state_dir

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SECRET_KEY": "x" * 50, "DATABASE_URL": "postgres://127.0.0.1:1/none"},
        {"DATABASE_URL": "sqlite:///{}/elsewhere/db.sqlite3"},
    ],
)
def test_whichever_process_comes_first_makes_the_state_folder_for_its_owner_alone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "some" / "state"
    given = {name: value.format(tmp_path) for name, value in environment.items()}
    ours = {"AGENTGRID_READ_DOTENV": "False", "AGENTGRID_STATE_DIR": str(folder)}
    program = "import agentgrid.settings as s; print(s.DATABASES['default']['NAME'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=ours | given, capture_output=True, text=True, check=True
    )
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o755)
    database = Path(done.stdout.strip())
    if "sqlite" in database.name:
        assert mode(database) == 0o600
        with sqlite3.connect(database) as connection:
            connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE secrets (word TEXT);")
            assert {mode(file) for file in database.parent.glob("*sqlite3*")} == {0o600}


def test_the_supervisors_lock_makes_no_open_folder(tmp_path: Path) -> None:
    os.close(state_dir.lock_state_dir(tmp_path / "state"))
    assert mode(tmp_path / "state") == 0o700


def test_a_folder_that_others_can_enter_is_told_with_its_remedy(tmp_path: Path) -> None:
    folder, inside, outside = tmp_path / "state", tmp_path / "state" / "db.sqlite3", tmp_path / "db.sqlite3"
    assert state_dir.open_to_others(folder=folder, database=inside) == []
    folder.mkdir()
    inside.touch()
    (found,) = state_dir.open_to_others(folder=folder, database=inside)
    assert f"run `chmod 700 {folder}`" in found
    folder.chmod(0o700)
    assert state_dir.open_to_others(folder=folder, database=inside) == []
    outside.touch()
    (found,) = state_dir.open_to_others(folder=folder, database=outside)
    assert f"run `chmod 600 {outside}`" in found


def test_the_doctor_asks(settings: Any, tmp_path: Path) -> None:
    assert "agentgrid.state_dir.check_modes" in settings.DOCTOR_CHECKS
    settings.STATE_DIR = tmp_path
    tmp_path.chmod(0o750)
    assert str(tmp_path) in state_dir.check_modes()[0]
