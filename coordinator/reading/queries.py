"""Reads for commands, pages and API, as frozen values. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from coordinator.models import Agent, Envelope, Nudge
from coordinator.money import budgets, costs
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import (
    ATTENTION,
    ENDED,
    AgentState,
    AgentView,
    Cost,
    EnvelopeView,
    NudgeView,
    ScopeKind,
    Source,
)
from coordinator.rules import answers, budget_rules
from grid import public_api as grid
from grid.public_types import ExecutionView
from tracker import public_api as tracker


def agents(rows: Iterable[Agent]) -> list[AgentView]:
    """Freeze rows that come with their envelope, repository and execution; a constant number of queries."""
    rows = list(rows)
    issues = tracker.get_issues([row.issue_id for row in rows])
    paused = budgets.paused_by(row.envelope for row in rows)
    facts = tracker.facts([row.issue_id for row in rows])
    return [
        AgentView(
            id=row.pk,
            path=row.path,
            depth=row.depth,
            parent_id=row.parent_id,
            root_id=row.tree_id,
            issue_id=row.issue_id,
            issue=str(issues[row.issue_id].ref),
            title=issues[row.issue_id].title,
            repository_id=row.repository_id,
            state=AgentState(row.state),
            is_held=facts[row.issue_id].held,
            paused_by="" if row.state in ENDED else paused.get(row.envelope_id, ""),
            attempts=row.attempts,
            crashes=row.crashes,
            executions=row.executions,
            branch=row.branch,
            head=row.head,
            summary=row.summary,
            blocked_reason=row.blocked_reason,
            decision=decision(row.decision),
            not_before=row.not_before,
            execution_id=row.execution_id,
            adapter=row.execution.agent if row.execution else str(row.spec.get("adapter", "")),
            created_at=row.created_at,
            updated_at=row.updated_at,
            ended_at=row.ended_at,
            run_state=row.execution.state if row.execution else "",
            is_applied=row.is_applied,
        )
        for row in rows
    ]


def complete_rows() -> QuerySet[Agent]:
    """Agents with the rows that `agents` reads beside theirs; to be narrowed down."""
    return Agent.objects.select_related("envelope", "repository", "execution", "parent")


def get(agent_id: int) -> AgentView:
    """One agent. Raises AgentNotFoundError."""
    found = agents(complete_rows().filter(pk=agent_id))
    if not found:
        raise AgentNotFoundError(f"no agent {agent_id}")
    return found[0]


def row_of(agent_id: int) -> Agent:
    """The row of an agent. Raises AgentNotFoundError."""
    row = Agent.objects.filter(pk=agent_id).first()
    if row is None:
        raise AgentNotFoundError(f"no agent {agent_id}")
    return row


def find(name: str) -> AgentView:
    """The agent that people mean: `12`, `#12`, `local/app#12`, `app#12`, a path `12.1`, or the start of an execution's id.

    Raises:
        AgentNotFoundError: None or several fit; the message says how to name one.
    """
    scope, _, key = name.strip().rpartition("#")
    rows = complete_rows().filter(Q(issue__key=key or name) | Q(path=key or name, parent__isnull=False))
    if scope:
        rows = rows.filter(repository__scope__endswith=scope)
    found = list(rows[:20])
    if not found:
        run = grid.find_by_prefix(name.strip())
        found = list(complete_rows().filter(pk=_agent_of(run))) if run else []
    if not found:
        raise AgentNotFoundError(f"no agent for {name!r}; `status` lists the issues under care")
    if len(found) > 1:
        names = ", ".join(f"{row.repository.scope}#{key}" for row in found)
        raise AgentNotFoundError(f"{name!r} could be any of {names}; give the repository as well")
    return agents(found)[0]


def tree(root_id: int) -> list[AgentView]:
    """A whole tree in depth-first order, children in the order they were made."""
    views = [*agents(complete_rows().filter(root_id=root_id).order_by("pk")), get(root_id)]
    below: dict[int | None, list[AgentView]] = {}
    for view in views:
        below.setdefault(view.parent_id, []).append(view)
    ordered: list[AgentView] = []
    todo = [view for view in views if view.id == root_id]
    while todo:
        view = todo.pop()
        ordered.append(view)
        todo += reversed(below.get(view.id, []))
    return ordered


def needing_attention(*, limit: int = 50) -> list[AgentView]:
    """Agents that wait for a person, the longest first."""
    return agents(complete_rows().filter(state__in=sorted(ATTENTION)).order_by("updated_at")[:limit])


def under_way(*, limit: int = 50) -> list[AgentView]:
    """Agents that have not ended and wait for nobody, the latest first."""
    ended = sorted({*ENDED, *ATTENTION})
    return agents(complete_rows().exclude(state__in=ended).order_by("-updated_at")[:limit])


def recent(*, limit: int = 20) -> list[AgentView]:
    """Agents that ended last."""
    return agents(complete_rows().filter(state__in=sorted(ENDED)).order_by("-ended_at")[:limit])


def executions_of(agent_id: int, *, limit: int = 50) -> list[ExecutionView]:
    """An agent's runs, newest first."""
    agent = Agent.objects.filter(pk=agent_id).first()
    return grid.find_executions(subjects=[agent.subject], limit=limit) if agent else []


