"""`agents check` and `agents install`: what this machine can run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command


@pytest.fixture(autouse=True)
def place(settings: Any, tmp_path: Path) -> Path:
    settings.GRID_STATE_DIR = tmp_path / "state"
    settings.GRID_AGENT_PATH = str(tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def check(*args: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    code = 0
    try:
        call_command("agents", "check", *args, "--json", stdout=out)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    (only,) = json.loads(out.getvalue())["agents"]
    return code, only


def test_a_program_that_is_not_there_is_missing_with_the_fix() -> None:
    code, found = check("claude")
    assert code == 1
    assert not found["works"]
    assert "manage.py agents install claude" in found["missing"][0]


def test_a_version_outside_the_range_is_not_run(place: Path) -> None:
    program(place, "codex", 'echo "codex-cli 0.170.1"')
    code, found = check("codex")
    assert code == 1
    assert (found["version"], found["dry_run"]) == ("0.170.1", None)
    assert "outside ==0.169.*" in found["missing"][0]


def test_a_program_that_cannot_say_its_version_is_told(place: Path) -> None:
    program(place, "claude", "echo broken library >&2; exit 127")
    code, found = check("claude")
    assert code == 1
    assert "broken library" in found["missing"][0]


def test_a_dry_run_that_writes_nothing_fails(place: Path, settings: Any) -> None:
    settings.GRID_AGENT_PATH += ":/usr/bin:/bin"
    program(place, "claude", 'case "$1" in --version) echo 2.1.329;; *) cat >/dev/null; echo "{}";; esac')
    code, found = check("claude")
    assert code == 1
    assert "terminal event" in found["dry_run"]


def test_our_own_agents_pass_their_dry_run(settings: Any) -> None:
    settings.GRID_AGENT_PATH += ":/usr/bin:/bin"
    for name in ("command", "builtin"):
        code, found = check(name)
        assert (code, found["works"], found["dry_run"]) == (0, True, "")


def test_an_unknown_agent_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(CommandError, match="builtin"):
        call_command("agents", "check", "clod")


def test_only_coding_clis_can_be_installed() -> None:
    with pytest.raises(CommandError, match="known: claude, codex, opencode, gemini"):
        call_command("agents", "install", "builtin")
