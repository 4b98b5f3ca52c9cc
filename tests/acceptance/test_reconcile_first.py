"""A worker that starts looks at what was left behind, without anybody who tells it to."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.factories import make_git_repository


def test_a_control_worker_reconciles_before_anything_else(new_stack, tmp_path: Path):
    """No beat runs and no message comes: what ends the dead run is the worker's own start."""
    stack = new_stack().start("executions", "control")
    repository, mark = make_git_repository(tmp_path / "app"), tmp_path / "mark"
    stack.manage(
        *("submit", "--repo", str(repository), "--title", "Wait", "--agent", "command"),
        *("--command", f"touch {mark}; exec sleep 300"),
    )
    stack.wait_until(mark.exists, "the agent works")
    stack.kill9_everything()
    with sqlite3.connect(stack.state_dir / "agentgrid.sqlite3", timeout=30) as database:
        # As if it had been down for an hour: the lease is long over.
        database.execute("UPDATE grid_execution SET lease_until = '2026-01-01 00:00:00'")

    def states() -> list[str]:
        with sqlite3.connect(f"file:{stack.state_dir / 'agentgrid.sqlite3'}?mode=ro", uri=True) as database:
            return [state for (state,) in database.execute("SELECT state FROM grid_execution ORDER BY created_at")]

    assert states() == ["running"]
    stack.start("control")
    stack.wait_until(lambda: states()[0] == "lost", "the dead run has ended")
