"""An agent may do anything to its directory: nothing of it runs, nothing hangs, and its files are taken all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from grid import store, workspaces
from tests.integration.grid.git_samples import BRANCH, commit_all, configure, make_setup, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


@pytest.fixture
def marker(tmp_path):
    """A file that any command of the agent would create."""
    return tmp_path / "marker"


def _hooks(workspace, marker):
    hooks = workspace / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    names = ("pre-commit", "post-commit", "post-checkout", "post-index-change", "reference-transaction", "pre-push")
    for name in (*names, "post-update", "pre-receive", "fsmonitor-watchman", "pre-auto-gc", "push-to-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)


def _fsmonitor(workspace: Path, marker: Path) -> None:
    configure(workspace, f"[core]\n\tfsmonitor = touch {marker}; true\n\thooksPath = {workspace}/.git/hooks\n")


def _filters(workspace, marker):
    write(workspace, {".gitattributes": "* filter=evil diff=evil merge=evil\n"})
    run = f"touch {marker}; cat"
    configure(workspace, f'[filter "evil"]\n\tclean = {run}\n\tsmudge = {run}\n\tprocess = {run}\n\trequired = true\n')
    configure(workspace, f'[diff "evil"]\n\ttextconv = {run}\n\tcommand = {run}\n[merge "evil"]\n\tdriver = {run}\n')


def _pack_hook(workspace, marker):
    configure(workspace, f'[uploadpack]\n\tpackObjectsHook = "touch {marker}; exec"\n')
    configure(workspace, f'[core]\n\talternateRefsCommand = "touch {marker}; true"\n\tsshCommand = touch {marker}\n')


def _include(workspace, marker):
    (workspace / "more").write_text(f"[core]\n\tfsmonitor = touch {marker}\n[alias]\n\trev-list = !touch {marker}\n")
    configure(
        workspace,
        f"[include]\n\tpath = {workspace}/more\n[core]\n\tpager = touch {marker}\n\teditor = touch {marker}\n",
    )


def _instead_of(workspace, marker):
    configure(workspace, f'[url "ext::sh -c touch% {marker}"]\n\tinsteadOf = /\n[protocol "ext"]\n\tallow = always\n')


def _promisor(workspace, marker):
    configure(workspace, "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = evil\n")
    configure(workspace, f'[remote "evil"]\n\turl = /\n\tpromisor = true\n\tuploadpack = touch {marker}; false\n')


def _modules(workspace, marker):
    text = f'[submodule "a"]\n\tpath = a\n\turl = ext::sh -c touch% {marker}\n\tupdate = !touch {marker}\n'
    write(workspace, {".gitmodules": text})
    configure(
        workspace, f'[submodule "a"]\n\tupdate = !touch {marker}\n\tactive = true\n[submodule]\n\trecurse = true\n'
    )


def _work_tree(workspace, marker):
    configure(workspace, "[core]\n\tworktree = /\n\tbare = true\n")


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


def test_the_guards_are_needed(sample, marker):
    """Plain git in such a directory does run the agent's command: the attacks above are real ones."""
    _fsmonitor(sample.workspace, marker)
    subprocess.run(["git", "status"], cwd=sample.workspace, capture_output=True, check=False, timeout=20)
    assert marker.exists()
