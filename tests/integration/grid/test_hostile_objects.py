"""An agent may write any objects into its repository: none that would harm others comes over."""

from __future__ import annotations

import zlib
from hashlib import sha1
from pathlib import Path

import pytest

from grid import store
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import commit_all, make_setup, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


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


def test_an_evil_tree_never_enters_the_store(sample):
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
    # To unfold all 10,000 million would take hours: that it ends before the test's own limit says that it stops counting.
    with pytest.raises(WorkspaceError, match="more than the accepted 1000000 files"):
        sample.harvest()


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
