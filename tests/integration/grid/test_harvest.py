from __future__ import annotations

import os
import subprocess

import pytest

from grid import store, workspaces
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import (
    BRANCH,
    commit_all,
    make_rich_source,
    make_setup,
    make_source,
    plain_git,
    write,
)


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


def test_committed_work_is_taken_as_it_is(sample):
    write(sample.workspace, {"new.py": "1\n"})
    first = commit_all(sample.workspace)
    write(sample.workspace, {"src/lib.py": "x = 2\n"})
    head = commit_all(sample.workspace)
    result = sample.harvest()
    assert (result.head, result.changed, result.auto_committed, result.commits) == (head, True, False, 2)
    assert store.head(sample.bare, "refs/executions/e1") == head
    assert plain_git(sample.bare, "rev-parse", f"{head}^") == first
    assert sample.harvest() == result


def test_leftovers_are_committed_on_top(sample):
    write(sample.workspace, {"new.py": "1\n"})
    commit = commit_all(sample.workspace)
    write(sample.workspace, {"new.py": "2\n", "dir/untracked": "3\n", ".gitignore": "*.log\n", "noise.log": "x"})
    write(sample.workspace, {".agentgrid/outcome.json": "{}"})
    (sample.workspace / "README.md").unlink()
    (sample.workspace / "src/app.py").chmod(0o755)
    result = sample.harvest()
    assert (result.changed, result.auto_committed, result.commits) == (True, True, 2)
    assert plain_git(sample.bare, "rev-parse", f"{result.head}^") == commit
    assert sample.files(result.head) == [".gitignore", "dir/untracked", "new.py", "src/app.py", "src/lib.py"]
    assert sample.show(result.head, "new.py") == "2"
    assert plain_git(sample.bare, "ls-tree", result.head, "src/app.py").startswith("100755")
    assert plain_git(sample.bare, "log", "-1", "--format=%s|%an", result.head) == "Work of the agent|agent-grid"


def test_nothing_done_is_no_change(sample):
    (sample.workspace / "README.md").touch()
    write(sample.workspace, {"README.md": "hello\n", ".agentgrid/outcome.json": "{}"})
    result = sample.harvest()
    assert (result.head, result.changed, result.commits) == (sample.base, False, 0)
    assert store.head(sample.bare, "refs/executions/e1") == ""


def test_a_change_of_the_same_size_in_the_same_moment_is_seen(tmp_path):
    """Git compares sizes and seconds; a fast agent must not slip through, with or without its own times."""
    sample = make_setup(tmp_path)
    for number in range(15):
        path = tmp_path / "run" / f"w{number}"
        workspaces.create(store=sample.bare, path=path, base=sample.base, branch=BRANCH)
        before = (path / "README.md").stat()
        (path / "README.md").write_text("HELLO\n")
        if number % 2:
            os.utime(path / "README.md", ns=(before.st_atime_ns, before.st_mtime_ns))
        result = workspaces.harvest(
            store=sample.bare, workspace=path, execution=f"e{number}", base=sample.base, branch=BRANCH, message="m"
        )
        assert result.changed, number
        assert sample.show(result.head, "README.md") == "HELLO"


def test_a_lost_trusted_index_only_costs_time(sample):
    (sample.workspace.parent / "workspace.index").unlink()
    assert not sample.harvest().changed
    write(sample.workspace, {"src/lib.py": "x = 2\n"})
    result = sample.harvest()
    assert [change.path for change in store.diff_stat(sample.bare, sample.base, result.head)] == ["src/lib.py"]


def test_a_report_committed_by_accident_does_not_reach_the_branch(sample):
    write(sample.workspace, {".agentgrid/outcome.json": "{}", "real.py": "1\n"})
    plain_git(sample.workspace, "add", "-f", ".agentgrid", "real.py")
    plain_git(sample.workspace, "commit", "-q", "-m", "all")
    result = sample.harvest()
    assert sample.files(result.head) == ["README.md", "real.py", "src/app.py", "src/lib.py"]
    assert result.commits == 2


def test_forced_files_that_are_ignored_stay_committed(sample):
    write(sample.workspace, {".gitignore": "*.bin\n", "keep.bin": "1"})
    plain_git(sample.workspace, "add", "-f", ".gitignore", "keep.bin")
    plain_git(sample.workspace, "commit", "-q", "-m", "forced")
    write(sample.workspace, {"left": "1"})
    result = sample.harvest()
    assert "keep.bin" in sample.files(result.head)
    assert "left" in sample.files(result.head)


def test_files_and_directories_may_trade_places(sample):
    (sample.workspace / "README.md").unlink()
    write(sample.workspace, {"README.md/inside": "1"})
    (sample.workspace / "src/app.py").unlink()
    (sample.workspace / "src/lib.py").unlink()
    (sample.workspace / "src").rmdir()
    (sample.workspace / "src").symlink_to("/")
    result = sample.harvest()
    assert sample.files(result.head) == ["README.md/inside", "src"]
    assert sample.show(result.head, "src") == "/"