def executions_by_agent(views: Iterable[AgentView]) -> dict[int, list[ExecutionView]]:
    """The runs of several agents, newest first, in one query."""
    ids = {f"issue:{view.issue_id}": view.id for view in views}
    found: dict[int, list[ExecutionView]] = {}
    for run in grid.find_executions(subjects=list(ids), limit=5000):
        found.setdefault(ids[run.subject], []).append(run)
    return found


def nudges_of(agent_id: int, *, limit: int = 20) -> list[NudgeView]:
    """An agent's nudges with their answers, newest first."""
    return [
        NudgeView(
            id=row.pk,
            agent_id=row.agent_id,
            source=Source(row.source),
            reason=row.reason,
            created_at=row.created_at,
            answered_at=row.answered_at,
            decision=decision(row.decision),
            execution_id=row.execution_id,
        )
        for row in Nudge.objects.filter(agent_id=agent_id)[:limit]
    ]


def costs_of(views: Iterable[AgentView]) -> dict[int, Cost]:
    """What the models of these agents cost so far; those of whose models nothing is known are left out."""
    return costs.of_agents(Agent.objects.filter(pk__in=[view.id for view in views]))


total_cost = costs.total
decision = answers.from_stored


def agents_of_streams(streams: Collection[str]) -> dict[str, AgentView]:
    """Whose events these streams (`agent:12`, `execution:<uuid>`) hold, in a constant number of queries."""
    of_agent = {name: int(name.removeprefix("agent:")) for name in streams if name.startswith("agent:")}
    of_run = {name.removeprefix("execution:"): name for name in streams if name.startswith("execution:")}
    runs = grid.find_executions(ids=[UUID(text) for text in of_run]) if of_run else []
    issues = {of_run[str(run.id)]: int(run.subject.removeprefix("issue:")) for run in runs}
    views = agents(complete_rows().filter(Q(pk__in=of_agent.values()) | Q(issue_id__in=issues.values())))
    by_id, by_issue = {view.id: view for view in views}, {view.issue_id: view for view in views}
    found = {name: by_id.get(pk) for name, pk in of_agent.items()}
    found |= {name: by_issue.get(issue) for name, issue in issues.items()}
    return {name: view for name, view in found.items() if view is not None}


def envelopes() -> list[EnvelopeView]:
    """Every scope but agents and past days, the agents under way that are warned, and what is paused; the fleet first."""
    shown = ~Q(kind__in=[ScopeKind.AGENT, ScopeKind.DAY]) | Q(paused_at__isnull=False)
    shown |= Q(kind=ScopeKind.DAY, key__endswith=timezone.now().date().isoformat())
    shown |= Q(kind=ScopeKind.AGENT, warned_at__isnull=False) & ~Q(agent__state__in=[str(one) for one in ENDED])
    return [budgets.view(row) for row in Envelope.objects.filter(shown).order_by("pk")]


def scope_names(views: Collection[EnvelopeView]) -> dict[str, str]:
    """What people call these scopes, by key: `the fleet`, `local/app`, `tree of local/app#12`, `local/app#13`."""
    numbers = {
        view.key: int(view.key.rpartition(":")[2])
        for view in views
        if view.kind not in (ScopeKind.FLEET, ScopeKind.DAY) and view.key.rpartition(":")[2].isdecimal()
    }
    repositories = {row.id: row.scope for row in tracker.list_repositories()}
    owners = dict(Agent.objects.filter(pk__in=set(numbers.values())).values_list("pk", "issue_id"))
    issues = tracker.get_issues(owners.values())
    refs = {pk: str(issues[issue_id].ref) for pk, issue_id in owners.items()}
    names = {budgets.FLEET: "the fleet"}
    for key, number in numbers.items():
        ref = refs.get(number, key)
        by_kind = {"repository": repositories.get(number, key), "tree": f"tree of {ref}"}
        names[key] = by_kind.get(key.partition(":")[0], ref)
    for view in views:
        day = budget_rules.day_of(view.key)
        if day is not None:
            scope = day[0]
            of = "the fleet" if scope == budgets.FLEET else repositories.get(int(scope.rpartition(":")[2]), scope)
            names[view.key] = f"{of} on {day[1].isoformat()}"
    return names


def _agent_of(run: ExecutionView) -> int:
    agent = Agent.objects.filter(issue_id=int(run.subject.removeprefix("issue:"))).first()
    return agent.pk if agent else 0
