"""Running git for the fake GitHub: plumbing on the bare repositories that it serves.

Nothing of the caller's environment or configuration reaches git, and hooks do not run.
"""

from __future__ import annotations

import os
import re
import subprocess  # noqa: TID251 - a server of git repositories runs git; nothing else here starts processes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tracker.fake_github.errors import ApiError, Json

NOTHING = "0" * 40
_TIMEOUT_SECONDS = 60
_PATCH_MAX_CHARS = 20_000
_COMMITS_MAX = 250
_CONFIG = """[http]
\treceivepack = true
[receive]
\tautogc = false
[uploadpack]
\tallowFilter = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who a commit made by the fake is from."""

    name: str
    email: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git processes get: a path, and no configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),  # noqa: TID251 - to find git
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        **(extra or {}),
    }


def run(
    git_dir: Path, *args: str, extra: Mapping[str, str] | None = None, check: bool = True, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one git command in a bare repository.

    Raises:
        ApiError: 500 with git's message, when `check` and git fails.
    """
    done = subprocess.run(  # noqa: S603 - no shell; arguments that come from outside follow `--` or are checked names
        ["git", "-c", "core.hooksPath=/dev/null", f"--git-dir={git_dir}", *args],  # noqa: S607
        env=environment(extra),
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if check and done.returncode:
        raise ApiError(500, f"git {args[0]}: {done.stderr.strip()[-500:]}")
    return done


def create(git_dir: Path, *, default_branch: str) -> None:
    """Make an empty bare repository unless there is one."""
    if (git_dir / "HEAD").exists():
        return
    git_dir.mkdir(parents=True, exist_ok=True)
    run(git_dir, "init", "-q", "--bare", "--template=", f"--initial-branch={default_branch}")
    with (git_dir / "config").open("a") as config:  # as text: `git config` would be a process for each line
        config.write(_CONFIG)


def first_commit(git_dir: Path, *, branch: str, files: Mapping[str, str]) -> None:
    """Commit these files to a branch of an empty repository; one that has commits stays as it is.

    Raises:
        ValueError: A path is absolute, leaves the repository or holds a line break.
    """
    if not files or refs(git_dir):
        return
    for path in files:
        if path.startswith("/") or ".." in path.split("/") or "\n" in path or '"' in path:
            raise ValueError(f"{path!r} is no path inside a repository")
    author = "Fake GitHub <noreply@github.invalid> 1767225600 +0000"
    stream = f"commit refs/heads/{branch}\ncommitter {author}\ndata 13\nFirst commit\n\n"
    for path, text in files.items():
        stream += f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n"
    run(git_dir, "fast-import", "--quiet", given=stream)


def refs(git_dir: Path) -> dict[str, str]:
    """Commit by full ref name, branches and tags."""
    lines = run(git_dir, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags").stdout
    return dict(line.split(" ", 1) for line in lines.splitlines())


def commit(git_dir: Path, name: str) -> str | None:
    """The commit behind a branch, tag, full ref or hash; None when there is none."""
    if name.startswith("-") or any(char in name for char in "^~:{?*[\\ \n\x00") or ".." in name:
        return None
    exact = name.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}", name)
    for candidate in (name,) if exact else (f"refs/heads/{name}", f"refs/tags/{name}", name):
        done = run(git_dir, "rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}", check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def commits_between(git_dir: Path, base: str, head: str) -> list[Json]:
    """The commits that `head` has and `base` lacks, oldest first: `sha`, `name`, `email`, `date`, `message`."""
    return commits_of(git_dir, f"{base}..{head}", count=_COMMITS_MAX)[::-1]


def commits_of(git_dir: Path, revision: str, *, count: int = 100) -> list[Json]:
    """The newest commits of a revision or range, newest first."""
    form = "%H%x1f%an%x1f%ae%x1f%aI%x1f%B%x1e"
    text = run(git_dir, "log", f"--max-count={count}", f"--format={form}", revision, "--").stdout
    keys = ("sha", "name", "email", "date", "message")
    return [
        dict(zip(keys, (part.strip("\n") for part in entry.split("\x1f")), strict=True))
        for entry in text.split("\x1e")
        if entry.strip()
    ]


def files_between(git_dir: Path, base: str, head: str) -> list[Json]:
    """The files that a pull request changes, in the API's words."""
    raw = run(git_dir, "diff", "--no-renames", "--numstat", f"{base}...{head}").stdout
    names = run(git_dir, "diff", "--no-renames", "--name-status", f"{base}...{head}").stdout
    letters = {path: letter for letter, _, path in (line.partition("\t") for line in names.splitlines())}
    found = []
    for line in raw.splitlines():
        added, deleted, path = line.split("\t", 2)
        patch = run(git_dir, "diff", "--no-renames", f"{base}...{head}", "--", path).stdout
        additions, deletions = (int(count) if count.isdigit() else 0 for count in (added, deleted))
        found.append(
            {
                "sha": (commit(git_dir, head) or NOTHING),
                "filename": path,
                "status": {"A": "added", "D": "removed"}.get(letters.get(path, "M"), "modified"),
                "additions": additions,
                "deletions": deletions,
                "changes": additions + deletions,
                "patch": patch[patch.find("@@") :][:_PATCH_MAX_CHARS] if "@@" in patch else "",
            }
        )
    return found


def merged_tree(git_dir: Path, base: str, head: str) -> str | None:
    """The tree of the merge; None when the two conflict."""
    done = run(git_dir, "merge-tree", "--write-tree", base, head, check=False)
    return done.stdout.split("\n", 1)[0] if done.returncode == 0 else None


def merge(git_dir: Path, *, branch: str, head: str, message: str, author: Author, squash: bool) -> str | None:
    """Merge `head` into a branch; the new commit, or None on a conflict or when the branch moved meanwhile."""
    base = commit(git_dir, f"refs/heads/{branch}")
    tree = merged_tree(git_dir, base, head) if base else None
    if base is None or tree is None:
        return None
    identity = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", author.name), ("EMAIL", author.email))
    }
    parents = ["-p", base] if squash else ["-p", base, "-p", head]
    made = run(git_dir, "commit-tree", tree, *parents, "-m", message, extra=identity).stdout.strip()
    moved = run(git_dir, "update-ref", f"refs/heads/{branch}", made, base, check=False)
    return made if moved.returncode == 0 else None
