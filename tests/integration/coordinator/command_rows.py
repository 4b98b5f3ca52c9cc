"""Rows for tests of commands, made by the domain's own functions, and a way to run a command and see what it said."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from coordinator import public_api, sweeps
from coordinator.public_types import AgentView, Submission
from grid import event_log, executions, lifecycle
from grid.models import Execution, Host
from grid.public_types import ChildProposal, Outcome, OutcomeKind, Result, State
from tests.integration.grid.git_samples import make_source
from tracker.public_types import RepositoryView

HOST = "here-0000"
HOSTILE = "\x1b]0;pwn\x07\x1b[31mred\u202e\x9b2J"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def run(*args: str) -> Said:
    """Run a command in this process."""
    out = io.StringIO()
    try:
        call_command(*args, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return Said(code=error.returncode, out=out.getvalue(), error=str(error))
    except SystemExit as error:
        return Said(code=int(error.code or 0), out=out.getvalue(), error="")
    return Said(code=0, out=out.getvalue(), error="")


def care(folder: Path, name: str = "app") -> RepositoryView:
    make_source(folder / name)
    return public_api.add_repository(str(folder / name))


def submitted(repository: RepositoryView, title: str = "Fix the parser", **fields: Any) -> AgentView:
    wish = Submission(title=title, adapter="command", options={"command": "true"}, **fields)
    return public_api.submit(repository_id=repository.id, submission=wish, actor="cli:test")[0]


def started(agent: AgentView, *, lines: tuple[str, ...] = (), phase: str = "agent") -> Execution:
    """Let a host of this test claim and start the agent's queued execution; its agent prints some lines."""
    Host.objects.get_or_create(pk=HOST, defaults={"slots": 9})
    assert agent.execution_id is not None
    row = executions.claim(agent.execution_id, host=HOST)
    assert row is not None
    fields = {"started_at": Now(), "phase": phase}
    lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=row.token, fields=fields)
    say(row, *lines)
    sweeps.apply_events()
    return row


def say(run: Execution, *lines: str) -> None:
    """Let an agent print lines."""
    row = Execution.objects.get(pk=run.pk)
    drafts = [("agent.output", {"stream": "out", "text": line}) for line in lines]
    event_log.insert_numbered(stream=row.stream, root=row.root, first_seq=row.seq + 1, events=drafts)
    Execution.objects.filter(pk=row.pk).update(seq=row.seq + len(drafts))


def ended(agent: AgentView, *, state: State = State.FAILED, result: Result | None = None) -> AgentView:
    """End the agent's running execution and apply that."""
    assert agent.execution_id is not None
    row = Execution.objects.get(pk=agent.execution_id)
    result = result or Result(reason="exit 3", exit_code=3)
    assert executions.end(row.pk, token=row.token, state=state, reason=result.reason, result=result)
    sweeps.apply_events()
    return public_api.get_agent(agent.id)


def split(agent: AgentView) -> list[AgentView]:
    """Run the agent so that it splits in two, the second blocked by the first; returns the tree."""
    started(agent)
    children = (
        ChildProposal(key="one", title="Part one", body="first"),
        ChildProposal(key="two", title="Part two", body="then", blocked_by=("one",)),
    )
    outcome = Outcome(kind=OutcomeKind.SPLIT, summary="two parts", children=children)
    ended(agent, state=State.SUCCEEDED, result=Result(outcome=outcome, reason="split"))
    return public_api.tree(agent.root_id)
