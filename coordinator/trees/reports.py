"""What the grid writes on an issue: one status comment, edited in place, and a few notices that people are told of.

On the local tracker, whose readers have the grid at hand, the comment is written at ends only and is shorter.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from coordinator.agents import raising, remarks, tree
from coordinator.agents.integration import GITHUB
from coordinator.care import repositories
from coordinator.conf import conf
from coordinator.documents import money_words, pull_requests
from coordinator.documents.pull_requests import Evidence, Part, Run, Said, Status
from coordinator.launching import briefing
from coordinator.models import Agent, Envelope
from coordinator.money import costs
from coordinator.public_types import ATTENTION, ENDED, AgentState
from coordinator.rules import answers
from grid import public_api as grid
from grid.public_types import Check, ExecutionView
from tracker import public_api as tracker
from tracker import public_changes
from tracker.public_types import ChangeView, Write, WriteKind

TAIL_CHARS = 1500
BETWEEN_EDITS = timedelta(seconds=60)
"""Of a status comment while things move; GitHub allows 500 content writes an hour for everything."""
MOVING = frozenset({AgentState.NEW, AgentState.QUEUED, AgentState.RUNNING, AgentState.WAITING})
SLOT = "status"


def ended(agent: Agent, run: ExecutionView) -> list[Write]:
    """The wishes that show how a run ended."""
    if agent.repository.tracker != GITHUB:
        return [_comment(agent, run)]
    notices = [notice(agent)] if agent.state in ATTENTION else []
    return [*show(agent), *notices]


def show(agent: Agent) -> list[Write]:
    """The wishes that bring the status comments of an agent and of its parent up to date; none on a local tracker.

    While an agent moves, its comment is edited once a minute at most; the edit that waits is replaced by later ones.
    """
    if agent.repository.tracker != GITHUB:
        return []
    parent = agent.parent
    above = [_status(parent)] if parent is not None and AgentState(parent.state) in MOVING else []
    return [_status(agent), *above]


def notice(agent: Agent) -> Write:
    """The wish to tell people that an agent waits for one of them."""
    text = pull_requests.needs_you(agent.state, _reason(agent), first=raising.after_stop(agent))
    return _notice(agent, f"{agent.state}-{agent.executions}", text)


def waits(agent: Agent, *, token: str) -> list[Write]:
    """The wishes to tell people what only one of them can do, so that the agent's next run starts; see `needs`.

    Args:
        token: Of this need: the same one is told of once.
    """
    shown = replace(_status(agent), key=waits_key(agent.pk, token))
    # Who sees the first comment of an issue is notified by it; an edit notifies nobody.
    if not agent.executions:
        return [shown]
    return [shown, _notice(agent, f"waits-{token}"[:40], pull_requests.no_run(needs(agent)))]


def waits_key(agent_id: int, token: str) -> str:
    """Key of the first of the writes of `waits`."""
    return f"status:{agent_id}:waits:{token}"


def needs(agent: Agent) -> str:
    """What only a person can do, so that the agent's next run starts, in Markdown that anybody may read; empty: nothing."""
    decision = answers.from_stored(agent.decision)
    if agent.state in ENDED or decision is None or not answers.needs_a_person(decision):
        return ""
    return answers.in_public(decision, ways=raising.ways(agent))


def proposed(agent: Agent, change: ChangeView, *, is_ready: bool) -> Write:
    """The wish to tell people of something to review, once for each run that made it."""
    text = pull_requests.proposed(change.ref.key, is_ready=is_ready, said=_said(agent))
    return _notice(agent, f"proposed-{agent.executions}", text)


def plan(agent: Agent) -> list[Write]:
    """The wishes to tell people how an issue was split; none on a local tracker."""
    if agent.repository.tracker != GITHUB:
        return []
    text = pull_requests.plan(_parts(agent), summary=agent.summary)
    return [_notice(agent, f"plan-{agent.executions}", text), *show(agent)]


def change_of(agent: Agent) -> ChangeView | None:
    """The pull request of an agent's branch, as last read."""
    if agent.parent_id is not None or agent.repository.tracker != GITHUB:
        return None
    return public_changes.change_of_branch(agent.repository_id, agent.branch)


def evidence(run: ExecutionView | None) -> list[Evidence]:
    """What the acceptance commands of a run said."""
    checks = run.result.checks if run is not None else ()
    return [Evidence(command=c.command, passed=c.passed, seconds=c.seconds, tail=c.tail) for c in checks]


def page(agent: Agent) -> str:
    """Address of an agent's page; empty where people cannot reach it."""
    root = conf().public_url
    return f"{root}/admin/coordinator/agent/{agent.pk}/change/" if root else ""


