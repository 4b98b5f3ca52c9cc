from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grid import local_push, store
from grid.objects import UnusualError
from grid.public_errors import WorkspaceError
from tests.integration.grid.git_samples import Setup, commit_all, make_setup, plain_git, write

BRANCH = "agent/7-sample"
REF = f"refs/heads/{BRANCH}"


@pytest.fixture
def sample(tmp_path: Path) -> Setup:
    return make_setup(tmp_path)


def commit(sample: Setup, files: dict[str, str], parent: str = "") -> str:
    """A commit in the store that the source does not have."""
    clone = sample.workspace.parent / f"clone-{os.urandom(4).hex()}"
    plain_git(sample.workspace.parent, "clone", "-q", "--shared", "--no-checkout", str(sample.bare), str(clone))
    plain_git(clone, "checkout", "-q", "--detach", parent or sample.base)
    write(clone, files)
    made = commit_all(clone)
    plain_git(clone, "push", "-q", "origin", f"{made}:refs/tests/{made}")
    return made


def push(sample: Setup, made: str, *, expected_old: str | None = None) -> bool:
    return local_push.push(sample.bare, sample.source, ref=REF, commit=made, expected_old=expected_old)


def test_a_branch_arrives_whole_and_nothing_else_changes(sample: Setup) -> None:
    first = commit(sample, {"a/b/new.txt": "1\n"})
    second = commit(sample, {"README.md": "changed\n"}, parent=first)
    assert push(sample, second)
    assert push(sample, second), "repeating it is harmless"
    assert plain_git(sample.source, "rev-parse", BRANCH) == second
    assert plain_git(sample.source, "fsck", "--full", "--strict") == ""
    assert plain_git(sample.source, "status", "--porcelain") == ""
    assert plain_git(sample.source, "rev-parse", "main") == sample.base


def test_a_branch_moves_forward_only(sample: Setup) -> None:
    first = commit(sample, {"new.txt": "1\n"})
    other = commit(sample, {"new.txt": "2\n"})
    assert push(sample, first)
    assert not push(sample, other)
    assert not push(sample, sample.base)
    assert plain_git(sample.source, "rev-parse", BRANCH) == first
    assert push(sample, other, expected_old=first)
    assert not push(sample, first, expected_old=first)
    assert plain_git(sample.source, "rev-parse", BRANCH) == other


def test_history_that_the_source_lost_is_copied_again(sample: Setup) -> None:
    """What the source's refs do not reach may be gone, whatever we once fetched from it."""
    write(sample.source, {"more.txt": "1\n"})
    lost = commit_all(sample.source)
    store.fetch(sample.bare, str(sample.source))
    plain_git(sample.source, "reset", "-q", "--hard", sample.base)
    plain_git(sample.source, "reflog", "expire", "--expire=now", "--all")
    plain_git(sample.source, "gc", "-q", "--prune=now")
    made = commit(sample, {"new.txt": "1\n"}, parent=lost)
    assert push(sample, made)
    assert plain_git(sample.source, "fsck", "--full") == ""
    assert plain_git(sample.source, "show", f"{BRANCH}:more.txt") == "1"


def test_much_at_once_is_copied_by_git(sample: Setup) -> None:
    made = commit(sample, {f"many/{number}.txt": f"{number}\n" for number in range(local_push._FEW_OBJECTS + 1)})
    assert push(sample, made)
    assert plain_git(sample.source, "fsck", "--full", "--strict") == ""
    assert plain_git(sample.source, "rev-parse", BRANCH) == made


def test_what_a_later_commit_brings_back_is_copied_as_well(sample: Setup) -> None:
    first = commit(sample, {"one/a.txt": "same\n"})
    second = commit(sample, {"one/a.txt": "other\n"}, parent=first)
    third = commit(sample, {"one/a.txt": "same\n", "two/a.txt": "same\n"}, parent=second)
    assert push(sample, third)
    assert plain_git(sample.source, "fsck", "--full", "--strict") == ""
    assert plain_git(sample.source, "show", f"{BRANCH}:two/a.txt") == "same"


def test_a_source_that_has_moved_on_still_tells_what_it_has(sample: Setup) -> None:
    first = commit(sample, {"new.txt": "1\n"})
    assert push(sample, first)
    write(sample.source, {"ahead.txt": "not fetched\n"})
    commit_all(sample.source)
    second = commit(sample, {"new.txt": "2\n"}, parent=first)
    assert local_push.push(sample.bare, sample.source, ref=f"{REF}-2", commit=second, expected_old=None)
    assert plain_git(sample.source, "fsck", "--full", "--strict") == ""
    assert plain_git(sample.source, "show", f"{BRANCH}-2:new.txt") == "2"


@pytest.mark.parametrize("hook", ["pre-receive", "update", "post-receive", "reference-transaction"])
def test_a_source_with_hooks_receives_by_git_so_that_they_run(sample: Setup, hook: str) -> None:
    file = sample.source / ".git" / "hooks" / hook
    file.parent.mkdir(exist_ok=True)
    file.write_text('#!/bin/sh\ncat > /dev/null\necho ran >> "$GIT_DIR/hook-ran"\n')
    file.chmod(0o755)
    made = commit(sample, {"new.txt": "1\n"})
    with pytest.raises(UnusualError):
        push(sample, made)
    store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=made)
    assert plain_git(sample.source, "rev-parse", BRANCH) == made
    assert (sample.source / ".git" / "hook-ran").exists()


@pytest.mark.parametrize(
    "prepare",
    [
        ["config", "core.hooksPath", "elsewhere"],
        ["config", "receive.fsckObjects", "true"],
        ["config", "core.sharedRepository", "group"],
        ["worktree", "add", "-q", "../beside"],
        ["switch", "-q", "-c", BRANCH],
        ["checkout", "-q", "--detach"],
    ],
    ids=lambda prepare: prepare[0] + prepare[1],
)
def test_a_source_with_ways_of_its_own_is_left_to_git(sample: Setup, prepare: list[str]) -> None:
    made = commit(sample, {"new.txt": "1\n"})
    plain_git(sample.source, *prepare)
    before = plain_git(sample.source, "for-each-ref")
    with pytest.raises(UnusualError):
        push(sample, made)
    assert plain_git(sample.source, "for-each-ref") == before


def test_a_branch_that_stands_elsewhere_is_told_as_ever(sample: Setup) -> None:
    assert push(sample, commit(sample, {"new.txt": "1\n"}))
    with pytest.raises(WorkspaceError, match="holds other commits"):
        store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=commit(sample, {"new.txt": "2\n"}))


def test_of_many_at_once_one_creates_the_branch(sample: Setup) -> None:
    made = [commit(sample, {"new.txt": f"{number}\n"}) for number in range(6)]

    def attempt(one: str) -> bool:
        try:
            return push(sample, one)
        except UnusualError:
            return False  # somebody held the lock: git would say who was first

    with ThreadPoolExecutor(6) as pool:
        won = [one for one, has_won in zip(made, pool.map(attempt, made), strict=True) if has_won]
    assert len(won) == 1
    assert plain_git(sample.source, "rev-parse", BRANCH) == won[0]
