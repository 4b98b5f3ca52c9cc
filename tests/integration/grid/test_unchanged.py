"""A work tree as it was committed is told without git, and whatever differs is found as git finds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from grid import git, unchanged
from tests.integration.grid.git_samples import Setup, commit_all, make_setup, plain_git, write

LARGE = "x" * (1 << 20) + "\n"


@pytest.fixture
def sample(tmp_path: Path) -> Setup:
    return make_setup(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Git's commands, as they are started."""
    started: list[str] = []
    real = git.execute

    def counted(*commands: git.Command, **options):
        started.extend(command.args[0] for command in commands)
        return real(*commands, **options)

    monkeypatch.setattr(git, "execute", counted)
    return started


def looked(asked: list[str]) -> bool:
    return "ls-files" in asked


def times_as_before(path: Path, change: Callable[[], object]) -> None:
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def commit(root: Path) -> None:
    commit_all(root)


def nothing(root: Path) -> None:
    pass


def a_report(root: Path) -> None:
    write(root, {".agentgrid/outcome.json": "{}"})


def new_files(root: Path) -> None:
    write(root, {"new.txt": "1\n", "deep/er/new.txt": "", "src/lib.py": "x = 2\n"})
    commit(root)


def a_new_program(root: Path) -> None:
    write(root, {"run": "#!/bin/sh\n"})
    (root / "run").chmod(0o755)
    commit(root)


def deleted(root: Path) -> None:
    (root / "src/lib.py").unlink()
    commit(root)


def changed_twice(root: Path) -> None:
    for text in ("x = 2\n", "x = 1\n"):
        write(root, {"src/lib.py": text})
        commit(root)


def an_empty_folder(root: Path) -> None:
    (root / "empty").mkdir()


PLAIN = (nothing, a_report, new_files, a_new_program, deleted, an_empty_folder)


@pytest.mark.parametrize("act", PLAIN)
def test_a_tree_as_it_was_committed_needs_no_look(sample, asked, act):
    act(sample.workspace)
    result = sample.harvest()
    assert not looked(asked)
    assert not result.auto_committed
    assert result.changed == (act in (new_files, a_new_program, deleted))


def touched(root: Path) -> None:
    (root / "README.md").touch()


def of_the_same_size_and_time(root: Path) -> None:
    times_as_before(root / "src/lib.py", lambda: write(root, {"src/lib.py": "x = 9\n"}))


def swapped(root: Path) -> None:
    write(root, {"other": "x = 9\n"})
    times_as_before(root / "src/lib.py", lambda: (root / "other").rename(root / "src/lib.py"))


def changed_after_its_commit(root: Path) -> None:
    new_files(root)
    write(root, {"new.txt": "2\n"})


def made_a_program_after_its_commit(root: Path) -> None:
    new_files(root)
    (root / "new.txt").chmod(0o755)


def gone_after_its_commit(root: Path) -> None:
    new_files(root)
    (root / "new.txt").unlink()


def back_after_its_deletion(root: Path) -> None:
    deleted(root)
    write(root, {"src/lib.py": "x = 1\n"})


def a_folder_in_its_place(root: Path) -> None:
    (root / "README.md").unlink()
    write(root, {"README.md/inside": "1\n"})


def a_link_in_its_place(root: Path) -> None:
    new_files(root)
    (root / "new.txt").unlink()
    (root / "new.txt").symlink_to("README.md")


def a_link(root: Path) -> None:
    (root / "link").symlink_to("README.md")
    commit(root)


def gone(root: Path) -> None:
    (root / "src/app.py").unlink()


def left_over(root: Path) -> None:
    write(root, {"left/over.txt": "1\n"})


def ignored(root: Path) -> None:
    write(root, {".gitignore": "*.log\n"})
    commit(root)
    write(root, {"noise.log": "1\n"})


def attributes(root: Path) -> None:
    write(root, {".gitattributes": "* text=auto\n", "new.txt": "1\n"})
    commit(root)


def attributes_that_change_what_is_stored(root: Path) -> None:
    write(root, {".gitattributes": "* text=auto\n", "crlf.txt": "1\r\n"})
    commit(root)


def a_repository_inside(root: Path) -> None:
    plain_git(root, "init", "-q", "inner")


def files_in_a_repository_inside(root: Path) -> None:
    a_repository_inside(root)
    write(root, {"inner/file": "1\n"})


def a_report_in_a_commit(root: Path) -> None:
    write(root, {".agentgrid/outcome.json": "{}", "new.txt": "1\n"})
    plain_git(root, "add", "-f", ".agentgrid/outcome.json", "new.txt")
    plain_git(root, "commit", "-q", "-m", "all of it")


def a_large_file(root: Path) -> None:
    write(root, {"large": LARGE})
    commit(root)


def very_many_files(root: Path) -> None:
    write(root, {f"many/{number}": f"{number}\n" for number in range(unchanged._FEW + 1)})
    commit(root)


OTHERS = (
    *(touched, of_the_same_size_and_time, swapped, changed_twice, changed_after_its_commit, gone_after_its_commit),
    *(made_a_program_after_its_commit, back_after_its_deletion, a_folder_in_its_place, a_link_in_its_place, a_link),
    *(
        gone,
        left_over,
        ignored,
        attributes,
        attributes_that_change_what_is_stored,
        a_repository_inside,
        files_in_a_repository_inside,
        a_report_in_a_commit,
        a_large_file,
        very_many_files,
    ),
)


@pytest.mark.parametrize("act", [*OTHERS, *PLAIN])
def test_what_is_not_plain_is_looked_at_and_the_outcome_is_gits(sample, asked, monkeypatch, act):
    act(sample.workspace)
    result = sample.harvest()
    assert looked(asked) == (act in OTHERS)
    files = plain_git(sample.bare, "ls-tree", "-r", result.head)
    monkeypatch.setattr(unchanged, "is_as_committed", lambda *_: False)
    again = sample.harvest()
    assert plain_git(sample.bare, "ls-tree", "-r", again.head) == files
    assert (again.changed, again.auto_committed, again.commits) == (
        result.changed,
        result.auto_committed,
        result.commits,
    )


def test_where_the_clock_is_too_coarse_to_tell_git_looks(sample, asked):
    files = [path for path in sample.workspace.rglob("*") if path.is_file() and ".git" not in path.parts]
    newest = max(path.stat().st_ctime_ns for path in files)
    index = sample.workspace.with_name(f"{sample.workspace.name}.index")
    os.utime(index, ns=(newest, newest))
    assert not sample.harvest().changed
    assert looked(asked)


def test_a_clock_that_was_set_back_hides_no_change(sample, asked):
    index = sample.workspace.with_name(f"{sample.workspace.name}.index")
    later = index.stat().st_mtime_ns + 3600 * 10**9
    os.utime(index, ns=(later, later))
    of_the_same_size_and_time(sample.workspace)
    sample.harvest()
    assert looked(asked)


def test_an_index_that_is_not_plain_is_left_to_git(sample, asked):
    index = sample.workspace.with_name(f"{sample.workspace.name}.index")
    data = index.read_bytes()
    for changed in (b"", data[:8], data[:7] + b"\x04" + data[8:], b"DIRX" + data[4:]):
        index.write_bytes(changed)
        assert unchanged._entries(index) is None
    index.unlink()
    assert unchanged._entries(index) is None
    write(sample.workspace, {"left.txt": "1\n"})
    assert sample.harvest().changed
    assert looked(asked)
