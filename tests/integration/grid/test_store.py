from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from grid import git, store
from grid.public_errors import MergeConflictError, WorkspaceError
from tests.integration.grid.git_samples import BRANCH, commit_all, make_setup, make_source, plain_git, write


@pytest.fixture
def sample(tmp_path):
    return make_setup(tmp_path)


def _commit(sample, files: dict[str, str], parent: str | None = None) -> str:
    """A commit in the store that writes these files on top of `parent`."""
    clone = sample.workspace.parent / f"clone-{os.urandom(4).hex()}"
    plain_git(sample.workspace.parent, "clone", "-q", "--shared", "--no-checkout", str(sample.bare), str(clone))
    plain_git(clone, "checkout", "-q", "--detach", parent or sample.base)
    write(clone, files)
    commit = commit_all(clone)
    plain_git(clone, "push", "-q", "origin", f"{commit}:refs/tests/{commit}")
    return commit


def test_fetch_brings_branches_of_the_source_but_no_agent_branches(sample):
    plain_git(sample.source, "branch", "feature/a")
    plain_git(sample.source, "branch", "agent/old")
    store.fetch(sample.bare, str(sample.source))
    assert store.head(sample.bare, "refs/upstream/main") == sample.base
    assert store.head(sample.bare, "refs/upstream/feature/a") == sample.base
    assert store.head(sample.bare, "refs/upstream/agent/old") == ""
    plain_git(sample.source, "branch", "-D", "feature/a")
    write(sample.source, {"README.md": "new\n"})
    later = commit_all(sample.source)
    store.fetch(sample.bare, str(sample.source))
    assert store.head(sample.bare, "refs/upstream/feature/a") == ""
    assert store.head(sample.bare, "refs/upstream/main") == later
    assert store.has_commit(sample.bare, later)
    assert not store.has_commit(sample.bare, "0" * 40)
    assert not store.has_commit(sample.bare, "refs/upstream/main")


def test_fetch_of_named_branches_says_which_is_missing(sample):
    store.fetch(sample.bare, str(sample.source), ("main",))
    with pytest.raises(WorkspaceError, match="nothing-here"):
        store.fetch(sample.bare, str(sample.source), ("nothing-here",))


def test_a_shallow_source_is_refused_with_the_remedy(sample, tmp_path):
    write(sample.source, {"new": "1"})
    commit_all(sample.source)
    plain_git(tmp_path, "clone", "-q", "--depth=1", f"file://{sample.source}", "shallow")
    with pytest.raises(WorkspaceError, match="--unshallow"):
        store.fetch(sample.bare, str(tmp_path / "shallow"))


def test_default_branch_is_the_one_head_names(tmp_path):
    make_source(tmp_path / "a")
    plain_git(tmp_path / "a", "branch", "-m", "trunk")
    assert store.default_branch(str(tmp_path / "a")) == "trunk"
    assert store.default_branch(f"file://{tmp_path}/a") == "trunk"
    plain_git(tmp_path / "a", "checkout", "-q", "--detach")
    with pytest.raises(WorkspaceError, match="not on a branch"):
        store.default_branch(str(tmp_path / "a"))
    (tmp_path / "empty").mkdir()
    plain_git(tmp_path / "empty", "init", "-q")
    with pytest.raises(WorkspaceError, match="no commit yet"):
        store.default_branch(str(tmp_path / "empty"))


def test_a_head_on_a_branch_without_a_commit_is_refused_although_others_have_one(tmp_path):
    make_source(tmp_path / "a")
    plain_git(tmp_path / "a", "checkout", "-q", "--orphan", "new")
    with pytest.raises(WorkspaceError, match="no commit yet"):
        store.default_branch(str(tmp_path / "a"))


@pytest.mark.parametrize("name", ["plain", 'we"ird; \\path # [x]', "two\nlines\n[core]\n\tfsync = all", "caf\udce9"])
def test_a_store_keeps_its_objects_and_knows_where_they_come_from(tmp_path, name):
    make_source(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / name)
    bare = tmp_path / "s.git"
    store.ensure(bare, str(tmp_path / "link"))
    said = git.run(["config", "--null", "--get-regexp", "^(gc|remote|core.fsync)"], git_dir=bare)
    wanted = {"gc.auto": "0", "gc.pruneexpire": "never", "remote.origin.url": str((tmp_path / name).resolve())}
    assert dict(record.split("\n", 1) for record in said.split("\0") if record) == wanted


@pytest.mark.parametrize("source", ["", "--upload-pack=touch marker", "/nowhere/at/all", "a\nb"])
def test_a_source_that_is_none_is_refused(tmp_path, source):
    with pytest.raises(WorkspaceError):
        store.ensure(tmp_path / "s.git", source)
    assert list(tmp_path.iterdir()) == []


def test_a_source_never_runs_a_command_of_its_own(sample, tmp_path):
    marker = tmp_path / "marker"
    with pytest.raises(WorkspaceError):
        store.fetch(sample.bare, f"ext::sh -c touch% {marker}")
    assert not marker.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another user")
