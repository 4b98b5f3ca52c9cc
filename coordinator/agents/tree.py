"""Reads across the agent tree, and the state an issue shows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.utils import timezone

from coordinator.models import Agent
from coordinator.public_types import ATTENTION, ENDED, AgentState
from grid.public_sql import Prepared, given
from tracker import public_sync
from tracker import public_writes as tracker_writes
from tracker.public_types import AgentState as Shown
from tracker.public_types import Write, WriteKind

_CHILDREN = Prepared(
    lambda: (
        Agent.objects.filter(parent=given("agent"))
        .order_by()  # sorted by whoever asks: most have none
        .values_list("id", "issue_id", "state", "summary", "branch", "head", "attempts", "blocked_reason")
    )
)
SHOWN = {
    AgentState.NEW: Shown.READY,
    AgentState.QUEUED: Shown.RUNNING,
    AgentState.RUNNING: Shown.RUNNING,
    AgentState.WAITING: Shown.WAITING,
    AgentState.REVIEW: Shown.REVIEW,
    AgentState.BLOCKED: Shown.BLOCKED,
    AgentState.FAILED: Shown.FAILED,
    AgentState.DONE: Shown.NONE,
    AgentState.ABANDONED: Shown.NONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a parent sees of one child."""

    id: int
    issue_id: int
    state: AgentState
    summary: str
    branch: str
    head: str
    attempts: int
    blocked_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """A parent's children."""

    all: tuple[Child, ...]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.all)

    @property
    def stuck(self) -> int:
        """How many wait for a person."""
        return sum(child.state in ATTENTION for child in self.all)

    @property
    def moving(self) -> int:
        """How many may still get somewhere by themselves."""
        return sum(child.state not in ENDED and child.state not in ATTENTION for child in self.all)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a child's state or work does; empty without children."""
        if not self.all:
            return ""
        text = ",".join(f"{child.id}:{child.state}:{child.head}:{child.attempts}" for child in self.all)
        return hashlib.sha256(text.encode()).hexdigest()


def children_of(agent: Agent) -> Children:
    """The children in their order, in one query."""
    return Children(
        all=tuple(
            Child(
                id=pk,
                issue_id=issue_id,
                state=AgentState(state),
                summary=summary,
                branch=branch,
                head=head,
                attempts=attempts,
                blocked_reason=reason,
            )
            for pk, issue_id, state, summary, branch, head, attempts, reason in sorted(_CHILDREN.rows(agent=agent.pk))
        )
    )


def open_descendants(tree_id: int) -> int:
    """How many agents below a root have not ended."""
    return Agent.objects.filter(root_id=tree_id).exclude(state__in=[str(state) for state in ENDED]).count()


def subtree_ids(agent: Agent) -> list[int]:
    """The agent and everything below it, parents first."""
    found, level = [agent.pk], [agent.pk]
    while level:
        level = list(Agent.objects.filter(parent_id__in=level).order_by("pk").values_list("pk", flat=True))
        found += level
    return found


def show_state(agent: Agent) -> None:
    """Wish for the label that tells people where the issue stands; later wishes replace unstarted ones.

    Nobody is woken for it: the next drain or sweep carries it out, and a short run needs no label at all.
    """
    write(
        agent,
        Write(
            # The time makes the key new for each move of the agent, so that a label may come back.
            key=f"{state_writes(agent)}{timezone.now().timestamp():.6f}:{agent.state}",
            kind=WriteKind.SET_STATE,
            payload={"ref": agent.issue.key, "state": str(SHOWN[AgentState(agent.state)])},
            coalesce=label_of(agent),
        ),
    )


def state_writes(agent: Agent) -> str:
    """How the keys of the writes of an agent's states begin; they end in the state."""
    return f"agent:{agent.pk}:state:"


def assign_machine_user(agent: Agent) -> None:
    """Wish that people see in the list of assignees who is at it, where GitHub has a user for us to assign."""
    login = public_sync.machine_user()
    if login and agent.repository.tracker == "github":
        payload = {"ref": agent.issue.key, "actor": login}
        write(agent, Write(key=f"assign:{agent.pk}:{login}"[:200], kind=WriteKind.ASSIGN, payload=payload))


def label_of(agent: Agent) -> str:
    """What the writes to an issue's state label have in common; closing an issue takes the label off as well."""
    return f"state:{agent.issue_id}"


def write(agent: Agent, *writes: Write) -> None:
    """Wish for tracker writes in the caller's transaction; whoever does not drain afterwards wakes somebody who does."""
    if writes:
        tracker_writes.wish(agent.repository_id, writes)
