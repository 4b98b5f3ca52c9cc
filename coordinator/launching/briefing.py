"""What an agent's next run is: commit to start from, limits, agent, prompt. Reads rows; decides and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from coordinator.agents import approvals, integration, remarks
from coordinator.agents.tree import Children
from coordinator.care import asking, profiles, prompt_library, repositories
from coordinator.care.profiles import Standing
from coordinator.contention import conflict_rows, conflict_words, neighbours
from coordinator.documents import prompts
from coordinator.documents.policy import EffectivePolicy
from coordinator.documents.prompt_context import Told
from coordinator.documents.prompts import Budget, Conflict, FailedCheck, Failure, Parent, PromptContext
from coordinator.models import Agent, Envelope, Feedback, RepositoryPolicy
from coordinator.public_types import ENDED
from coordinator.rules import budget_rules, plan_origins
from coordinator.rules import capability as capabilities
from coordinator.talk.inbox import Inbox
from grid import public_agents as grid_agents
from grid import public_api as grid
from grid.public_errors import GridError
from grid.public_types import CONTINUED, ExecutionView, LaunchSpec, Mode, State, Work
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
    standing: Standing
    """Its profile, capability, adapter and model."""
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
    found = profiles.standing(agent, policy)
    acceptance = tuple(dict.fromkeys([*policy.acceptance, *plan_origins.checks(agent.spec)]))
    above = agent.parent
    inherited = (above.head or above.base) if above is not None else ""
    commands = 2 * len(policy.setup) + len(acceptance)
    return RunPlan(
        policy=policy,
        base=agent.head or inherited or (row.head if row is not None else ""),
        wall_seconds=found.limits.wall_seconds + commands * policy.verify_wall_seconds + OVERHEAD_SECONDS,
        standing=found,
        acceptance=acceptance,
        error=_error(found),
        fetch_error=row.error if row is not None else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefed:
    """What the grid is to run, and what is to be told about it."""

    spec: LaunchSpec
    notes: tuple[str, ...]
    """What was wished for and could not be used: a profile, a template."""


def brief(
    agent: Agent,
    *,
    plan: RunPlan,
    mode: Mode,
    children: Children,
    path: list[Envelope],
    said: Sequence[Feedback] = (),
    told: Inbox | None = None,
) -> Briefed:
    """Everything the grid needs to run an agent once; the agent comes with its parent, repository and last execution."""
    last = grid.get_execution(agent.execution_id) if agent.execution_id else None
    context = _context(agent, plan=plan, children=children, path=path, said=said, told=told, last=last)
    found = plan.standing
    prompt = prompt_library.fill(mode, context, name=found.frozen.get("prompt", ""), tree_id=agent.tree_id)
    spec = LaunchSpec(
        subject=agent.subject,
        root=agent.root_key,
        mode=mode,
        agent=found.agent,
        work=Work(
            repository=integration.key(agent), source=agent.repository.source, branch=agent.branch, base=plan.base
        ),
        prompt=prompt.text,
        limits=found.limits,
        verify_limits=plan.policy.verify_limits,
        setup=plan.policy.setup,
        acceptance=plan.acceptance,
        profile={**found.frozen, "prompt_from": prompt.template.provenance},
        capability=capabilities.as_json(found.capability),
        sandbox=found.frozen.get("sandbox", ""),
        priority=agent.priority,
        attempt=agent.attempts + 1,
        crashes=agent.crashes,
        continues=_continued(last, mode=mode, adapter=found.agent.adapter),
    )
    return Briefed(spec=spec, notes=(*found.notes, *prompt.problems))


def limits_of(agent: Agent) -> EffectivePolicy:
    """The policy that holds for an agent, with what its capability leaves of it."""
    policy = repositories.effective_policy(repositories.policy_of(agent.repository_id))
    held = profiles.capability_of(agent)
    children = held.children if capabilities.may_split(held) else 0
    depth = agent.depth + held.depth
    lower = [name for name, limit in (("children", children), ("depth", depth)) if limit < getattr(policy, name)]
    return replace(
        policy,
        children=min(policy.children, children),
        depth=min(policy.depth, depth),
        origin={**policy.origin, **dict.fromkeys(lower, "capability")},
    )


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
    told: Inbox | None,
    last: ExecutionView | None,
) -> PromptContext:
    policy, held = plan.policy, plan.standing.capability
    most = min(policy.children, held.children)
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
        may_split=agent.depth < policy.depth and children.total < most and capabilities.may_split(held),
        max_children=max(0, most - children.total),
        depth=agent.depth,
        wall_seconds=plan.standing.limits.wall_seconds,
        cwd=str(agent.spec.get("cwd", "")),
        comments=approvals.comments_in_prompt(agent, tracker.comments(agent.issue_id), outsiders=policy.outsiders),
        acceptance=plan.acceptance,
        parent=_parent(agent),
        blockers=_blockers(agent),
        children=_children(children),
        last_failure=_failure(agent, last),
        conflict=Conflict(paths=tuple(agent.conflict["paths"]), commit=agent.conflict["commit"])
        if "paths" in agent.conflict
        else None,
        disputes=conflict_words.in_prompt(conflict_rows.to_decide(agent)) if children.total else (),
        remarks=remarks.in_prompt(said),
        messages=(
            *(told.told if told is not None else ()),
            *_neighbours(agent, policy),
            *(
                Told(sender=f"{one.path}, your sub-issue", text=one.text)
                for one in (asking.of_children(agent) if children.total else ())
            ),
        ),
        budget=Budget(
            **{name: budget_rules.left(path, name) for name in ("executions", "wall_seconds", "usd_micros", "tokens")}
        ),
    )


def _neighbours(agent: Agent, policy: EffectivePolicy) -> list[Told]:
    """Who works on the files that it declared, where the repository wants agents to be told instead of waiting."""
    words = neighbours.to_tell(agent, policy)
    text = f"These agents work on files that you are to change: {words}. Ask for locks, and expect to merge."
    return [Told(sender="the grid", text=text)] if words else []


def _continued(last: ExecutionView | None, *, mode: Mode, adapter: str) -> str:
    """The execution whose conversation the next run takes up: one that ended in the middle of the same kind of work.

    After a loss it is the conversation that the lost run took up, if any: its own tells of files that are gone.
    """
    if last is None or last.mode != mode or last.agent != adapter:
        return ""
    if last.state in CONTINUED:
        return str(last.id)
    return last.continues if last.state == State.LOST else ""


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


def _error(found: Standing) -> str:
    try:
        grid_agents.check_agent(found.agent, profile=found.frozen)
    except GridError as error:
        return str(error)
    return ""
