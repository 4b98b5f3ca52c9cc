"""Real repositories for tests of the store and the workspaces."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from grid import store, workspaces

BRANCH = "agent/7-sample"
ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.invalid",
}


def plain_git(where: Path, *args: str) -> str:
    """What a person or an agent would type; raises when git fails."""
    done = subprocess.run(["git", *args], cwd=where, env=ENV, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def commit_all(root: Path, message: str = "change") -> str:
    plain_git(root, "add", "-A")
    plain_git(root, "commit", "-q", "-m", message)
    return plain_git(root, "rev-parse", "HEAD")


def make_source(root: Path, files: dict[str, str] | None = None) -> str:
    """A non-bare repository with one commit on `main`; returns the commit."""
    root.mkdir(parents=True)
    plain_git(root, "init", "-q", "-b", "main")
    write(root, files or {"README.md": "hello\n", "src/app.py": "print(1)\n", "src/lib.py": "x = 1\n"})
    return commit_all(root, "first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    source: Path
    bare: Path
    workspace: Path
    base: str

    def harvest(self, **options) -> workspaces.Harvest:
        return workspaces.harvest(
            store=self.bare,
            workspace=self.workspace,
            execution="e1",
            base=self.base,
            branch=BRANCH,
            message="Work of the agent",
            **options,
        )

    def files(self, commit: str) -> list[str]:
        return plain_git(self.bare, "ls-tree", "-r", "--name-only", commit).splitlines()

    def show(self, commit: str, path: str) -> str:
        return plain_git(self.bare, "show", f"{commit}:{path}")


def make_setup(tmp_path: Path, files: dict[str, str] | None = None) -> Setup:
    """A source, its store and one fresh workspace."""
    source, bare = tmp_path / "source", tmp_path / "repositories" / "sample.git"
    base = make_source(source, files)
    store.ensure(bare, str(source))
    store.fetch(bare, str(source))
    workspace = tmp_path / "run" / "workspace"
    workspace.parent.mkdir()
    workspaces.create(store=bare, path=workspace, base=base, branch=BRANCH)
    return Setup(source=source, bare=bare, workspace=workspace, base=base)


def make_rich_source(tmp_path: Path) -> tuple[Path, str]:
    """A repository with everything that a checkout may get wrong, and its commit."""
    root = tmp_path / "source"
    root.mkdir()
    plain_git(root, "init", "-q", "-b", "main")
    write(root, {"a.bat": "one\ntwo\n", "run.sh": "#!/bin/sh\n", "deep/er/file": "x", "id.txt": "$Id$\n"})
    write(root, {".gitattributes": "*.bat text eol=crlf\n*.txt ident\n*.f filter=evil diff=evil\n", "x.f": "f\n"})
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("run.sh")
    (root / "dangling").symlink_to("/nowhere/at/all")
    (root / os.fsdecode(b"latin-\xe9")).write_text("1")
    (root / 'quo"te\nnew').write_text("2")
    write(root, {".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c touch% /tmp/never\n'})
    plain_git(root, "add", "-A")
    plain_git(root, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    plain_git(root, "commit", "-q", "-m", "rich")
    return root, plain_git(root, "rev-parse", "HEAD")


def configure(workspace: Path, text: str) -> None:
    """Append to the configuration of a workspace, as its agent may."""
    with (workspace / ".git/config").open("a") as config:
        config.write(text)
