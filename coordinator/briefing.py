"""What an agent's next run is: commit to start from, limits, agent, prompt. Reads rows; decides and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coordinator import approvals, integration, prompts, remarks, repositories
from coordinator.models import Agent, Envelope, Feedback, RepositoryPolicy
from coordinator.policy import EffectivePolicy
from coordinator.prompts import Budget, Conflict, FailedCheck, Failure, Parent, PromptContext
from coordinator.public_types import ENDED
from coordinator.tree import Children
from grid import public_api as grid
from grid.public_errors import GridError
from grid.public_types import AgentSpec, ExecutionView, LaunchSpec, Mode, State, Work
from tracker import public_api as tracker

OVERHEAD_SECONDS = 60
"""Of a run beyond its limits: workspace, stop ladder, taking the work out."""
FAILURES = frozenset({State.FAILED, State.TIMED_OUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The next run as far as it does not depend on the mode."""

    policy: EffectivePolicy
    base: str
    """Commit to start from; empty when there is none yet."""
    wall_seconds: int
    """What is reserved: every phase at its limit."""
    agent: AgentSpec
    acceptance: tuple[str, ...]
    error: str
    """Why the agent cannot be run at all, or empty."""
    fetch_error: str

    @property
    def max_depth(self) -> int:
        """Of the deepest agent."""
        return self.policy.depth


def plan_for(agent: Agent, row: RepositoryPolicy | None) -> RunPlan:
    """Plan an agent's next run; the agent comes with its parent."""
    policy = repositories.effective_policy(row)
    spec = AgentSpec(
        adapter=str(agent.spec.get("adapter") or policy.adapter),
        options=agent.spec["options"] if agent.spec.get("adapter") else policy.options,
    )
    acceptance = tuple(dict.fromkeys([*policy.acceptance, *agent.spec.get("acceptance", [])]))
    above = agent.parent
    inherited = (above.head or above.base) if above is not None else ""
    commands = 2 * len(policy.setup) + len(acceptance)
    return RunPlan(
        policy=policy,
        base=agent.head or inherited or (row.head if row is not None else ""),
        wall_seconds=policy.wall_seconds + commands * policy.verify_wall_seconds + OVERHEAD_SECONDS,
        agent=spec,
        acceptance=acceptance,
        error=_error(spec),
        fetch_error=row.error if row is not None else "",
    )


def launch_spec(
    agent: Agent,
    *,
    plan: RunPlan,
    mode: Mode,
    children: Children,
    path: list[Envelope],
    said: Sequence[Feedback] = (),
) -> LaunchSpec:
    """Everything the grid needs to run an agent once; the agent comes with its parent, repository and last execution."""
    context = _context(agent, plan=plan, children=children, path=path, said=said)
    return LaunchSpec(
        subject=agent.subject,
        root=agent.root_key,
        mode=mode,
        agent=plan.agent,
        work=Work(
            repository=integration.key(agent), source=agent.repository.source, branch=agent.branch, base=plan.base
        ),
        prompt=prompts.render(mode, context),
        limits=plan.policy.run_limits,
        verify_limits=plan.policy.verify_limits,
        setup=plan.policy.setup,
        acceptance=plan.acceptance,
        priority=agent.priority,
        attempt=agent.attempts + 1,
        crashes=agent.crashes,
    )


def limits_of(agent: Agent) -> EffectivePolicy:
    """The policy that holds for an agent."""
    return repositories.effective_policy(repositories.policy_of(agent.repository_id))


def max_attempts(agent: Agent) -> int:
    """How many runs may fail before a person is asked."""
    return limits_of(agent).attempts


def _context(
    agent: Agent,
    *,
    plan: RunPlan,
    children: Children,
    path: list[Envelope],
    said: Sequence[Feedback],
) -> PromptContext:
    policy = plan.policy
    last = grid.get_execution(agent.execution_id) if agent.execution_id else None
    tree = path[-2]
    return PromptContext(
        # The texts of the row that the approval was looked at with: it may follow the tracker at any moment.
        key=agent.issue.key,
        title=agent.issue.title,
        body=agent.issue.body,
        scope=agent.repository.scope,
        branch=agent.branch,
        base=agent.base or plan.base,
        attempt=agent.attempts + 1,
        max_attempts=policy.attempts,
        may_split=agent.depth < policy.depth and children.total < policy.children,
        max_children=max(0, policy.children - children.total),
        depth=agent.depth,
        wall_seconds=policy.wall_seconds,
        comments=approvals.comments_in_prompt(agent, tracker.comments(agent.issue_id), outsiders=policy.outsiders),
        acceptance=plan.acceptance,
        parent=_parent(agent),
        blockers=_blockers(agent),
        children=_children(children),
        last_failure=_failure(agent, last),
        conflict=Conflict(paths=tuple(agent.conflict["paths"]), commit=agent.conflict["commit"])
        if "paths" in agent.conflict
        else None,
        remarks=remarks.in_prompt(said),
        budget=Budget(
            executions=_left(tree.executions_limit, tree.executions_reserved + tree.executions_spent),
            wall_seconds=_left(tree.wall_limit_seconds, tree.wall_reserved_seconds + tree.wall_spent_seconds),
        ),
    )


def _parent(agent: Agent) -> Parent | None:
    if agent.parent is None:
        return None
    issue = tracker.get_issue(agent.parent.issue_id)
    return Parent(key=issue.ref.key, title=approvals.title_in_prompt(issue, approved_sha=agent.parent.approved_sha))


def _blockers(agent: Agent) -> tuple[prompts.Blocker, ...]:
    ids = tracker.blocker_ids(agent.issue_id)
    if not ids:
        return ()
    rows = Agent.objects.filter(issue_id__in=ids, state__in=sorted(ENDED)).order_by("pk")
    issues = tracker.get_issues(row.issue_id for row in rows)
    return tuple(
        prompts.Blocker(
            key=issues[row.issue_id].ref.key,
            title=approvals.title_in_prompt(issues[row.issue_id], approved_sha=row.approved_sha),
            summary=row.summary,
        )
        for row in rows
    )


def _children(children: Children) -> tuple[prompts.Child, ...]:
    if not children.all:
        return ()
    issues = tracker.get_issues(child.issue_id for child in children.all)
    approved = dict(Agent.objects.filter(pk__in=[child.id for child in children.all]).values_list("pk", "approved_sha"))
    return tuple(
        prompts.Child(
            key=issues[child.issue_id].ref.key,
            title=approvals.title_in_prompt(issues[child.issue_id], approved_sha=approved[child.id]),
            state=child.state,
            summary=child.summary or child.blocked_reason,
            branch=child.branch,
            commit=child.head,
            attempts=child.attempts,
        )
        for child in children.all
    )


def _failure(agent: Agent, last: ExecutionView | None) -> Failure | None:
    """What went wrong before, and is still to be minded."""
    refused = str(agent.conflict.get("refused", ""))
    if last is None or last.state not in FAILURES or not agent.attempts:
        return Failure(reason=refused) if refused else None
    checks: list[Any] = [check for check in last.result.checks if not check.passed]
    reason = last.result.reason or str(last.state)
    return Failure(
        reason=f"{reason}. Before that, {refused}" if refused else reason,
        checks=tuple(FailedCheck(command=check.command, tail=check.tail) for check in checks),
    )


def _error(spec: AgentSpec) -> str:
    try:
        grid.check_agent(spec)
    except GridError as error:
        return str(error)
    return ""


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)
