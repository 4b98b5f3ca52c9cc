from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from grid import store, workspaces
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import (
    BRANCH,
    ENV,
    make_rich_source,
    make_setup,
    plain_git,
    write,
)


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


def _entries(root: Path) -> dict[str, tuple[int, int, str | bytes | None]]:
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


def test_a_workspace_is_what_a_shared_clone_is(tmp_path):
    source, base = make_rich_source(tmp_path)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start git as another user")
def test_a_workspace_can_belong_to_another_user(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("pytest", "popen")):
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
