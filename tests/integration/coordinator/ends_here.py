"""Ends of runs with real commits in the store, for tests of what becomes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from coordinator.agents import integration
from coordinator.models import Agent
from grid import executions
from grid.conf import conf
from grid.models import Execution
from grid.public_types import ChildProposal, Outcome, OutcomeKind, Result, State
from tests.factories import git
from tests.integration.coordinator.agent_runs import Running


def commit(run: Running, folder: Path, text: str, *, name: str = "app.txt") -> str:
    """A commit in the store, made from where the run began, as its end leaves it."""
    clone = folder / f"clone-{run.execution_id}"
    store = conf().store_dir(integration.key(run.agent))
    subprocess.run(["git", "clone", "-q", str(store), str(clone)], check=True, capture_output=True)
    base = Execution.objects.get(pk=run.execution_id).spec["work"]["base"]
    git(clone, "fetch", "-q", "origin", base)
    git(clone, "checkout", "-q", base)
    (clone / name).write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "Work")
    git(clone, "push", "-q", "origin", f"HEAD:refs/executions/{run.execution_id}")
    return git(clone, "rev-parse", "HEAD")


def finish(run: Running, head: str, *, children: tuple[ChildProposal, ...] = ()) -> None:
    """End a run well with this commit, as a split when there are children; nothing is applied."""
    kind = OutcomeKind.SPLIT if children else OutcomeKind.DONE
    result = Result(outcome=Outcome(kind=kind, summary="done", children=children), head=head, changed=True)
    assert executions.end(run.execution_id, token=run.fence, state=State.SUCCEEDED, reason="done", result=result)


def published(repository: Path, agent: Agent) -> str:
    """Commit of the agent's branch at the source; empty when it was not pushed."""
    return git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{agent.branch}")


def stored(agent: Agent) -> str:
    """Commit of the agent's branch in the store; empty when there is none."""
    return integration.branch_head(agent)
