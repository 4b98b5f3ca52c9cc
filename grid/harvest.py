"""Taking the work out of a workspace that an agent may have done anything to.

Git never runs with the workspace as its repository, so nothing the agent configured (hooks, filters, fsmonitor, remotes,
alternates) is ever read. Commits: the refs are read by hand, the workspace's own objects are copied to a scratch directory
and enter the store as a pack that git checks object by object. Files: the store's git looks at the work tree with an index
of ours. What cannot be taken as history is taken as files, on top of the base.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from grid import git, objects, refs, trees, unchanged
from grid.intake import History, Job, agent_refs, check_sizes, take_history
from grid.objects import Changed
from grid.public_errors import WorkspaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """The work of one execution, in the store."""

    head: str
    """Commit that holds it, a descendant of the base; the base itself when nothing changed."""
    changed: bool
    """Whether `head` differs from the base."""
    auto_committed: bool
    """Whether we made the last commit, from files that the agent had left uncommitted (or could not keep as history)."""
    commits: int
    """Commits on top of the base, ours included."""
    notes: tuple[str, ...] = ()
    """What was left out or taken in another way than the agent wrote it, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a look at the work tree showed."""

    is_dirty: bool
    """Whether our index differs from what the agent committed."""
    committed: bool
    """Whether the agent's commits change any file."""


def trusted_index(workspace: Path) -> Path:
    """Where the index of the fresh workspace is kept: beside it, out of the agent's directory."""
    return workspace.with_name(f"{workspace.name}.index")


def harvest(
    *,
    store: Path,
    workspace: Path,
    execution: str,
    base: str,
    branch: str,
    message: str,
    max_file_bytes: int = 100 << 20,
    max_total_bytes: int = 1 << 30,
) -> Harvest:
    """Bring commits and leftover files of a workspace into the store, under refs/executions/<execution>.

    Repeating it gives the same work again. The agent should have ended. Ignored files, `.agentgrid/` and directories with
    a `.git` of their own stay behind.

    Raises:
        WorkspaceError: The workspace is gone, or adds more than the limits (bytes); its path is in the message.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", execution):
        raise WorkspaceError(f"{execution[:80]!r} cannot name an execution")
    try:
        survey = trees.survey(workspace, index_ns=_index_time(workspace))
        with tempfile.TemporaryDirectory(prefix=".harvest-", dir=workspace.parent) as scratch:
            job = Job(
                store=store,
                workspace=workspace,
                base=refs.checked_commit(base),
                scratch=Path(scratch),
                max_file_bytes=max_file_bytes,
                max_total_bytes=max_total_bytes,
                is_settled=survey.is_settled,
                notes=[],
            )
            result = _harvest(job, survey, branch=branch, message=message)
    except WorkspaceError as error:
        raise WorkspaceError(f"{error} (the work is still in {workspace})") from error
    except OSError as error:
        raise WorkspaceError(f"cannot take the work out of {workspace}, where it still is: {error}") from error
    if result.changed:
        refs.set_ref(store, f"refs/executions/{execution}", result.head, None)
    return result


def _index_time(workspace: Path) -> int | None:
    seed = trusted_index(workspace)
    return seed.stat().st_mtime_ns if seed.is_file() else None


def _harvest(job: Job, survey: trees.Survey, *, branch: str, message: str) -> Harvest:
    current, on_branch = agent_refs(job.workspace, branch)
    history = take_history(job, current or on_branch or job.base)
    found = _gather(job, history, survey)
    if not found.is_dirty and history.kind in ("same", "behind") and on_branch not in ("", job.base, history.tip):
        # The agent went back to look at older code after its work; the work is on its branch.
        history = take_history(job, on_branch)
        found = _Found(is_dirty=False, committed=bool(_changes(job, history.tip)))
    if found.is_dirty or history.kind == "foreign":
        return _commit_files(job, history, message=message, is_dirty=found.is_dirty)
    if history.kind == "ahead" and (found.committed or history.has_merge):
        return _harvested(job, history.tip, commits=history.commits, auto_committed=False)
    return _harvested(job, job.base, commits=0, auto_committed=False)


def _commit_files(job: Job, history: History, *, message: str, is_dirty: bool) -> Harvest:
    """Commit the files on top of the agent's commits, or on the base when those do not descend from it."""
    of_base, of_tip = f"{job.base}^{{tree}}", f"{history.tip}^{{tree}}"
    base_tree, tip_tree = git.run(["rev-parse", of_base, of_tip], git_dir=job.store).split()
    tree = job.on_tree("write-tree").strip() if is_dirty else tip_tree
    if tree == base_tree and not history.has_merge:
        return _harvested(job, job.base, commits=0, auto_committed=False)
    if history.kind == "ahead" and tree == tip_tree:
        return _harvested(job, history.tip, commits=history.commits, auto_committed=False)
    parent, commits = (history.tip, history.commits + 1) if history.kind == "ahead" else (job.base, 1)
    if history.kind == "foreign":
        job.notes.append("The agent's commits do not descend from the base; their files were committed on top of it.")
    head = refs.commit_tree(job.store, tree, parents=(parent,), message=message)
    return _harvested(job, head, commits=commits, auto_committed=True)


