"""A repository that is not ours: a released package, taken from where pip put it, improved by `manage.py up`.

No network: the sources are those of an installed dependency, as its maintainers wrote them; the tests beside it are ours.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import iniconfig
import pytest

from tests.factories import git, make_git_repository
from tests.hostile.up import Up
from tests.services.stack import Stack

pytestmark = pytest.mark.timeout(120)
TESTS = """\
import iniconfig
import pytest


def test_a_section_is_read(tmp_path):
    (tmp_path / "app.ini").write_text("[server]\\nport = 80\\n")
    assert iniconfig.IniConfig(tmp_path / "app.ini")["server"]["port"] == "80"


def test_a_line_without_a_section_is_an_error(tmp_path):
    (tmp_path / "app.ini").write_text("port = 80\\n")
    with pytest.raises(iniconfig.ParseError, match="no section header"):
        iniconfig.IniConfig(tmp_path / "app.ini")
"""
BODY = "Callers that catch `ValueError` around parsers should catch ours too.\n"
CHANGE = "sed -i 's/^class ParseError(Exception):/class ParseError(ValueError):/' src/iniconfig/exceptions.py"
WISHED = "PYTHONPATH=src python3 -c 'from iniconfig import ParseError as e; assert issubclass(e, ValueError)'"
TESTED = "PYTHONPATH=src python3 -m pytest -q -p no:cacheprovider tests"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The package under git, and its user in the middle of something else."""
    path = tmp_path / "iniconfig"
    sources = Path(iniconfig.__file__).parent
    shutil.copytree(sources, path / "src" / "iniconfig", ignore=shutil.ignore_patterns("__pycache__"))
    make_git_repository(path, {"tests/test_iniconfig.py": TESTS, "README.md": "iniconfig\n"})
    git(path, "switch", "-q", "-c", "my-work")
    (path / "committed.txt").write_text("only on my branch\n")
    git(path, "add", "committed.txt")
    git(path, "commit", "-q", "-m", "Mine")
    git(
        path, "switch", "-q", "main"
    )  # what is checked out when the repository is taken on counts as its default branch
    (path / "README.md").write_text("iniconfig, half rewritten\n")
    (path / "src/iniconfig/exceptions.py").write_text("broken, for the moment\n")
    (path / "staged.txt").write_text("staged\n")
    git(path, "add", "staged.txt")
    (path / "untracked.txt").write_text("untracked\n")
    return path


@pytest.fixture(scope="module")
def up(request: pytest.FixtureRequest) -> Iterator[Up]:
    """A running installation, from nothing. Each test brings a repository of its own."""
    # The repository's acceptance needs pytest, which lies beside our own interpreter.
    path = {"AGENTGRID_AGENT_PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    stack = Stack(Path(tempfile.mkdtemp(prefix="ag-")), extra_env=path)
    try:
        running = Up(stack, "--no-web")
        stack.wait_until(running.is_ready, "the host is there", timeout=60)
        yield running
        if request.session.testsfailed:
            print("--- last lines of up", *stack.logs("up").splitlines()[-60:], sep="\n")
        assert running.stop() == 0
        assert stack.processes() == []
    finally:
        stack.close()
        shutil.rmtree(stack.folder, ignore_errors=True)


def as_the_user_left_it(repository: Path) -> dict[str, Any]:
    """Everything about a checkout that a user would notice."""
    files = [
        path for path in repository.rglob("*") if path.is_file() and ".git" not in path.relative_to(repository).parts
    ]
    return {
        "branch": git(repository, "branch", "--show-current"),
        "commits": git(repository, "log", "--format=%H", "main", "my-work"),
        "status": git(repository, "status", "--porcelain"),
        "index": git(repository, "diff", "--cached"),
        "config": (repository / ".git/config").read_text(),
        "files": {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files},
        "stashes": git(repository, "stash", "list"),
        "remotes": git(repository, "remote"),
    }


def test_a_change_arrives_on_a_branch_of_a_foreign_repository(up: Up, repository: Path, tmp_path: Path) -> None:
    stack, before = up.stack, as_the_user_left_it(repository)
    issue = tmp_path / "issue.md"
    issue.write_text(BODY)
    submit = ["submit", "--repo", str(repository), "--title", "Make ParseError a ValueError", "--body-file", str(issue)]
    submit += ["--agent", "command", "--command", CHANGE, "--accept", WISHED, "--accept", TESTED]
    told = stack.manage(*submit, "--wait", "60", timeout=80).stdout
    key = stack.manage_json(*submit)["agent"]["issue"]
    branch = "agent/1-make-parseerror-a-valueerror"
    assert f"done: the work is on branch {branch}" in told

    # The branch: one commit on main with this one change, of nobody's unfinished work.
    assert git(repository, "rev-list", "--count", f"main..{branch}") == "1"
    assert git(repository, "diff", "--stat", f"main...{branch}", "--format=").count("|") == 1
    assert "class ParseError(ValueError):" in git(repository, "show", f"{branch}:src/iniconfig/exceptions.py")
    names = git(repository, "ls-tree", "-r", "--name-only", branch).split()
    assert not {"committed.txt", "staged.txt", "untracked.txt"} & set(names)
    assert git(repository, "show", f"{branch}:README.md") == "iniconfig"
    assert as_the_user_left_it(repository) == before
    assert git(repository, "fsck", "--strict") == ""

    # The story.
    explained = stack.manage_json("explain", key)
    (run,) = explained["executions"]
    assert [(check["command"], check["passed"]) for check in run["result"]["checks"]] == [
        (WISHED, True),
        (TESTED, True),
    ]
    assert "2 passed" in run["result"]["checks"][1]["tail"]
    words = stack.manage("explain", key).stdout
    for piece in ("done", "admitted", branch, "work, attempt 1: succeeded", "passed in", TESTED):
        assert piece in words
    tree = stack.manage("tree", key, "--timeline").stdout
    for piece in ("Make ParseError a ValueError", "done", branch):
        assert piece in tree

    # The same issue again.
    again = stack.manage_json(*submit)
    assert again["is_new"] is False
    assert again["agent"]["id"] == explained["agent"]["id"]
    assert "nothing was started twice" in stack.manage(*submit).stdout
    later = stack.manage_json("explain", key)
    assert [run["id"] for run in later["executions"]] == [run["id"]]
    assert len(stack.manage_json("tree", key)["agents"]) == 1
    assert later["agent"]["head"] == git(repository, "rev-parse", branch)
    assert stack.manage_json("doctor")["violations"] == []
    assert as_the_user_left_it(repository) == before


def test_work_that_fails_its_acceptance_stays_away_from_the_repository(up: Up, repository: Path) -> None:
    stack, before = up.stack, as_the_user_left_it(repository)
    (repository / ".agentgrid.yml").write_text("version: 1\nlimits:\n  attempts: 1\n")  # not committed: does not count
    break_it = "echo 'raise SystemExit(1)' > src/iniconfig/exceptions.py"
    submit = ["submit", "--repo", str(repository), "--title", "Break it", "--agent", "command", "--command", break_it]
    key = stack.manage_json(*submit, "--accept", TESTED)["agent"]["issue"]

    def failed_once() -> bool:
        return any(run["state"] == "failed" for run in stack.manage_json("explain", key)["executions"])

    stack.wait_until(failed_once, "its acceptance has failed", pause=0.3)
    stack.manage("cancel", key, "--yes")
    words = stack.manage("explain", key).stdout
    assert f"acceptance failed: {TESTED}" in words
    assert git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").split() == ["main", "my-work"]
    (repository / ".agentgrid.yml").unlink()
    assert as_the_user_left_it(repository) == before
