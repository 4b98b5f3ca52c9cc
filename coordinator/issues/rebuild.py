"""Agents made again from a mirrored board, after the database was lost.

The tracker keeps what people see: labels, structure, and one signed status comment for each issue. Leases, budgets and
logs are gone; what ran is lost and starts again. What exists already is left alone, so this may run at any time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from coordinator import lifecycle, wake
from coordinator.agents import approvals, integration, roster, tree
from coordinator.care import repositories
from coordinator.launching import dispatch
from coordinator.models import Agent
from coordinator.public_types import ATTENTION, AgentState, Source
from coordinator.rules import authority
from grid import public_code as grid_code
from grid.public_errors import GridError
from tracker import public_sync
from tracker.public_sync import BoardIssue
from tracker.public_types import AgentState as Shown

log = logging.getLogger(__name__)
_MAX_ATTEMPT = 100
_REASON = "made again from the tracker"
_WHY = "see its status comment for the reason"
_APPROVE = "label it agent:ready, or comment /agent run"
_UNKNOWN = "unknown"
"""No text has this digest."""
_SHOWN_AS = {
    Shown.READY: AgentState.NEW,
    Shown.RUNNING: AgentState.NEW,
    Shown.WAITING: AgentState.WAITING,
    Shown.REVIEW: AgentState.REVIEW,
    Shown.BLOCKED: AgentState.BLOCKED,
    Shown.FAILED: AgentState.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was made."""

    made: Mapping[str, int]
    """How many agents by state."""
    nudged: int
    """Of those, how many start again."""
    unclaimed: tuple[str, ...]
    """Keys of issues with a state label that nobody can show to be ours: a person's wish, or a forgery."""


def agents(repository_id: int) -> Rebuilt:
    """Make the agents that a repository's board shows. Asks the tracker who put on labels that no comment explains.

    Raises:
        TrackerError: The tracker did not answer; what was made stays, and calling again goes on.
    """
    repositories.refresh(repository_id)
    board = public_sync.board(repository_id)
    changes = public_sync.branches_of_changes(repository_id)
    made: list[Agent] = []
    unclaimed = []
    taken = set(Agent.objects.filter(repository_id=repository_id).values_list("issue_id", flat=True))
    for issue in board:
        if issue.issue_id in taken:
            continue
        state = state_of(issue, has_parent=issue.parent_id in taken)
        if state is not None and not is_proven(issue, has_parent=issue.parent_id in taken):
            deed = public_sync.evidence(repository_id, issue.key).labels.get(f"agent:{issue.state}")
            is_ours = deed is not None and deed.is_on and public_sync.is_us(repository_id, deed.by.login)
            state = state if is_ours else None
        if state is None:
            unclaimed += [issue.key] if issue.is_open and issue.state else []
            continue
        head = _head(repository_id, issue)
        agent = _make(issue, repository_id=repository_id, state=state, changes=changes, head=head)
        taken.add(issue.issue_id)
        made += [agent] if agent is not None else []
    nudged = [agent for agent in made if agent.state == AgentState.NEW]
    for agent in nudged:
        dispatch.nudge(agent.pk, source=Source.SWEEP, reason=f"{_REASON}; whatever ran is lost")
    counts = Counter(str(agent.state) for agent in made)
    log.info("board rebuilt", extra={"action": "rebuild", "repository": repository_id, "agents": dict(counts)})
    return Rebuilt(made=dict(sorted(counts.items())), nudged=len(nudged), unclaimed=tuple(unclaimed))


def state_of(issue: BoardIssue, *, has_parent: bool) -> AgentState | None:
    """The state that an issue's agent was in; None when it had none, or is a person's wish that nobody answered yet."""
    is_part = issue.is_ours and has_parent
    if not issue.is_open:
        if not issue.status and not is_part:
            return None
        is_done = issue.is_completed and issue.status.get("state") != AgentState.ABANDONED
        return AgentState.DONE if is_done else AgentState.ABANDONED
    if issue.state == Shown.NONE:
        if issue.status:
            return AgentState.ABANDONED  # somebody took the label off: that is how people cancel
        return AgentState.NEW if is_part else None
    if issue.state == Shown.READY and not issue.status and not is_part:
        return None
    return _SHOWN_AS[issue.state]