def _harvested(job: Job, head: str, *, commits: int, auto_committed: bool) -> Harvest:
    return Harvest(
        head=head,
        changed=head != job.base,
        auto_committed=auto_committed,
        commits=commits,
        notes=tuple(job.notes),
    )


def _gather(job: Job, history: History, survey: trees.Survey) -> _Found:
    """Make our index hold the work tree as it stands."""
    seed = trusted_index(job.workspace)
    committed = _changes(job, history.tip) if history.tip != job.base else []
    if unchanged.is_as_committed(job.workspace, seed, survey, committed):
        return _Found(is_dirty=False, committed=bool(committed))
    if seed.is_file():
        # With its time: git takes a file for unchanged only when it is older than the index.
        shutil.copy2(seed, job.index)
    else:
        job.on_tree("read-tree", job.base)
    if history.tip != job.base:
        try:
            objects.update_index(job.index, committed)
        except objects.UnusualError:
            job.on_tree("read-tree", "-m", "-i", history.tip)
    # The agent's report to us, committed by accident.
    reports = [one.path for one in committed if one.status == "A" and one.path.startswith(unchanged.OURS)]
    excludes = _kept_out(job, survey.nested)
    listing = job.on_tree("ls-files", "-z", "-m", "-o", "--exclude-standard", "--exclude=/.agentgrid", *excludes)
    added, gone = _sorted_out(job, dict.fromkeys(filter(None, listing.split("\0"))))
    if gone or reports:
        job.on_tree("update-index", "--force-remove", "-z", "--stdin", stdin="\0".join((*gone, *reports, "")))
    if added:
        flags = ("--add", "--remove", "--replace", "-z", "--stdin")
        job.on_tree("update-index", *flags, stdin="\0".join((*added, "")))
    return _Found(is_dirty=bool(added or gone or reports), committed=bool(committed))


def _changes(job: Job, tip: str) -> list[Changed]:
    """The files that a commit changes."""
    # Bounded, which no command of git is: a few kilobytes of nested trees can unfold into billions of files. Whatever
    # git does with this commit from here on has the base's files and these.
    try:
        changed = objects.changed_files(job.store, base=job.base, tip=tip)
    except objects.UnusualError as error:
        raise WorkspaceError(f"the commit {tip} cannot be read: {error}") from error
    with trees.opened(job.workspace) as root:
        found = [trees.status(root, one.path) for one in changed]
    # Git is going to read each of these to see whether it changed after the commit.
    check_sizes(job, (seen.st_size for seen in found if seen and stat.S_ISREG(seen.st_mode)), "a committed file")
    return changed


def _kept_out(job: Job, nested: tuple[str, ...]) -> list[str]:
    """Options that keep git out of repositories inside the work tree, whose `.git` it would otherwise open."""
    if not nested:
        return []
    folders: set[str] = set()
    links: list[str] = []
    for entry in filter(None, job.on_tree("ls-files", "-z", "--stage").split("\0")):
        meta, _, path = entry.partition("\t")
        if meta.startswith("160000 "):
            links.append(path)
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if links:
        # A submodule stays at the commit that the base names.
        job.on_tree("update-index", "--skip-worktree", "-z", "--stdin", stdin="\0".join((*links, "")))
    # Git walks into a directory of which it tracks files without asking whether it is a repository.
    foreign = [place for place in nested if place not in folders]
    job.notes.extend(
        f"{place} is a repository of its own and stays behind." for place in foreign[:20] if place not in links
    )
    return ["--exclude=/" + re.sub(r"([\\*?\[\] ])", r"\\\1", place) for place in foreign]


def _sorted_out(job: Job, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split changed paths into those git can take and those that are no longer files: deleted, or something else now."""
    taken, gone, sizes = [], [], []
    with trees.opened(job.workspace) as root:
        for path in paths:
            if path.startswith(unchanged.OURS) or path.endswith("/"):
                continue
            found = trees.status(root, path)
            mode = found.st_mode if found else 0
            if found and stat.S_ISREG(mode):
                sizes.append(found.st_size)
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                taken.append(path)
            else:
                gone.append(path)
    check_sizes(job, sizes, "an uncommitted file")
    return taken, gone
