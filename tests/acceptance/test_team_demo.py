"""`make demo-team`, played by its command: agents that want one file, an upgrade, a budget that is its ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services import demos


@pytest.mark.timeout(420)
def test_two_agents_want_one_file_and_both_changes_are_merged(tmp_path: Path) -> None:
    facts = demos.play("demo_team", folder=tmp_path / "team", log=tmp_path / "said.txt")
    (conflict,) = facts["conflicts"]["conflicts"]
    assert (conflict["kind"], conflict["state"], conflict["choice"]) == ("lock", "carried-out", "sequence")
    (upgrade,) = facts["upgrades"]["upgrades"]
    assert (upgrade["state"], upgrade["answered_by"]) == ("granted", "agent:1")
    assert {agent["state"] for agent in facts["agents"]} == {"done"}
    assert "no law is broken" in (tmp_path / "said.txt").read_text()