def test_line_endings_and_names_survive_like_in_a_clone(tmp_path):
    source, base = make_rich_source(tmp_path)
    bare, workspace = tmp_path / "s.git", tmp_path / "w"
    store.ensure(bare, str(source))
    store.fetch(bare, str(source))
    workspaces.create(store=bare, path=workspace, base=base, branch=BRANCH)
    (workspace / "a.bat").write_bytes(b"one\r\nthree\r\n")
    (workspace / os.fsdecode(b"latin-\xe9")).write_text("changed")
    (workspace / 'quo"te\nnew').unlink()
    result = workspaces.harvest(store=bare, workspace=workspace, execution="e", base=base, branch=BRANCH, message="m")
    assert {(c.path, c.added, c.removed) for c in store.diff_stat(bare, base, result.head)} == {
        ("a.bat", 1, 1),
        ("latin-\\xe9", 1, 1),
        ('quo"te\nnew', 0, 1),
    }
    assert "160000 commit " + "1" * 40 in plain_git(bare, "ls-tree", result.head, "sub")


def _detach(workspace):
    plain_git(workspace, "checkout", "-q", "--detach")


def _other_branch(workspace):
    plain_git(workspace, "switch", "-q", "-c", "idea")


def _packed(workspace):
    plain_git(workspace, "pack-refs", "--all")


@pytest.mark.parametrize("habit", [_detach, _other_branch, _packed])
def test_work_is_found_wherever_head_is(sample, habit):
    habit(sample.workspace)
    write(sample.workspace, {"new.py": "1\n"})
    head = commit_all(sample.workspace)
    plain_git(sample.workspace, "gc", "-q")
    assert sample.harvest().head == head


def test_a_look_at_old_code_does_not_undo_the_work(sample):
    write(sample.workspace, {"new.py": "1\n"})
    head = commit_all(sample.workspace)
    plain_git(sample.workspace, "checkout", "-q", "--detach", sample.base)
    assert sample.harvest().head == head


def test_a_reset_to_before_the_base_keeps_the_files_as_they_are(tmp_path):
    source = tmp_path / "source"
    make_source(source)
    write(source, {"second": "2\n"})
    base = commit_all(source, "second")
    bare, workspace = tmp_path / "s.git", tmp_path / "w"
    store.ensure(bare, str(source))
    store.fetch(bare, str(source))
    workspaces.create(store=bare, path=workspace, base=base, branch=BRANCH)
    plain_git(workspace, "reset", "-q", "--soft", "HEAD~1")
    write(workspace, {"mine": "1\n"})
    result = workspaces.harvest(store=bare, workspace=workspace, execution="e", base=base, branch=BRANCH, message="m")
    assert plain_git(bare, "rev-parse", f"{result.head}^") == base
    assert [change.path for change in store.diff_stat(bare, base, result.head)] == ["mine"]


@pytest.mark.parametrize("leftover", [False, True])
def test_a_history_of_its_own_becomes_one_commit_on_the_base(sample, leftover):
    subprocess.run(["rm", "-rf", ".git"], cwd=sample.workspace, check=True)
    plain_git(sample.workspace, "init", "-q", "-b", "main")
    write(sample.workspace, {"new.py": "1\n"})
    commit_all(sample.workspace)
    if leftover:
        write(sample.workspace, {"left": "1\n"})
    result = sample.harvest()
    assert (result.commits, result.auto_committed) == (1, True)
    assert plain_git(sample.bare, "rev-parse", f"{result.head}^") == sample.base
    changed = [change.path for change in store.diff_stat(sample.bare, sample.base, result.head)]
    assert changed == (["left", "new.py"] if leftover else ["new.py"])
    assert "do not descend" in result.notes[0]


def test_many_commits_and_files_come_over_as_a_pack(sample):
    for number in range(3):
        write(sample.workspace, {f"d{number}/f{i}": f"{number} {i}\n" for i in range(700)})
        head = commit_all(sample.workspace)
    write(sample.workspace, {f"u/f{i}": f"{i}\n" for i in range(2000)})
    result = sample.harvest()
    assert plain_git(sample.bare, "rev-parse", f"{result.head}^") == head
    assert len(sample.files(result.head)) == 3 + 2100 + 2000
    plain_git(sample.bare, "fsck", "--no-dangling")


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_too_much_data_is_refused_and_named(sample, commit, packed):
    (sample.workspace / "big").write_bytes(bytes(3_000_000))
    if commit:
        commit_all(sample.workspace)
        if packed:
            plain_git(sample.workspace, "gc", "-q")
    with pytest.raises(WorkspaceError, match=r"more than the accepted 1000000.*the work is still in .*workspace"):
        sample.harvest(max_file_bytes=1_000_000)
    with pytest.raises(WorkspaceError, match="more than the accepted 2000000"):
        sample.harvest(max_total_bytes=2_000_000)
    assert store.head(sample.bare, "refs/executions/e1") == ""
    assert sample.harvest().changed
