"""An agent may do anything to its directory: nothing of it runs, nothing hangs, and its files are taken all the same."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import zlib
from hashlib import sha1
from pathlib import Path

import pytest

from grid import store, workspaces
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import BRANCH, commit_all, make_setup, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


@pytest.fixture
def marker(tmp_path):
    """A file that any command of the agent would create."""
    return tmp_path / "marker"


def _configure(workspace: Path, text: str) -> None:
    with (workspace / ".git/config").open("a") as config:
        config.write(text)


def _hooks(workspace, marker):
    hooks = workspace / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    names = ("pre-commit", "post-commit", "post-checkout", "post-index-change", "reference-transaction", "pre-push")
    for name in (*names, "post-update", "pre-receive", "fsmonitor-watchman", "pre-auto-gc", "push-to-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)


def _fsmonitor(workspace, marker):
    _configure(workspace, f"[core]\n\tfsmonitor = touch {marker}; true\n\thooksPath = {workspace}/.git/hooks\n")


def _filters(workspace, marker):
    write(workspace, {".gitattributes": "* filter=evil diff=evil merge=evil\n"})
    run = f"touch {marker}; cat"
    _configure(workspace, f'[filter "evil"]\n\tclean = {run}\n\tsmudge = {run}\n\tprocess = {run}\n\trequired = true\n')
    _configure(workspace, f'[diff "evil"]\n\ttextconv = {run}\n\tcommand = {run}\n[merge "evil"]\n\tdriver = {run}\n')


def _pack_hook(workspace, marker):
    _configure(workspace, f'[uploadpack]\n\tpackObjectsHook = "touch {marker}; exec"\n')
    _configure(workspace, f'[core]\n\talternateRefsCommand = "touch {marker}; true"\n\tsshCommand = touch {marker}\n')


def _include(workspace, marker):
    (workspace / "more").write_text(f"[core]\n\tfsmonitor = touch {marker}\n[alias]\n\trev-list = !touch {marker}\n")
    _configure(
        workspace,
        f"[include]\n\tpath = {workspace}/more\n[core]\n\tpager = touch {marker}\n\teditor = touch {marker}\n",
    )


def _instead_of(workspace, marker):
    _configure(workspace, f'[url "ext::sh -c touch% {marker}"]\n\tinsteadOf = /\n[protocol "ext"]\n\tallow = always\n')


def _promisor(workspace, marker):
    _configure(workspace, "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = evil\n")
    _configure(workspace, f'[remote "evil"]\n\turl = /\n\tpromisor = true\n\tuploadpack = touch {marker}; false\n')


def _modules(workspace, marker):
    text = f'[submodule "a"]\n\tpath = a\n\turl = ext::sh -c touch% {marker}\n\tupdate = !touch {marker}\n'
    write(workspace, {".gitmodules": text})
    _configure(
        workspace, f'[submodule "a"]\n\tupdate = !touch {marker}\n\tactive = true\n[submodule]\n\trecurse = true\n'
    )


def _work_tree(workspace, marker):
    _configure(workspace, "[core]\n\tworktree = /\n\tbare = true\n")


def _broken_config(workspace, marker):
    (workspace / ".git/config").write_bytes(b"[core\0\xff\n" * 1000)


def _stale_locks(workspace, marker):
    for name in ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", f"refs/heads/{BRANCH}.lock"):
        (workspace / ".git" / name).touch()


def _own_index(workspace, marker):
    (workspace / ".git/index").write_bytes(b"DIRC" + b"\xff" * 5000)


def _grafts(workspace, marker):
    write(workspace / ".git", {"info/grafts": "1" * 40 + "\n", "shallow": "2" * 40 + "\n"})
    write(
        workspace / ".git",
        {"refs/replace/" + "3" * 40: "4" * 40 + "\n", "commondir": "/\n", "info/attributes": "* -text\n"},
    )


CONFIGURED = [_hooks, _fsmonitor, _filters, _pack_hook, _include, _instead_of, _promisor, _modules, _work_tree]
BROKEN = [_broken_config, _stale_locks, _own_index, _grafts]


@pytest.mark.parametrize("attack", CONFIGURED + BROKEN)
def test_nothing_that_an_agent_configured_is_run(sample, marker, attack):
    write(sample.workspace, {"new.py": "1\n"})
    head = commit_all(sample.workspace)
    attack(sample.workspace, marker)
    write(sample.workspace, {"left.py": "1\n"})
    result = sample.harvest()
    store.diff(sample.bare, sample.base, result.head)
    tried = sample.workspace.parent / "verify"
    workspaces.checkout(store=sample.bare, path=tried, commit=result.head)
    assert not marker.exists()
    assert plain_git(sample.bare, "rev-parse", f"{result.head}^") == head
    assert {"new.py", "left.py"} <= set(sample.files(result.head))
    assert (tried / "left.py").read_text() == "1\n"


def _git_deleted(git):
    shutil.rmtree(git)


def _git_is_a_file(git):
    shutil.rmtree(git)
    git.write_text("gitdir: /\n")


def _git_is_a_link(git):
    git.rename(git.parent.parent / "elsewhere")
    git.symlink_to("../elsewhere")


def _git_is_a_fifo(git):
    shutil.rmtree(git)
    os.mkfifo(git)


def _head_is_a_fifo(git):
    (git / "HEAD").unlink()
    os.mkfifo(git / "HEAD")


def _head_is_garbage(git):
    (git / "HEAD").write_bytes(b"ref: ../../../../etc/passwd\n")


def _head_is_endless(git):
    (git / "HEAD").unlink()
    (git / "HEAD").symlink_to("/dev/zero")


def _head_is_a_loop(git):
    (git / "HEAD").write_text("ref: refs/heads/a\n")
    (git / "refs/heads/a").write_text("ref: refs/heads/a\n")


def _head_names_nothing(git):
    (git / "HEAD").write_text("1" * 40 + "\n")


def _refs_are_garbage(git):
    shutil.rmtree(git / "refs/heads")
    (git / "refs/heads").symlink_to("/proc/self")
    (git / "packed-refs").write_bytes(os.urandom(100_000))


def _refs_are_huge(git):
    shutil.rmtree(git / "refs/heads")
    with (git / "packed-refs").open("wb") as file:
        file.truncate(1 << 40)


def _objects_are_fifos(git):
    for path in (git / "objects").glob("??/*"):
        path.unlink()
        os.mkfifo(path)


def _objects_are_a_link(git):
    shutil.rmtree(git / "objects")
    (git / "objects").symlink_to("/dev")


def _objects_lie(git):
    for path in (git / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(zlib.compress(b"blob 5\0wrong"))


def _a_blob_lies(git):
    name = plain_git(git.parent, "rev-parse", "HEAD:new.py")
    path = git / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob 2\0" + b"2\n"))


def _a_tree_lies(git):
    name = plain_git(git.parent, "rev-parse", "HEAD^{tree}")
    path = git / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    body = b"100644 x\0" + bytes(20)
    path.write_bytes(zlib.compress(b"tree %d\0" % len(body) + body))


def _objects_are_torn(git):
    for path in (git / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:10])


def _packs_are_garbage(git):
    plain_git(git.parent, "gc", "-q")
    for path in (git / "objects/pack").iterdir():
        path.chmod(0o644)
        path.write_bytes(os.urandom(2000))


BROKEN_GIT = [
    _git_deleted,
    _git_is_a_file,
    _git_is_a_link,
    _git_is_a_fifo,
    _head_is_a_fifo,
    _head_is_garbage,
    _head_is_endless,
]
BROKEN_GIT += [
    _head_is_a_loop,
    _head_names_nothing,
    _refs_are_garbage,
    _refs_are_huge,
    _objects_are_fifos,
    _objects_are_a_link,
]
BROKEN_GIT += [_objects_lie, _a_blob_lies, _a_tree_lies, _objects_are_torn, _packs_are_garbage]


@pytest.mark.parametrize("attack", BROKEN_GIT)
def test_a_ruined_git_directory_loses_no_file(sample, attack):
    write(sample.workspace, {"new.py": "1\n"})
    commit_all(sample.workspace)
    write(sample.workspace, {"left.py": "1\n"})
    attack(sample.workspace / ".git")
    began = time.monotonic()
    result = sample.harvest()
    assert time.monotonic() - began < 5
    assert {"new.py", "left.py", "README.md"} <= set(sample.files(result.head))
    plain_git(sample.bare, "merge-base", "--is-ancestor", sample.base, result.head)
    plain_git(sample.bare, "fsck", "--no-dangling")


def test_alternates_to_foreign_objects_bring_nothing_over(sample, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    plain_git(other, "init", "-q", "-b", "main")
    write(other, {"private.txt": "secret of somebody else\n"})
    secret = commit_all(other)
    (sample.workspace / ".git/objects/info/alternates").write_text(f"{other}/.git/objects\n")
    (sample.workspace / ".git/HEAD").write_text(f"{secret}\n")
    result = sample.harvest()
    assert (result.head, result.changed) == (sample.base, False)
    assert not store.has_commit(sample.bare, secret)


def test_an_evil_tree_never_enters_the_store(sample, marker):
    """A tree with `.git/hooks/…` or a link named `.gitmodules` would attack whoever checks it out."""
    workspace = sample.workspace
    blob = plain_git(workspace, "hash-object", "-w", "README.md")
    raw = b"100755 post-checkout\0" + bytes.fromhex(blob)
    inner = _plant(workspace, b"tree", raw)
    outer = _plant(workspace, b"tree", b"40000 .git\0" + bytes.fromhex(inner))
    commit = plain_git(workspace, "commit-tree", outer, "-p", sample.base, "-m", "evil")
    (workspace / ".git/HEAD").write_text(f"{commit}\n")
    result = sample.harvest()
    assert not store.has_commit(sample.bare, commit)
    assert result.head == sample.base
    assert "could not be read" in result.notes[0]


def _plant(workspace: Path, kind: bytes, body: bytes) -> str:
    data = kind + b" " + str(len(body)).encode() + b"\0" + body
    name = sha1(data, usedforsecurity=False).hexdigest()
    folder = workspace / ".git/objects" / name[:2]
    folder.mkdir(exist_ok=True)
    (folder / name[2:]).write_bytes(zlib.compress(data))
    return name


def test_a_tree_that_unfolds_into_millions_of_files_is_refused(sample):
    workspace = sample.workspace
    blob = plain_git(workspace, "hash-object", "-w", "README.md")
    tree = _plant(workspace, b"tree", b"".join(b"100644 f%d\0" % i + bytes.fromhex(blob) for i in range(10)))
    for _ in range(9):
        tree = _plant(workspace, b"tree", b"".join(b"40000 d%d\0" % i + bytes.fromhex(tree) for i in range(10)))
    commit = plain_git(workspace, "commit-tree", tree, "-p", sample.base, "-m", "bomb")
    (workspace / ".git/HEAD").write_text(f"{commit}\n")
    began = time.monotonic()
    with pytest.raises(WorkspaceError, match="printed more"):
        sample.harvest()
    assert time.monotonic() - began < 20


def test_a_small_object_that_unfolds_into_gigabytes_is_refused(sample):
    workspace = sample.workspace
    packer = zlib.compressobj()
    size = 300 << 20
    data = packer.compress(b"blob %d\0" % size)
    for _ in range(300):
        data += packer.compress(bytes(1 << 20))
    data += packer.flush()
    name = "ab" + "c" * 38
    (workspace / ".git/objects/ab").mkdir()
    (workspace / ".git/objects/ab" / name[2:]).write_bytes(data)
    tree = _plant(workspace, b"tree", b"100644 big\0" + bytes.fromhex(name))
    commit = plain_git(workspace, "commit-tree", tree, "-p", sample.base, "-m", "bomb")
    (workspace / ".git/HEAD").write_text(f"{commit}\n")
    with pytest.raises(WorkspaceError, match=f"{size} bytes, more than the accepted"):
        sample.harvest()


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
        _configure(workspace / name, f"[core]\n\tfsmonitor = touch {marker}\n")
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


def test_the_guards_are_needed(sample, marker):
    """Plain git in such a directory does run the agent's command: the attacks above are real ones."""
    _fsmonitor(sample.workspace, marker)
    subprocess.run(["git", "status"], cwd=sample.workspace, capture_output=True, check=False, timeout=20)
    assert marker.exists()
