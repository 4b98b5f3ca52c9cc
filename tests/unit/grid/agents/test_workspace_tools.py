from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grid.agents.builtin.workspace import MAX_ENTRIES, MAX_READ_BYTES, RefusedError, Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    opened = Workspace(root)
    yield opened
    opened.close()


def test_files_are_listed_without_git(workspace: Workspace, root: Path) -> None:
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/c.py").touch()
    (root / "z").touch()
    (root / "link").symlink_to("/etc")

    assert workspace.paths(".") == ["a/b/c.py", "link -> /etc", "z"]
    assert workspace.paths("a") == ["b/c.py"]


def test_a_huge_tree_is_listed_in_part(workspace: Workspace, root: Path) -> None:
    for number in range(MAX_ENTRIES + 100):
        (root / f"{number:04}").touch()

    listed = workspace.paths("")
    assert len(listed) == MAX_ENTRIES + 1
    assert "more" in listed[-1]


def test_a_file_is_read_in_pieces(workspace: Workspace, root: Path) -> None:
    (root / "f").write_text("".join(f"line {n}\n" for n in range(1, 100_001)))

    assert workspace.read("f", first_line=3, lines=2) == "line 3\nline 4\n\n[more follows; read on with first_line=5]"
    assert workspace.read("f", first_line=99_999, lines=10) == "line 99999\nline 100000\n"
    assert len(workspace.read("f", first_line=1, lines=10**9)) < MAX_READ_BYTES + 200
    assert workspace.read("f", first_line=10**9, lines=1) == ""


def test_odd_bytes_are_readable_and_binaries_refused(workspace: Workspace, root: Path) -> None:
    (root / "latin").write_bytes(b"caf\xe9\n")
    (root / "binary").write_bytes(b"\x7fELF\0\0")

    assert workspace.read("latin", first_line=1, lines=9) == "caf\ufffd\n"
    with pytest.raises(RefusedError, match="is binary"):
        workspace.read("binary", first_line=1, lines=9)


def test_writing_replaces_the_whole_file_and_keeps_its_mode(workspace: Workspace, root: Path) -> None:
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o755)

    workspace.write("run.sh", "new\r\n")
    workspace.write("new/deep/file", "ü")

    assert (root / "run.sh").read_bytes() == b"new\r\n"
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "new/deep/file").read_text() == "ü"
    assert sorted(path.name for path in root.rglob("*")) == ["deep", "file", "new", "run.sh"]


def test_too_much_is_refused_and_leaves_nothing(workspace: Workspace, root: Path) -> None:
    with pytest.raises(RefusedError, match="too many for one file"):
        workspace.write("big", "x" * (2 << 20))
    with pytest.raises(RefusedError, match="half of a surrogate pair"):
        workspace.write("half", "\ud800")
    assert list(root.iterdir()) == []


def test_an_edit_needs_exactly_one_place(workspace: Workspace, root: Path) -> None:
    (root / "f").write_bytes(b"one two\xff two\r\n")

    workspace.edit("f", "one", "1")
    assert (root / "f").read_bytes() == b"1 two\xff two\r\n"
    for old, complaint in (
        ("two", "occurs 2 times"),
        ("three", "occurs 0 times in f; its lines end in CRLF"),
        ("", "empty"),
    ):
        with pytest.raises(RefusedError, match=complaint):
            workspace.edit("f", old, "x")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "link/x",
        "deep/link/x",
        ".git/config",
        "a/.Git/x",
        "x\0",
        "",
        ".",
        "a/",
        "x/" * 3_000,
    ],
)
def test_no_path_leads_out(workspace: Workspace, root: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("secret")
    (root / "deep").mkdir()
    for link in ("link", "deep/link"):
        (root / link).symlink_to(outside)

    with pytest.raises(RefusedError):
        workspace.read(path, first_line=1, lines=1)
    with pytest.raises(RefusedError):
        workspace.write(path, "owned")
    with pytest.raises(RefusedError):
        workspace.edit(path, "secret", "owned")
    assert (outside / "x").read_text() == "secret"
    assert [p.name for p in outside.iterdir()] == ["x"]


@pytest.mark.timeout(10)
def test_special_files_are_refused_without_waiting(workspace: Workspace, root: Path) -> None:
    os.mkfifo(root / "fifo")

    with pytest.raises(RefusedError, match="not a regular file"):
        workspace.read("fifo", first_line=1, lines=1)
    with pytest.raises(RefusedError, match="not a regular file"):
        workspace.write("fifo", "x")
    assert workspace.paths("") == ["fifo"]


def test_a_folder_swapped_for_a_link_meanwhile_leads_nowhere(workspace: Workspace, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            shutil.rmtree(root / "real", ignore_errors=True)
            for source, target in (("link", "real"), ("real", "link")):
                with contextlib.suppress(OSError):  # the tool makes the folder again meanwhile
                    os.rename(root / source, root / target)

    swapper = threading.Thread(target=swap)
    swapper.start()
    written = refused = 0
    deadline = time.monotonic() + 10
    try:
        while min(written, refused) < 50 and time.monotonic() < deadline:
            try:
                workspace.write("real/file", "x")
                written += 1
            except RefusedError:
                refused += 1
    finally:
        over.set()
        swapper.join()
    assert list(outside.iterdir()) == []
    assert min(written, refused) >= 50


def test_descriptors_are_given_back(workspace: Workspace, root: Path) -> None:
    (root / "a").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        workspace.write("a/b/c", "x")
        workspace.read("a/b/c", first_line=1, lines=1)
        workspace.paths("")
        for path in ("a/b/c/d", "gone", "a/b"):
            with pytest.raises(RefusedError):
                workspace.read(path, first_line=1, lines=1)
    assert len(os.listdir("/proc/self/fd")) == before
