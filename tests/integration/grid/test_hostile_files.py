"""An agent may put anything into its work tree: nothing hangs, nothing outside is touched, its files are taken."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from grid import workspaces
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import commit_all, configure, make_setup, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


@pytest.fixture
def marker(tmp_path):
    """A file that any command of the agent would create."""
    return tmp_path / "marker"


def test_special_files_are_left_out_and_stop_nothing(sample):
    workspace = sample.workspace
    for name in (".gitignore", ".gitattributes", "pipe", "src/.gitignore", "src/.gitattributes"):
        os.mkfifo(workspace / name)
    (workspace / "README.md").unlink()
    os.mkfifo(workspace / "README.md")
    here = Path.cwd()
    os.chdir(workspace)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(workspace / "device", 0o020666, os.makedev(1, 5))
        os.mknod(workspace / "src/lib.py.new", 0o020666, os.makedev(1, 5))
        (workspace / "src/lib.py.new").rename(workspace / "src/lib.py")
    (workspace / "root").symlink_to("/")
    (workspace / "loop").symlink_to("loop")
    write(workspace, {"new.py": "1\n"})
    began = time.monotonic()
    result = sample.harvest()
    assert time.monotonic() - began < 5
    lib = [] if os.geteuid() == 0 else ["src/lib.py"]
    assert sample.files(result.head) == ["loop", "new.py", "root", "src/app.py", *lib]
    assert plain_git(sample.bare, "ls-tree", result.head, "root").startswith("120000")


def test_repositories_inside_stay_behind_and_are_named(sample, marker):
    workspace = sample.workspace
    for name in ("vendor/lib", "we?ird [x] *", "a\nb"):
        write(workspace, {f"{name}/code.py": "1\n"})
        plain_git(workspace / name, "init", "-q")
        configure(workspace / name, f"[core]\n\tfsmonitor = touch {marker}\n")
        commit_all_quietly(workspace / name)
    marker.unlink(missing_ok=True)
    (workspace / "trap/.git").mkdir(parents=True)
    os.mkfifo(workspace / "trap/.git/HEAD")
    write(workspace, {"trap/file": "1\n", "sub/ok.py": "1\n", "far/.git": "gitdir: ../trap/.git\n", "far/x": "1"})
    # One that holds files of ours is no foreign repository.
    (workspace / "src/.git").mkdir()
    os.mkfifo(workspace / "src/.git/HEAD")
    write(workspace, {"src/more.py": "1\n"})
    began = time.monotonic()
    result = sample.harvest()
    assert time.monotonic() - began < 5
    assert not marker.exists()
    assert sample.files(result.head) == ["README.md", "src/app.py", "src/lib.py", "src/more.py", "sub/ok.py"]
    assert [note.split(" is a ")[0] for note in result.notes] == ["a\nb", "far", "trap", "we?ird [x] *", "vendor/lib"]


def commit_all_quietly(root: Path) -> None:
    plain_git(root, "-c", "core.fsmonitor=false", "add", "-A")
    plain_git(root, "-c", "core.fsmonitor=false", "commit", "-q", "-m", "nested")


def test_a_submodule_that_the_agent_moved_stays_at_its_commit(sample):
    workspace = sample.workspace
    plain_git(workspace, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    plain_git(workspace, "commit", "-q", "-m", "submodule")
    (workspace / "sub").mkdir()
    plain_git(workspace / "sub", "init", "-q")
    write(workspace, {"sub/file": "1\n", "left": "1\n"})
    commit_all(workspace / "sub")
    result = sample.harvest()
    assert f"160000 commit {'1' * 40}" in plain_git(sample.bare, "ls-tree", result.head, "sub")
    assert "left" in sample.files(result.head)


def test_names_that_look_like_git_are_left_out(sample):
    write(sample.workspace, {".GIT/config": "evil", "src/.Git/hooks/x": "evil", "ok": "1", ".gitx": "1", "-rf": "1"})
    (sample.workspace / os.fsdecode(b"\xff\xfe")).write_text("1")
    (sample.workspace / ":(glob)*").write_text("1")
    result = sample.harvest()
    files = set(sample.files(result.head))
    assert {"ok", ".gitx", "-rf"} <= files
    assert not [name for name in files if ".git/" in name.lower()]
    assert len(files) == 8


def test_files_and_folders_without_permissions_are_taken(sample):
    write(sample.workspace, {"locked/in/file": "1\n", "unreadable": "2\n"})
    (sample.workspace / "unreadable").chmod(0)
    (sample.workspace / "locked/in").chmod(0)
    (sample.workspace / "locked").chmod(0)
    (sample.workspace / "README.md").chmod(0)
    files = sample.files(sample.harvest().head)
    assert files == ["README.md", "locked/in/file", "src/app.py", "src/lib.py", "unreadable"]


def test_a_file_outside_is_never_touched_or_taken(sample, tmp_path):
    outside = tmp_path / "outside"
    write(outside, {"app.py": "private\n", "lib.py": "private\n"})
    (outside / "app.py").chmod(0o040)
    shutil.rmtree(sample.workspace / "src")
    (sample.workspace / "src").symlink_to(outside)
    result = sample.harvest()
    assert sample.files(result.head) == ["README.md", "src"]
    assert (outside / "app.py").stat().st_mode & 0o777 == 0o040


def test_a_hole_of_a_terabyte_is_refused_at_once(sample):
    with (sample.workspace / "hole").open("wb") as file:
        file.truncate(1 << 40)
    began = time.monotonic()
    with pytest.raises(WorkspaceError, match="an uncommitted file has"):
        sample.harvest()
    (sample.workspace / "hole").rename(sample.workspace / "README.md")
    with pytest.raises(WorkspaceError, match="an uncommitted file has"):
        sample.harvest()
    assert time.monotonic() - began < 5


def test_a_directory_deeper_than_any_path_stops_nothing(sample):
    deep = os.open(sample.workspace, os.O_RDONLY)
    for _ in range(900):
        os.mkdir("dddd", dir_fd=deep)
        below = os.open("dddd", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    write(sample.workspace, {"new.py": "1\n"})
    assert "new.py" in sample.files(sample.harvest().head)
    assert workspaces.remove(sample.workspace)


@pytest.mark.parametrize("kind", ["gone", "link", "file"])
def test_a_workspace_that_is_none_any_more_is_named(sample, tmp_path, kind):
    sample.workspace.rename(tmp_path / "moved")
    if kind == "link":
        sample.workspace.symlink_to(tmp_path / "moved")
    if kind == "file":
        sample.workspace.write_text("")
    with pytest.raises(WorkspaceError, match="workspace"):
        sample.harvest()