def _status(agent: Agent) -> Write:
    now = timezone.now()
    runs = grid.find_executions(subjects=[agent.subject], limit=pull_requests.MAX_RUNS)
    last = runs[0] if runs else None
    change = change_of(agent)
    executions, wall_seconds = _used(agent)
    is_moving = AgentState(agent.state) in MOVING
    facts = Status(
        state=agent.state,
        attempt=last.attempt if last else 1,
        attempts=briefing.max_attempts(agent),
        reason=_reason(agent) if agent.state in ATTENTION or agent.state == AgentState.ABANDONED else "",
        summary="" if is_moving else _summary(agent),
        branch=agent.branch,
        head=agent.head,
        change=change.ref.key if change is not None else "",
        is_draft=change is not None and change.is_draft,
        parts=_parts(agent),
        said=_said(agent),
        evidence=[] if is_moving else evidence(last),
        runs=[Run(id=str(r.id), mode=r.mode, state=r.state, seconds=round(r.wall_seconds)) for r in runs],
        executions=executions,
        wall_seconds=wall_seconds,
        cost=_cost(agent),
        needs=needs(agent),
        policy_error=_policy_error(agent),
        url=page(agent),
    )
    data = {
        "state": agent.state,
        "attempt": facts.attempt,
        "execution": str(last.id) if last else "",
        "branch": agent.branch,
        "head": agent.head,
        "change": facts.change,
        "seq": round(now.timestamp() * 1000),
    }
    return Write(
        key=f"status:{agent.pk}:{agent.executions}:{agent.state}:{now.timestamp():.6f}",
        kind=WriteKind.UPSERT_COMMENT,
        payload={"ref": agent.issue.key, "slot": SLOT, "data": data, "markdown": pull_requests.status(facts)},
        coalesce=f"status:{agent.issue_id}",
        not_before=_next_edit(agent.issue_id) if is_moving else None,
    )


def _next_edit(issue_id: int) -> datetime | None:
    """When the status comment may be edited again; None when there is none yet."""
    edits = [said.edited_at or said.created_at for said in tracker.comments(issue_id) if said.slot == SLOT]
    return max(edits) + BETWEEN_EDITS if edits else None


def _notice(agent: Agent, slot: str, markdown: str) -> Write:
    return Write(
        key=f"notice:{agent.pk}:{slot}",
        kind=WriteKind.UPSERT_COMMENT,
        payload={"ref": agent.issue.key, "slot": slot, "data": {}, "markdown": markdown},
    )


def _reason(agent: Agent) -> str:
    return agent.blocked_reason


def _summary(agent: Agent) -> str:
    # A question of the agent is both its summary and the reason why it waits.
    return "" if agent.summary == agent.blocked_reason else agent.summary


def _parts(agent: Agent) -> list[Part]:
    children = tree.children_of(agent).all
    issues = tracker.get_issues(child.issue_id for child in children)
    return [
        Part(key=issues[child.issue_id].ref.key, title=issues[child.issue_id].title, state=child.state)
        for child in children
    ]


def _said(agent: Agent) -> list[Said]:
    rows = remarks.told(agent.execution_id) if agent.execution_id is not None else []
    return [
        Said(author=row.author, place=f"{row.path}:{row.line}" if row.path and row.line else row.path) for row in rows
    ]


def _used(agent: Agent) -> tuple[int, int]:
    """Executions and seconds: of a root those of its whole tree."""
    scope = agent.envelope.parent_id if agent.parent_id is None else agent.envelope_id
    row = Envelope.objects.filter(pk=scope).first() if scope is not None else None
    return (row.executions_spent, row.wall_spent_seconds) if row is not None else (0, 0)


def _cost(agent: Agent) -> str:
    """What models cost so far, in words: of a root those of its whole tree."""
    rows = Agent.objects.filter(Q(pk=agent.pk) | Q(root_id=agent.pk)) if agent.parent_id is None else [agent]
    found = costs.of_agents(rows)
    return money_words.cost(costs.total(found.values())) if found else ""


def _policy_error(agent: Agent) -> str:
    """What is wrong with the policy file; told on the issue of a root, whose people can put it right."""
    return repositories.policy_error(agent.repository_id) if agent.parent_id is None else ""


def _comment(agent: Agent, run: ExecutionView) -> Write:
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
        payload={"ref": agent.issue.key, "slot": SLOT, "data": data, "markdown": _short(agent, run)},
        coalesce=f"status:{agent.issue_id}",
    )


def _short(agent: Agent, run: ExecutionView) -> str:
    """Markdown for people: state, attempt, branch, evidence."""
    lines = [f"**Agent: {agent.state}** - attempt {run.attempt} - execution `{str(run.id)[:8]}`", ""]
    if agent.blocked_reason:
        lines += [_quoted(agent.blocked_reason), ""]
    if agent.summary:
        lines += [_quoted(agent.summary[:4000]), ""]
    if run.result.head:
        lines += [f"Branch `{agent.branch}`, commit `{run.result.head[:12]}`.", ""]
    for check in run.result.checks:
        lines += _check_lines(check)
    return "\n".join(lines).rstrip() + "\n"


def _check_lines(check: Check) -> list[str]:
    verdict = "passed" if check.passed else "failed"
    head = f"- acceptance {verdict} in {check.seconds:.1f} s: `{check.command.replace('`', chr(39))[:200]}`"
    if check.passed or not check.tail:
        return [head]
    return [head, "", *(f"      {line}" for line in check.tail[-TAIL_CHARS:].splitlines()), ""]


def _quoted(text: str) -> str:
    """An agent's words as a quotation, so that they cannot pass for ours."""
    return "\n".join(f"> {line}" for line in text.splitlines())
