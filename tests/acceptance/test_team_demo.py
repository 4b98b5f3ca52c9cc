"""`make demo-team`, played by its command: agents that want one file, an upgrade, a budget that is its ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentgrid.supervisor import ROOT


@pytest.mark.timeout(420)
def test_two_agents_want_one_file_and_both_changes_are_merged(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AGENTGRID_READ_DOTENV": "False",
        "AGENTGRID_STATE_DIR": str(tmp_path / "s"),
    }
    command = [sys.executable, "manage.py", "demo_team", "--json", "--folder", str(tmp_path / "team")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    (conflict,) = facts["conflicts"]["conflicts"]
    assert (conflict["kind"], conflict["state"], conflict["choice"]) == ("lock", "carried-out", "sequence")
    (upgrade,) = facts["upgrades"]["upgrades"]
    assert (upgrade["state"], upgrade["answered_by"]) == ("granted", "agent:1")
    assert {agent["state"] for agent in facts["agents"]} == {"done"}
    assert "no law is broken" in done.stdout