def is_proven(issue: BoardIssue, *, has_parent: bool) -> bool:
    """Whether a signature of ours says that the agent is ours; anybody who may triage can put a label on."""
    return bool(issue.status) or (issue.is_ours and has_parent)


def _make(
    issue: BoardIssue, *, repository_id: int, state: AgentState, changes: Mapping[str, str], head: str
) -> Agent | None:
    parent = Agent.objects.filter(issue_id=issue.parent_id).first() if issue.parent_id else None
    with transaction.atomic():
        agent = roster.take_on(issue_id=issue.issue_id, repository_id=repository_id, parent=parent)
        if parent is None and agent.envelope.parent is not None:
            limits = repositories.effective_policy(repositories.policy_of(repository_id))
            repositories.cap_tree(agent.envelope.parent, limits)
        branch, why = _branch(issue.status, agent.branch), _WHY
        if state == AgentState.REVIEW and branch not in changes:
            state, why = AgentState.BLOCKED, f"it was in review, but there is no pull request of {branch}"
        if not _approve(agent, issue) and state == AgentState.NEW:
            state, why = AgentState.BLOCKED, f"its author may not steer, and who approved its text is lost: {_APPROVE}"
        found: dict[str, Any] = {"branch": branch, "attempts": _attempts(issue.status, state), "head": head}
        lifecycle.change(agent, event="agent.found-again", only_if={"state": AgentState.NEW}, **found)
        agent.refresh_from_db()
        if state == AgentState.NEW:
            return agent
        if not lifecycle.move(agent, old=[AgentState.NEW], new=AgentState.QUEUED, reason=_REASON):
            return None  # somebody was faster
        fields: dict[str, Any] = {"blocked_reason": f"{_REASON}; {why}"[:1000]} if state in ATTENTION else {}
        if state == AgentState.WAITING:
            fields["resume_due_at"] = timezone.now()
        lifecycle.move(agent, new=state, reason=_REASON, fields=fields)
        if state == AgentState.BLOCKED and issue.state != Shown.BLOCKED:
            tree.show_state(agent)
            wake.drain_outbox(repository_id)
    return agent


def _approve(agent: Agent, issue: BoardIssue) -> bool:
    """Approve the text where its author may do so, or it is ours: nobody who may less can have edited it since.

    Returns:
        False when it has to be approved again; until then it reaches no agent.
    """
    if issue.is_ours or issue.author_trust in authority.MAY_STEER:
        approvals.approve_present(agent, by=_REASON, at=timezone.now())
        return True
    lifecycle.change(agent, event="agent.unapproved", approved_sha=_UNKNOWN)
    return False


def _branch(status: Mapping[str, Any], default: str) -> str:
    name = status.get("branch")
    return name if isinstance(name, str) and name.startswith("agent/") and len(name) <= 250 else default


def _attempts(status: Mapping[str, Any], state: AgentState) -> int:
    """Failed runs so far; the one that was under way is lost and does not count."""
    attempt = status.get("attempt")
    if not isinstance(attempt, int) or isinstance(attempt, bool) or not 0 < attempt <= _MAX_ATTEMPT:
        return 0
    return attempt if state == AgentState.FAILED else attempt - 1


def _head(repository_id: int, issue: BoardIssue) -> str:
    """Where its branch stands: in our store if that is left, else as it was pushed; empty when there was no work.

    A store that was left may be another repository's, whose number ours has now: its word counts where it says the same
    as the status comment.
    """
    branch = _branch(issue.status, "")
    if not branch or not issue.is_open:
        return ""
    store = integration.store_key(repository_id)
    try:
        door = integration.access(repository_id)
        left = grid_code.branch_head(repository=store, branch=branch)
        if left and left == issue.status.get("head"):
            return left
        return grid_code.remote_head(repository=store, source=door.source, branch=branch, credential=door.credential)
    except GridError as error:
        log.warning("branch not found again", extra={"action": "rebuild", "row": branch, "error": str(error)[:300]})
        return ""
