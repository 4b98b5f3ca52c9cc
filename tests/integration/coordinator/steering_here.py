"""People who act on a fake GitHub, and agents whose issues are there: short words for what tests of steering do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from coordinator.ending import outbox, outcomes
from coordinator.issues import steering
from coordinator.models import Agent
from grid import executions, lifecycle
from grid import public_api as grid
from grid.models import Execution, Host
from grid.public_types import Result, State
from tests.integration.tracker.fake_github_world import REPOSITORY
from tests.integration.tracker.github_here import US, GithubHere
from tracker.public_types import Hint, HintKind


@dataclass(frozen=True, slots=True)
class Here:
    """A repository under care, and short words for what tests do."""

    github: GithubHere

    def by(self, login: str) -> Any:
        return self.github.as_person(login)

    def issue(self, *, by: str = "alice", title: str = "Do it", body: str = "as I say", label: bool = False) -> int:
        number: int = self.by(by).open_issue(title, body)
        if label:
            self.by("alice").add_label(number, "agent:ready")
        return number

    def hint(self, number: int, action: str = "sweep", **more: Any) -> None:
        kind = HintKind.COMMENT if "comment_id" in more else HintKind.ISSUE
        steering.take_up(
            self.github.repository.id, Hint(kind=kind, action=action, scope=REPOSITORY, key=str(number), **more)
        )

    def say(self, number: int, text: str, *, by: str = "alice", action: str = "created") -> str:
        comment_id = str(self.by(by).comment(number, text))
        self.hint(number, action, comment_id=comment_id, actor=by, text=text)
        return comment_id

    def next_second(self) -> None:
        """GitHub counts in seconds, and a doubt of one second is answered by asking."""
        time.sleep(1.0 - time.time() % 1.0 + 0.01)

    def agent(self, number: int) -> Agent | None:
        return Agent.objects.filter(issue__key=str(number)).select_related("execution", "issue").first()

    def state(self, number: int) -> str:
        agent = self.agent(number)
        return agent.state if agent is not None else ""

    def drain(self) -> None:
        outbox.drain(self.github.repository.id)

    def labels(self, number: int) -> list[str]:
        return [name for name in self.by("adam").labels(number) if name.startswith("agent:")]

    def ours(self, number: int) -> list[str]:
        """Texts of our comments."""
        return [c["body"] for c in self.by("adam").comments(number) if c["user"]["login"] == US]

    def prompt(self, number: int) -> str:
        agent = self.agent(number)
        assert agent is not None and agent.execution_id is not None
        return grid.prompt_of(agent.execution_id)

    def claim(self, number: int) -> Execution:
        """A host takes the agent's queued run and starts it."""
        Host.objects.get_or_create(name="h", defaults={"slots": 9})
        agent = self.agent(number)
        assert agent is not None and agent.execution_id is not None
        run = executions.claim(agent.execution_id, host="h")
        assert run is not None
        lifecycle.move(run.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started")
        outcomes.started(run.pk)
        return run

    def end(self, run: Any, state: State = State.FAILED, result: Result | None = None) -> bool:
        assert executions.end(run.pk, token=run.token, state=state, reason="ended", result=result or Result())
        return outcomes.apply(run.pk)


@pytest.fixture
def here(github: GithubHere) -> Here:
    """`acme/widgets` under care."""
    return Here(github)
