"""`make demo-team`: agents that want the same file, and one that may do too little; what becomes of it.

Two sub-issues change one file. The second one is refused the lock, their parent is woken and decides who goes first, the
grid carries that out, and both changes are in the merged result. A third one asks for a tool and a stronger tier, and its
parent grants them. At the end the tree's budget is compared with its ledger.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentgrid.demo.stage import HERE, DemoFailedError, Stage, free_port

TITLE = "Let textkit speak up"
WORKERS = ("web", "control", "executions", "beat")
WAIT_SECONDS = 180
_COLUMNS = {
    "executions": "executions_{}",
    "wall_seconds": "wall_{}_seconds",
    "tool_calls": "tool_calls_{}",
    "usd_micros": "usd_{}_micros",
    "tokens": "tokens_{}",
}
"""Of an envelope, by what the ledger calls it."""


def play(*, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Play it; returns the tree's facts. Raises DemoFailedError."""
    with Stage(folder=folder, say=say, variables={"AGENTGRID_CONFLICT_GRACE_SECONDS": "3"}) as stage:
        return _play(stage)


def _play(stage: Stage) -> dict[str, Any]:
    began, say = time.monotonic(), stage.say
    stage.empty()
    repository = stage.repository()
    stage.manage("migrate", "--verbosity=0", quiet=True)
    stage.manage("prepare_broker", quiet=True)
    with stage.processes(WORKERS, port=free_port()):
        command = ("submit", "--repo", str(repository), "--title", TITLE, "--body-file", str(HERE / "team-issue.md"))
        stage.manage(*command, "--script", str(HERE / "team-script.yml"), "--wait", str(WAIT_SECONDS))
        stage.manage("tree", "1", "--timeline")
        stage.manage("conflict", "list", "--all")
        stage.manage("upgrade", "list", "--all")
        stage.manage("budget", "show", "--tree", "1")
        facts = _facts(stage)
        stage.manage("doctor")
    branch = next(agent["branch"] for agent in facts["agents"] if agent["parent_id"] is None)
    merged = stage.git(repository, "show", f"{branch}:textkit/clean.py")
    _check(facts, merged)
    say("")
    say(stage.git(repository, "log", "--oneline", "--graph", branch))
    say(f"\ntextkit/clean.py on {branch}:\n\n{merged}")
    seconds = time.monotonic() - began
    say(f"\nBoth changes are in, and the budget is what its ledger says ({seconds:.0f} s). Next: docs/conflicts.md.")
    return {"branch": branch, "repository": str(repository), "seconds": round(seconds, 1), **facts}


def _facts(stage: Stage) -> dict[str, Any]:
    tree = json.loads(stage.manage("tree", "1", "--json", capture=True))
    conflicts = json.loads(stage.manage("conflict", "list", "--all", "--json", capture=True))
    upgrades = json.loads(stage.manage("upgrade", "list", "--all", "--json", capture=True))
    budget = json.loads(stage.manage("budget", "show", "--tree", "1", "--json", capture=True))
    history = json.loads(stage.manage("budget", "history", "--tree", "1", "--json", capture=True))
    return {**tree, "conflicts": conflicts, "upgrades": upgrades, "budget": budget, "history": history}


def _check(facts: dict[str, Any], merged: str) -> None:
    """What the demo promises has come about. Raises DemoFailedError."""
    missing = [name for name in ("def shout", "def whisper") if name not in merged]
    if missing:
        raise DemoFailedError(f"textkit/clean.py lacks {' and '.join(missing)}")
    tree = facts["budget"]["envelopes"][0]
    settled = [row for row in facts["history"]["movements"] if row["what"].startswith("settle")]
    for what, column in _COLUMNS.items():
        spent, reserved = tree[column.format("spent")], tree[column.format("reserved")]
        ledger = sum(row[what] for row in settled)
        if spent != ledger or reserved:
            raise DemoFailedError(f"{tree['key']}: {spent} {what} spent, {reserved} reserved; its ledger says {ledger}")