def test_a_source_of_another_user_can_be_read_and_published_to(sample):
    for path in [sample.source, *sample.source.rglob("*")]:
        os.chown(path, 12345, 12345)
    assert store.default_branch(str(sample.source)) == "main"
    store.fetch(sample.bare, str(sample.source))
    store.publish(sample.bare, str(sample.source), branch="agent/1-x", commit=sample.base)
    assert (sample.source / ".git/refs/heads/agent/1-x").exists()


def _ensure(bare: Path, source: Path, barrier) -> None:
    barrier.wait()
    store.ensure(bare, str(source))
    store.fetch(bare, str(source))


def test_processes_that_make_one_store_at_once_share_it(tmp_path):
    base = make_source(tmp_path / "source")
    bare = tmp_path / "repositories" / "one.git"
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    crowd = [context.Process(target=_ensure, args=(bare, tmp_path / "source", barrier)) for _ in range(8)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(60)
    assert [process.exitcode for process in crowd] == [0] * 8
    assert store.head(bare, "refs/upstream/main") == base
    assert [path.name for path in bare.parent.iterdir()] == ["one.git"]


def test_set_branch_moves_only_from_the_expected_commit(sample):
    later = _commit(sample, {"a": "1"})
    assert store.set_branch(sample.bare, BRANCH, sample.base, "")
    assert not store.set_branch(sample.bare, BRANCH, later, "")
    assert not store.set_branch(sample.bare, BRANCH, later, later)
    assert store.set_branch(sample.bare, BRANCH, later, sample.base)
    assert store.head(sample.bare, f"refs/heads/{BRANCH}") == later
    with pytest.raises(WorkspaceError):
        store.set_branch(sample.bare, BRANCH, "1" * 40, later)
    with pytest.raises(WorkspaceError, match="not a valid branch"):
        store.set_branch(sample.bare, "../../HEAD", later, "")


def test_a_lock_left_by_a_killed_git_does_not_block_a_branch_for_ever(sample):
    store.set_branch(sample.bare, BRANCH, sample.base, "")
    later = _commit(sample, {"a": "1"})
    lock, upstream = (sample.bare / f"refs/{name}.lock" for name in (f"heads/{BRANCH}", "upstream/main"))
    lock.touch()
    upstream.touch()
    os.utime(lock, (time.time() - 9, time.time() - 9))
    os.utime(upstream, (1, 1))
    began = time.monotonic()
    assert store.set_branch(sample.bare, BRANCH, later, sample.base)
    assert time.monotonic() - began > 0.5, "a lock that may be somebody's was broken"
    write(sample.source, {"new": "1"})
    head = commit_all(sample.source)
    store.fetch(sample.bare, str(sample.source))
    assert store.head(sample.bare, "refs/upstream/main") == head


def test_merge_tells_apart_already_fast_forward_and_merge(sample):
    left, right = _commit(sample, {"left": "1"}), _commit(sample, {"right": "1"})
    store.set_branch(sample.bare, BRANCH, sample.base, "")
    first = store.merge(sample.bare, into=BRANCH, commit=left, message="m")
    assert (first.kind, first.commit) == ("fast_forward", left)
    assert store.merge(sample.bare, into=BRANCH, commit=sample.base, message="m").kind == "already"
    merged = store.merge(sample.bare, into=BRANCH, commit=right, message="Merge right\n\nwhy")
    assert merged.kind == "merge"
    assert {"left", "right", "README.md"} <= set(sample.files(merged.commit))
    assert (
        plain_git(sample.bare, "log", "-1", "--format=%P|%s|%an", merged.commit)
        == f"{left} {right}|Merge right|agent-grid"
    )
    again = store.merge(sample.bare, into=BRANCH, commit=right, message="m")
    assert (again.kind, again.commit) == ("already", merged.commit)


def test_a_conflict_names_the_paths_and_changes_nothing(sample):
    left = _commit(sample, {"src/lib.py": "x = 2\n", "other": "1"})
    right = _commit(sample, {"src/lib.py": "x = 3\n", "README.md": "right\n"})
    store.set_branch(sample.bare, BRANCH, left, "")
    with pytest.raises(MergeConflictError) as caught:
        store.merge(sample.bare, into=BRANCH, commit=right, message="m")
    assert caught.value.paths == ("src/lib.py",)
    assert store.head(sample.bare, f"refs/heads/{BRANCH}") == left


def test_merge_into_a_missing_branch_says_so(sample):
    with pytest.raises(WorkspaceError, match="create it first"):
        store.merge(sample.bare, into="agent/none", commit=sample.base, message="m")


def _merge(bare: Path, commit: str, barrier) -> None:
    barrier.wait()
    store.merge(bare, into=BRANCH, commit=commit, message=f"Merge {commit}")


def test_eight_processes_merging_into_one_branch_lose_no_merge(sample):
    commits = [_commit(sample, {f"file-{number}": "1"}) for number in range(8)]
    store.set_branch(sample.bare, BRANCH, sample.base, "")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    crowd = [context.Process(target=_merge, args=(sample.bare, commit, barrier)) for commit in commits]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(60)
    assert [process.exitcode for process in crowd] == [0] * 8
    tip = store.head(sample.bare, f"refs/heads/{BRANCH}")
    for commit in commits:
        plain_git(sample.bare, "merge-base", "--is-ancestor", commit, tip)
    assert {f"file-{number}" for number in range(8)} <= set(sample.files(tip))


def test_publish_creates_and_moves_a_branch_of_a_non_bare_source(sample):
    first = _commit(sample, {"a": "1"})
    second, rival = _commit(sample, {"a": "2"}, parent=first), _commit(sample, {"a": "3"})
    for commit in (first, first, second):
        store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=commit)
        assert plain_git(sample.source, "rev-parse", BRANCH) == commit
    with pytest.raises(WorkspaceError, match="holds other commits"):
        store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=rival)
    with pytest.raises(WorkspaceError, match="holds other commits"):
        store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=rival, expected_old=first)
    store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=rival, expected_old=second)
    assert plain_git(sample.source, "rev-parse", BRANCH) == rival
    assert plain_git(sample.source, "status", "--porcelain") == ""


