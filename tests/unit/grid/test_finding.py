"""Whether an agent's program is there, told before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from grid import finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, mode in (("works", 0o755), ("plain", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    return tmp_path


def test_a_program_is_looked_for_in_the_agents_path_alone(folder: Path) -> None:
    assert finding.why_missing("works", path=str(folder)) == ""
    assert finding.why_missing(str(folder / "works"), path="/nowhere") == ""
    for program in ("sh", "plain", str(folder / "plain"), str(folder / "absent")):
        assert "AGENTGRID_AGENT_PATH" in finding.why_missing(program, path=str(folder))


def test_what_is_in_the_workspace_is_not_judged_before_it_is_started(folder: Path) -> None:
    assert finding.why_missing("./agent.sh", path=str(folder)) == ""
    assert finding.why_missing("bin/agent", path=str(folder)) == ""
