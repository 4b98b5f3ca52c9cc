"""`make demo`: a whole grid in a folder of its own, one small repository, one issue, from split to merge.

Everything is real but the model, which plays a script: real Celery workers, shims, git, pytest. The steps are the
commands that a user would type; each is shown before it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentgrid.demo.stage import HERE, TITLE, Stage

WORKERS = ("control", "executions", "beat")
WAIT_SECONDS = 150


def play(*, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Play it; returns the submitted issue's facts. Raises DemoFailedError."""
    with Stage(folder=folder, say=say) as stage:
        return _play(stage)


def _play(stage: Stage) -> dict[str, Any]:
    began, say = time.monotonic(), stage.say
    stage.empty()
    repository = stage.repository()
    stage.manage("migrate", "--verbosity=0", quiet=True)
    stage.manage("prepare_broker", quiet=True)
    with stage.processes(WORKERS):
        command = ("submit", "--repo", str(repository), "--title", TITLE, "--body-file", str(HERE / "issue.md"))
        stage.manage(*command, "--script", str(HERE / "script.yml"), "--wait", str(WAIT_SECONDS))
        stage.manage("tree", "1", "--timeline")
        facts = json.loads(stage.manage("tree", "1", "--json", capture=True))
    branch = next(agent["branch"] for agent in facts["agents"] if agent["parent_id"] is None)
    say("")
    say(stage.git(repository, "log", "--oneline", "--graph", branch))
    seconds = time.monotonic() - began
    say(f"\nThe work is on branch {branch} of {repository} ({seconds:.0f} s).")
    say("Next: `make demo-github`, or README.md, 'With your own repository'.")
    return {"branch": branch, "repository": str(repository), "seconds": round(seconds, 1), **facts}