def test_publish_to_a_checked_out_branch_says_what_to_do(sample):
    commit = _commit(sample, {"a": "1"})
    plain_git(sample.source, "switch", "-q", "-c", BRANCH)
    with pytest.raises(WorkspaceError, match="switch to another branch"):
        store.publish(sample.bare, str(sample.source), branch=BRANCH, commit=commit)
    assert plain_git(sample.source, "rev-parse", BRANCH) == sample.base


@pytest.mark.parametrize("branch", ["main", "agent", "agent/../main", "agent/a b", "agent/x.lock", "-f"])
def test_only_agent_branches_are_published(sample, branch):
    with pytest.raises(WorkspaceError, match=r"only agent/|not a valid branch"):
        store.publish(sample.bare, str(sample.source), branch=branch, commit=sample.base)


def test_read_file_gives_regular_files_only(sample):
    clone = sample.workspace
    write(clone, {"bytes": "ok"})
    (clone / "bytes").write_bytes(b"\xff\x00\r\n")
    (clone / "link").symlink_to("bytes")
    (clone / "star*").write_text("star")
    commit = sample.harvest().head
    assert store.read_file(sample.bare, commit, "bytes") == b"\xff\x00\r\n"
    assert store.read_file(sample.bare, commit, "star*") == b"star"
    for path in ("link", "src", "absent", "../source/README.md", "/etc/passwd", "s*", ""):
        assert store.read_file(sample.bare, commit, path) is None
    with pytest.raises(WorkspaceError, match="4 bytes"):
        store.read_file(sample.bare, commit, "bytes", limit=3)


def test_differences_are_listed_counted_and_cut(sample):
    (sample.workspace / "binary").write_bytes(bytes(range(256)))
    (sample.workspace / os.fsdecode(b"n\xff\n")).write_text("1\n")
    write(sample.workspace, {"src/lib.py": "x = 1\ny = 2\nz = 3\n"})
    (sample.workspace / "README.md").unlink()
    head = sample.harvest().head
    changes = {
        change.path: (change.added, change.removed) for change in store.diff_stat(sample.bare, sample.base, head)
    }
    assert changes == {"README.md": (0, 1), "binary": (None, None), "n\\xff\n": (1, 0), "src/lib.py": (2, 0)}
    patch = store.diff(sample.bare, sample.base, head)
    assert "+y = 2" in patch
    assert store.diff(sample.bare, sample.base, head, limit=50).endswith("… cut after 50 bytes\n")
    [commit] = store.commits_between(sample.bare, sample.base, head)
    assert (commit.commit, commit.author, commit.subject) == (head, "agent-grid", "Work of the agent")
    assert commit.at.tzinfo is not None


def test_errors_name_the_command_and_the_last_words_of_git(sample):
    (sample.workspace.parent / "HEAD").write_text("no such thing\n")
    with pytest.raises(WorkspaceError, match=r"git fetch failed .*not appear to be a git repository"):
        store.fetch(sample.bare, str(sample.workspace.parent))
    with pytest.raises(WorkspaceError, match="did not end within"):
        git.run(["-c", "alias.wait=!sleep 30", "wait"], git_dir=sample.bare, timeout=0.3)
    with pytest.raises(WorkspaceError, match="printed more"):
        git.run(["cat-file", "blob", f"{sample.base}:README.md"], git_dir=sample.bare, limit=2)


def test_git_inherits_nothing_of_our_environment(sample, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert "s3cret" not in git.run(["-c", "alias.env=!env", "env"], git_dir=sample.bare)


def test_a_missing_git_is_named(settings, tmp_path):
    settings.GIT = str(tmp_path / "no-git")
    with pytest.raises(WorkspaceError, match="install git or set GIT"):
        git.run(["version"])
