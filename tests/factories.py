"""Rows and repositories for tests, made through the domain's own functions where there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pygit2

from coordinator.agents import roster
from coordinator.care import repositories
from coordinator.models import Agent
from grid import executions
from grid.models import Execution
from grid.public_types import AgentSpec, LaunchSpec, Mode, Work
from tracker import public_api as tracker
from tracker.public_types import IssueDraft

IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@agent-grid.invalid", "-c", "commit.gpgsign=false")


def git(repository: Path, *args: str) -> str:
    """Run git in a folder of ours and return what it printed."""
    done = subprocess.run(["git", *IDENTITY, *args], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_git_repository(path: Path, files: Mapping[str, str] | None = None) -> Path:
    """A repository with one commit on `main`."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {"README.md": "hello\n"}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    # By libgit2: three processes would take longer than many a test that begins with a repository.
    repository = pygit2.init_repository(str(path), initial_head="main")
    repository.index.add_all()
    repository.index.write()
    author = pygit2.Signature("Tester", "tester@agent-grid.invalid")
    repository.create_commit("HEAD", author, author, "First\n", repository.index.write_tree(), [])
    return path


def make_agent(
    path: Path, *, title: str = "Do it", command: str = "echo hi > hi.txt", acceptance: Sequence[str] = ()
) -> Agent:
    """A root agent with an issue in a fetched repository; nothing is nudged."""
    repository = repositories.add_local(str(path))
    repositories.refresh(repository.id)
    issue = tracker.create_issue(repository_id=repository.id, draft=IssueDraft(title=title))
    spec = {"adapter": "command", "options": {"command": command}, "acceptance": list(acceptance)}
    return roster.take_on(
        issue_id=tracker.issue_id(issue.ref, repository_id=repository.id), repository_id=repository.id, spec=spec
    )


def make_child(parent: Agent, *, title: str = "A part", **spec: Any) -> Agent:
    """A child agent with a sub-issue of its own; nothing is nudged."""
    issue = tracker.create_issue(repository_id=parent.repository_id, draft=IssueDraft(title=title))
    above = tracker.get_issue(parent.issue_id)
    tracker.tracker_for(parent.repository_id).link_child(above.ref, issue.ref)
    return roster.take_on(
        issue_id=tracker.issue_id(issue.ref, repository_id=parent.repository_id),
        repository_id=parent.repository_id,
        parent=parent,
        spec={**{name: parent.spec[name] for name in ("adapter", "options")}, **spec},
    )


def launch_spec(subject: str = "issue:1", **changes: Any) -> LaunchSpec:
    """A launch spec that needs no repository as long as nobody starts it."""
    return LaunchSpec(
        **{
            "subject": subject,
            "root": "tree:1",
            "mode": Mode.WORK,
            "agent": AgentSpec(adapter="command", options={"command": "true"}),
            "work": Work(repository="r1", source="/nowhere", branch="agent/1-x", base="0" * 40),
            "prompt": "do it",
            **changes,
        }
    )


def make_execution(subject: str = "issue:1", **changes: Any) -> Execution:
    """A queued execution."""
    pk = executions.queue(launch_spec(subject, **changes))
    assert pk is not None
    return Execution.objects.get(pk=pk)
