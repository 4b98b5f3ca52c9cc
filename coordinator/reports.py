"""What the grid writes on an issue: one status comment, edited in place."""

from __future__ import annotations

from coordinator.models import Agent
from grid.public_types import Check, ExecutionView
from tracker.public_types import Write, WriteKind

TAIL_CHARS = 1500


def comment(agent: Agent, run: ExecutionView, *, issue_key: str) -> Write:
    """The wish to show where the agent stands; replaces an unwritten earlier one."""
    data = {
        "state": agent.state,
        "attempt": run.attempt,
        "execution": str(run.id),
        "branch": agent.branch,
        "head": run.result.head,
    }
    return Write(
        key=f"status:{agent.pk}:{run.id}:{agent.state}",
        kind=WriteKind.UPSERT_COMMENT,
        payload={"ref": issue_key, "slot": "status", "data": data, "markdown": status(agent, run)},
        coalesce=f"status:{agent.issue_id}",
    )


def status(agent: Agent, run: ExecutionView) -> str:
    """Markdown for people: state, attempt, branch, evidence."""
    lines = [f"**Agent: {agent.state}** - attempt {run.attempt} - execution `{str(run.id)[:8]}`", ""]
    if agent.blocked_reason:
        lines += [_quoted(agent.blocked_reason), ""]
    if agent.summary:
        lines += [_quoted(agent.summary[:4000]), ""]
    if run.result.head:
        lines += [f"Branch `{agent.branch}`, commit `{run.result.head[:12]}`.", ""]
    for check in run.result.checks:
        lines += _evidence(check)
    return "\n".join(lines).rstrip() + "\n"


def _evidence(check: Check) -> list[str]:
    verdict = "passed" if check.passed else "failed"
    head = f"- acceptance {verdict} in {check.seconds:.1f} s: `{check.command.replace('`', chr(39))[:200]}`"
    if check.passed or not check.tail:
        return [head]
    return [head, "", *(f"      {line}" for line in check.tail[-TAIL_CHARS:].splitlines()), ""]


def _quoted(text: str) -> str:
    """An agent's words as a quotation, so that they cannot pass for ours."""
    return "\n".join(f"> {line}" for line in text.splitlines())
