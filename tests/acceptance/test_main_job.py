"""The main job on three stacks: an issue is split, worked on in parallel, resumed, merged, on real workers and brokers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentgrid.demo import stage as demo_stage
from agentgrid.supervisor import ROOT
from tests.factories import git, make_git_repository
from tests.services import replays

DEMO = Path(demo_stage.__file__).parent
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
STACKS = [("postgres", "sqs"), ("postgres", "redis")]
"""SQLite and the broker of files are the demo's."""


def textkit(tmp_path: Path) -> Path:
    """The demo's repository, made by hand."""
    files = {
        str(path.relative_to(DEMO / "repository")).replace("dot-", "."): path.read_text()
        for path in (DEMO / "repository").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return make_git_repository(tmp_path / "textkit", files)


def assert_whole(repository: Path, branch: str) -> None:
    """All parts are on the branch, and its tests pass."""
    files = git(repository, "ls-tree", "-r", "--name-only", branch).split()
    assert {"textkit/words.py", "textkit/sentences.py", "textkit/__main__.py"} <= set(files)
    git(repository, "checkout", "-q", branch)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    checked = subprocess.run(command, cwd=repository, env={"PATH": PATH}, capture_output=True, text=True)
    assert checked.returncode == 0 and "4 passed" in checked.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("database", "broker"), STACKS)
def test_an_issue_becomes_merged_work(new_stack, tmp_path, database, broker):
    # The acceptance command of the repository is pytest, which lies beside our own interpreter, among plugins of ours.
    environment = {
        "AGENTGRID_AGENT_PATH": PATH,
        "AGENTGRID_AGENT_ENV_ALLOW": "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    stack = new_stack(database=database, broker=broker, extra_env=environment).start()
    repository = textkit(tmp_path)
    submit = ("submit", "--repo", str(repository), "--title", demo_stage.TITLE, "--body-file", str(DEMO / "issue.md"))
    script = ("--script", str(DEMO / "script.yml"))
    stack.manage(*submit, *script, "--wait", "150", timeout=180)

    tree = stack.manage_json("tree", "1")["agents"]
    assert [(a["path"], a["state"]) for a in tree] == [("1", "done"), ("1.1", "done"), ("1.2", "done"), ("1.3", "done")]
    assert_whole(repository, tree[0]["branch"])

    again = stack.manage(*submit, *script)
    assert "already known" in again.stdout
    assert len(stack.manage_json("tree", "1")["agents"]) == 4
    explained = stack.manage("explain", "1").stdout
    assert "done" in explained and "admitted" in explained
    assert stack.manage_json("doctor")["violations"] == []


@pytest.mark.timeout(300)
def test_the_demo_needs_nothing_and_tells_the_story(tmp_path, migrated_sqlite, django_db_blocker):
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
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    paths = [(agent["path"], agent["state"]) for agent in facts["agents"]]
    assert paths == [("1", "done"), ("1.1", "done"), ("1.2", "done"), ("1.3", "done")]
    assert "Timeline" in done.stdout and facts["branch"] in done.stdout
    assert "\x1b" not in done.stdout
    assert_whole(Path(facts["repository"]), facts["branch"])
    played = SimpleNamespace(env={}, state_dir=tmp_path / "demo" / "state", folder=tmp_path)
    with django_db_blocker.unblock():
        assert replays.differences(played, new_database=replays.copied(migrated_sqlite)) == []
