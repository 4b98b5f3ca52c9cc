from __future__ import annotations

import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from grid import git, intake, loose, objects, trees
from tests.integration.grid.git_samples import ENV, Setup, commit_all, make_setup, plain_git, write


@pytest.fixture
def sample(tmp_path: Path) -> Setup:
    return make_setup(tmp_path)


def pack(sample: Setup, tip: str, *, at_most: int = 100, limit: int = 1 << 20) -> bytes | None:
    with trees.opened(sample.workspace / ".git" / "objects") as folder:
        return loose.pack(folder, tip, at_most=at_most, limit=limit)


def unpack(sample: Setup, data: bytes) -> bool:
    done = subprocess.run(
        ["git", "-C", str(sample.bare), "unpack-objects", "-q", "--strict"],
        input=data,
        env=ENV,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def loose_file(sample: Setup, name: str) -> Path:
    return sample.workspace / ".git" / "objects" / name[:2] / name[2:]


def test_what_a_run_committed_arrives_whole_and_nothing_else(sample: Setup) -> None:
    write(sample.workspace, {"given-up.txt": "nobody refers to this\n"})
    plain_git(sample.workspace, "add", "given-up.txt")
    stray = plain_git(sample.workspace, "hash-object", "given-up.txt")
    plain_git(sample.workspace, "rm", "-q", "-f", "given-up.txt")
    write(sample.workspace, {"a/b/new.txt": "1\n", "a/same.txt": "1\n", "large.bin": "x" * 100_000})
    commit_all(sample.workspace)
    write(sample.workspace, {"a/b/new.txt": "2\n"})
    tip = commit_all(sample.workspace)
    data = pack(sample, tip)
    assert data is not None
    assert unpack(sample, data)
    assert plain_git(sample.bare, "rev-list", "--count", f"{sample.base}..{tip}") == "2"
    plain_git(sample.bare, "update-ref", "refs/tests/tip", tip)
    assert plain_git(sample.bare, "fsck", "--full", "--strict") == ""
    assert stray not in plain_git(sample.bare, "cat-file", "--batch-all-objects", "--batch-check")


def test_the_usual_run_costs_one_git_process(sample: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    real = git.execute

    def counted(*commands: git.Command, **options):
        started.extend(command.args[0] for command in commands)
        return real(*commands, **options)

    monkeypatch.setattr(git, "execute", counted)
    write(sample.workspace, {"new.txt": "1\n"})
    commit_all(sample.workspace)
    assert sample.harvest().changed
    assert started == ["unpack-objects"]


def test_more_than_a_little_is_left_to_git(sample: Setup) -> None:
    write(sample.workspace, {f"{number}.txt": f"{number}\n" for number in range(20)})
    tip = commit_all(sample.workspace)
    assert pack(sample, tip, at_most=22) is not None
    assert pack(sample, tip, at_most=21) is None
    size = sum(
        int(plain_git(sample.workspace, "cat-file", "-s", name))
        for name in plain_git(
            sample.workspace, "rev-list", "--objects", "--no-object-names", tip, f"^{sample.base}"
        ).split()
    )
    assert pack(sample, tip, limit=size) is not None
    assert pack(sample, tip, limit=size - 1) is None


def test_a_tree_that_names_very_much_is_left_to_git(sample: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    write(sample.workspace, {"new.txt": "1\n"})
    tip = commit_all(sample.workspace)
    monkeypatch.setattr(loose, "_NAMED_MAX", 3)
    assert pack(sample, tip) is None


@pytest.mark.parametrize("what", ["missing", "torn", "other", "longer", "bomb", "link", "fifo", "empty"])
def test_an_object_that_is_not_what_its_name_says_is_not_taken(sample: Setup, what: str) -> None:
    write(sample.workspace, {"new.txt": "1\n"})
    tip = commit_all(sample.workspace)
    file = loose_file(sample, tip)
    whole = file.read_bytes()
    file.unlink()
    match what:
        case "torn":
            file.write_bytes(whole[:-8])
        case "other":
            file.write_bytes(zlib.compress(b"blob 2\0x\n"))
        case "longer":
            file.write_bytes(zlib.compress(zlib.decompress(whole) + b"more"))
        case "bomb":
            file.write_bytes(zlib.compress(b"blob 900000000\0" + b"\0" * 50_000_000))
        case "link":
            (sample.workspace / "elsewhere").write_bytes(whole)
            file.symlink_to(sample.workspace / "elsewhere")
        case "fifo":
            os.mkfifo(file)
        case "empty":
            file.touch()
    assert pack(sample, tip) is None


def test_objects_reached_by_way_of_a_link_are_not_read(sample: Setup) -> None:
    write(sample.workspace, {"new.txt": "1\n"})
    tip = commit_all(sample.workspace)
    folder = loose_file(sample, tip).parent
    folder.rename(sample.workspace / "moved")
    folder.symlink_to(sample.workspace / "moved")
    assert pack(sample, tip) is None


@pytest.mark.parametrize("place", [".git", ".git/objects"])
def test_a_repository_that_is_a_link_is_not_entered(sample: Setup, tmp_path: Path, place: str) -> None:
    write(sample.workspace, {"new.txt": "1\n"})
    tip = commit_all(sample.workspace)
    (sample.workspace / place).rename(tmp_path / "moved")
    (sample.workspace / place).symlink_to(tmp_path / "moved")
    job = intake.Job(
        store=sample.bare, workspace=sample.workspace, base=sample.base, scratch=tmp_path, max_file_bytes=1 << 20,
        max_total_bytes=1 << 20, notes=[], is_settled=False,
    )  # fmt: skip
    assert not intake._import_few(job, tip)


@pytest.mark.parametrize("seed", range(6))
def test_an_index_moved_in_process_is_the_one_that_git_would_make(sample: Setup, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = ["README.md", "src/app.py", "src/lib.py", "a", "a/b", "a/b/c", "z.txt", "src", "d/é ü.txt"]
    base = sample.base
    for _ in range(4):
        for name in chance.sample(names, 3):
            path = sample.source / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists() and chance.random() < 0.5:
                path.unlink()
            else:
                for parent in path.relative_to(sample.source).parents:
                    if (sample.source / parent).is_file():
                        (sample.source / parent).unlink()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(chance.random()))
                path.chmod(chance.choice([0o644, 0o755]))
        write(sample.source, {"always.txt": str(chance.random())})
        tip = commit_all(sample.source)
        here, theirs = tmp_path / "here", tmp_path / "theirs"
        for index in (here, theirs):
            index.unlink(missing_ok=True)
            in_index(sample, index, "read-tree", base)
        objects.update_index(here, objects.changed_files(sample.source, base=base, tip=tip))
        in_index(sample, theirs, "read-tree", "-m", "-i", tip)
        assert in_index(sample, here, "ls-files", "--stage") == in_index(sample, theirs, "ls-files", "--stage")
        base = tip


def in_index(sample: Setup, index: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", *args], cwd=sample.source, env={**ENV, "GIT_INDEX_FILE": str(index)}, capture_output=True, check=True
    )
    return done.stdout.decode()


def test_an_index_that_cannot_take_a_path_stays_as_it_was(sample: Setup, tmp_path: Path) -> None:
    index = tmp_path / "index"
    in_index(sample, index, "read-tree", sample.base)
    before = index.read_bytes()
    write(sample.source, {"new.txt": "1\n"})
    tip = commit_all(sample.source)
    (new,) = objects.changed_files(sample.source, base=sample.base, tip=tip)
    hostile = objects.Changed(status="A", path=".git/config", now=new.now)
    with pytest.raises(objects.UnusualError):
        objects.update_index(index, [new, hostile])
    assert index.read_bytes() == before
