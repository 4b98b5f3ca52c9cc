"""Agents on a fake GitHub: issues there, real runs, real git over HTTP, pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coordinator.agents import roster
from coordinator.care import repositories
from coordinator.issues import pulls
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import Source
from grid.models import Execution
from tests.factories import git
from tests.integration.coordinator.conftest import GridHere
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import GithubHere
from tracker import public_sync
from tracker.models import Operation
from tracker.public_types import Hint, HintKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A repository on the fake GitHub with people in it, and a grid that works for them."""

    github: GithubHere
    grid: GridHere
    folder: Path

    def take_on(
        self,
        *,
        title: str = "Say hi",
        command: str = "echo hi >> hi.txt",
        acceptance: Sequence[str] = ("test -s hi.txt",),
    ) -> Agent:
        """A root agent for a new issue; nothing is nudged."""
        number = self.github.as_person("alice").open_issue(title, "Please.")
        seen = public_sync.refresh(self.github.repository.id, str(number))
        spec = {"adapter": "command", "options": {"command": command}, "acceptance": list(acceptance)}
        return roster.take_on(issue_id=seen.issue_id, repository_id=self.github.repository.id, spec=spec)

    def in_review(self, **wishes: Any) -> Agent:
        """A root agent whose pull request is open."""
        agent = self.take_on(**wishes)
        dispatch.nudge(agent.pk, source=Source.OPERATOR)
        self.settle()
        agent.refresh_from_db()
        assert agent.state == "review", (agent.state, agent.blocked_reason)
        return agent

    def settle(self) -> None:
        """Run what is queued, and carry out every write, those that rest included."""
        self.grid.until_quiet()
        Operation.objects.filter(state="pending").update(rests_until=None)
        self.grid.until(lambda: not Operation.objects.filter(state="pending").exists())

    def hear(self, number: int | str = "", **more: Any) -> None:
        """Take up a hint about a pull request, twice, as webhooks come."""
        hint = Hint(kind=HintKind.CHANGE, action="x", scope=REPOSITORY, key=str(number), **more)
        for _ in range(2):
            pulls.take_up(self.github.repository.id, hint)

    def pull(self) -> dict[str, Any]:
        """The only pull request."""
        (found,) = self.github.as_person("alice").pulls()
        return self.github.as_person("alice").pull(found["number"])

    def comments(self, number: int | str) -> list[str]:
        """What stands on an issue, markers left out."""
        return [
            said["body"].partition("-->\n")[2] or said["body"]
            for said in self.github.as_person("alice").comments(int(number))
        ]

    def clone(self) -> Path:
        """A person's clone of the repository, past HTTP."""
        path = self.folder / "clone"
        if not path.exists():
            git(self.folder, "clone", "-q", str(self.folder / "github" / f"{REPOSITORY}.git"), "clone")
        git(path, "fetch", "-q", "origin")
        return path

    def push(self, branch: str, *, force: bool = False, **files: str) -> str:
        """A person commits to a branch and pushes it; the commit."""
        path = self.clone()
        git(path, "checkout", "-q", "-B", branch, f"origin/{'main' if force else branch}")
        for name, text in files.items():
            (path / f"{name}.txt").write_text(text)
        git(path, "add", "-A")
        git(path, "commit", "-qm", "By hand")
        git(path, "push", "-q", *(["--force"] if force else []), "origin", branch)
        return git(path, "rev-parse", "HEAD")


@pytest.fixture
def office(github: GithubHere, grid_here: GridHere, tmp_path: Path) -> Office:
    """The repository, fetched."""
    row = repositories.refresh(github.repository.id)
    assert row.error == ""
    return Office(github=github, grid=grid_here, folder=tmp_path)


def runs(agent: Agent) -> int:
    return Execution.objects.filter(subject=agent.subject).count()


def prompt(agent: Agent) -> str:
    return Execution.objects.filter(subject=agent.subject).order_by("-created_at")[0].prompt


def state(agent: Agent) -> str:
    return Agent.objects.get(pk=agent.pk).state
