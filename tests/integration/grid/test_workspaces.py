from __future__ import annotations

import os
import stat
import subprocess
import threading
import time

import pytest

from grid import store, workspaces
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import BRANCH, ENV, commit_all, make_setup, make_source, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


def _entries(root):
    """Kind, executable bit and content of everything below a directory but `.git`."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name == ".git" or name.startswith(".git/"):
            continue
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[name] = (stat.S_IFMT(info.st_mode), info.st_mode & 0o100 if path.is_file() else 0, content)
    return found


def _rich_source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    plain_git(root, "init", "-q", "-b", "main")
    write(root, {"a.bat": "one\ntwo\n", "run.sh": "#!/bin/sh\n", "deep/er/file": "x", "id.txt": "$Id$\n"})
    write(root, {".gitattributes": "*.bat text eol=crlf\n*.txt ident\n*.f filter=evil diff=evil\n", "x.f": "f\n"})
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("run.sh")
    (root / "dangling").symlink_to("/nowhere/at/all")
    (root / os.fsdecode(b"latin-\xe9")).write_text("1")
    (root / 'quo"te\nnew').write_text("2")
    write(root, {".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c touch% /tmp/never\n'})
    plain_git(root, "add", "-A")
    plain_git(root, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    plain_git(root, "commit", "-q", "-m", "rich")
    return root, plain_git(root, "rev-parse", "HEAD")


def test_a_workspace_is_what_a_shared_clone_is(tmp_path):
    source, base = _rich_source(tmp_path)
    bare = tmp_path / "s.git"
    store.ensure(bare, str(source))
    store.fetch(bare, str(source))
    workspace, clone, tried = tmp_path / "w", tmp_path / "clone", tmp_path / "tried"
    workspaces.create(store=bare, path=workspace, base=base, branch=BRANCH)
    workspaces.checkout(store=bare, path=tried, commit=base)
    plain_git(tmp_path, "clone", "-q", "--shared", str(source), str(clone))
    assert _entries(workspace) == _entries(clone) == _entries(tried)
    assert plain_git(workspace, "ls-files", "-s") == plain_git(clone, "ls-files", "-s")
    for tree in (workspace, tried):
        assert plain_git(tree, "status", "--porcelain") == ""
        assert plain_git(tree, "rev-parse", "HEAD") == base
        plain_git(tree, "fsck", "--no-dangling")
    assert plain_git(workspace, "symbolic-ref", "HEAD") == f"refs/heads/{BRANCH}"
    result = workspaces.harvest(
        store=bare, workspace=workspace, execution="e", base=base, branch=BRANCH, message="nothing"
    )
    assert (result.head, result.changed) == (base, False)


def test_an_agent_can_use_plain_git_but_has_no_remote(sample):
    workspace = sample.workspace
    assert plain_git(workspace, "remote") == ""
    assert BRANCH in plain_git(workspace, "branch")
    assert plain_git(workspace, "log", "--format=%s") == "first"
    write(workspace, {"src/lib.py": "x = 2\n"})
    assert "+x = 2" in plain_git(workspace, "diff")
    done = subprocess.run(
        ["git", "commit", "-qam", "w"], cwd=workspace, env={"PATH": ENV["PATH"], "HOME": "/nonexistent"}
    )
    assert done.returncode == 0
    assert plain_git(workspace, "log", "-1", "--format=%an") == "agent-grid"
    plain_git(workspace, "gc", "-q")
    assert plain_git(workspace, "status", "--porcelain") == ""


def test_a_workspace_appears_whole_or_not_at_all(sample, tmp_path):
    with pytest.raises(WorkspaceError, match="exists already"):
        workspaces.create(store=sample.bare, path=sample.workspace, base=sample.base, branch=BRANCH)
    with pytest.raises(WorkspaceError):
        workspaces.create(store=sample.bare, path=tmp_path / "run" / "w2", base="1" * 40, branch=BRANCH)
    with pytest.raises(WorkspaceError, match="not a valid branch"):
        workspaces.create(store=sample.bare, path=tmp_path / "run" / "w2", base=sample.base, branch="a/../../b")
    left = tmp_path / "run" / ".w2.new"
    (left / "half").mkdir(parents=True)
    workspaces.create(store=sample.bare, path=tmp_path / "run" / "w2", base=sample.base, branch=BRANCH)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "w2",
        "w2.index",
        "workspace",
        "workspace.index",
    ]


def test_checkout_replaces_what_was_there(sample, tmp_path):
    path = tmp_path / "run" / "verify"
    write(path, {"old": "1"})
    workspaces.checkout(store=sample.bare, path=path, commit=sample.base)
    assert sorted(entry.name for entry in path.iterdir()) == [".git", "README.md", "src"]
    assert plain_git(path, "branch", "--show-current") == ""


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
    source, base = _rich_source(tmp_path)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start git as another user")
def test_a_workspace_can_belong_to_another_user(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith("pytest"):
            parent.chmod(0o755)
    sample = make_setup(tmp_path)
    path = tmp_path / "run" / "other"
    workspaces.create(store=sample.bare, path=path, base=sample.base, branch=BRANCH, uid_gid=(12345, 12346))
    owners = {(p.lstat().st_uid, p.lstat().st_gid) for p in [path, *path.rglob("*")]}
    assert owners == {(12345, 12346)}
    done = subprocess.run(
        "echo 1 > mine && git add -A && git commit -qm mine && echo 2 > left",
        shell=True, cwd=path, env={"PATH": ENV["PATH"], "HOME": "/nonexistent"}, user=12345, group=12346, extra_groups=[],
    )  # fmt: skip
    assert done.returncode == 0
    result = workspaces.harvest(
        store=sample.bare, workspace=path, execution="e", base=sample.base, branch=BRANCH, message="m"
    )
    assert (result.commits, sample.files(result.head)[:2]) == (2, ["README.md", "left"])
    workspaces.chown_tree(path, 0, 0)
    assert {p.lstat().st_uid for p in path.rglob("*")} == {0}


def test_remove_deletes_anything_and_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    write(outside, {"keep": "1"})
    root = tmp_path / "tree"
    write(root, {"locked/in/file": "1", os.fsdecode(b"odd\xff\n/x"): "1"})
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "locked" / "fifo")
    deep = os.open(root, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    (root / "locked" / "in").chmod(0)
    (root / "locked").chmod(0)
    root.chmod(0o500)
    assert workspaces.remove(root)
    assert workspaces.remove(root)
    assert not os.path.lexists(root)
    assert (outside / "keep").exists()
    (tmp_path / "alias").symlink_to(outside)
    assert workspaces.remove(tmp_path / "alias")
    assert (outside / "keep").exists()


def test_remove_survives_a_writer(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    stop = time.monotonic() + 1.0

    def write_on() -> None:
        number = 0
        while time.monotonic() < stop:
            number += 1
            try:
                (root / f"d{number % 7}").mkdir(exist_ok=True)
                (root / f"d{number % 7}" / f"f{number}").write_text("x")
            except OSError:
                pass

    writer = threading.Thread(target=write_on)
    writer.start()
    while time.monotonic() < stop:
        workspaces.remove(root)
    writer.join()
    assert workspaces.remove(root)
