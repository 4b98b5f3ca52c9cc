"""The main job on three stacks: an issue is split, worked on in parallel, resumed, merged, on real workers and brokers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentgrid.demo import stage as demo_stage
from agentgrid.supervisor import ROOT
from tests.factories import git, make_git_repository

DEMO = Path(demo_stage.__file__).parent
STACKS = [("sqlite", "gridfs"), ("postgres", "sqs"), ("postgres", "redis")]


def textkit(tmp_path: Path) -> Path:
    """The demo's repository, made by hand."""
    files = {
        str(path.relative_to(DEMO / "repository")).replace("dot-", "."): path.read_text()
        for path in (DEMO / "repository").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return make_git_repository(tmp_path / "textkit", files)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("database", "broker"), STACKS)
def test_an_issue_becomes_merged_work(new_stack, tmp_path, database, broker):
    # The acceptance command of the repository is pytest, which lies beside our own interpreter.
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    stack = new_stack(database=database, broker=broker, extra_env={"AGENTGRID_AGENT_PATH": path}).start()
    repository = textkit(tmp_path)
    submit = ("submit", "--repo", str(repository), "--title", demo_stage.TITLE, "--body-file", str(DEMO / "issue.md"))
    script = ("--script", str(DEMO / "script.yml"))
    stack.manage(*submit, *script, "--wait", "150", timeout=180)

    tree = stack.manage_json("tree", "1")["agents"]
    assert [(a["path"], a["state"]) for a in tree] == [("1", "done"), ("1.1", "done"), ("1.2", "done"), ("1.3", "done")]
    branch = tree[0]["branch"]
    files = git(repository, "ls-tree", "-r", "--name-only", branch).split()
    assert {"textkit/words.py", "textkit/sentences.py", "textkit/__main__.py"} <= set(files)
    git(repository, "checkout", "-q", branch)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    checked = subprocess.run(command, cwd=repository, env={"PATH": path}, capture_output=True, text=True)
    assert checked.returncode == 0 and "4 passed" in checked.stdout

    again = stack.manage(*submit, *script)
    assert "already known" in again.stdout
    assert len(stack.manage_json("tree", "1")["agents"]) == 4
    explained = stack.manage("explain", "1").stdout
    assert "done" in explained and "admitted" in explained
    assert stack.manage_json("doctor")["violations"] == []


@pytest.mark.timeout(120)
def test_the_demo_needs_nothing_and_tells_the_story(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "manage.py", "demo", "--folder", str(tmp_path / "demo"), "--json"],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "AGENTGRID_READ_DOTENV": "False",
            "AGENTGRID_STATE_DIR": str(tmp_path / "s"),
        },
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert [agent["state"] for agent in facts["agents"]] == ["done"] * 4
    assert "Timeline" in done.stdout and facts["branch"] in done.stdout
    assert "\x1b" not in done.stdout
