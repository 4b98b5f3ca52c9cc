"""What carries a decision about a conflict out, step by step, and when each step is due. Pure.

Everything here ends: no step waits for an agent that does not move by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from coordinator.public_types import ATTENTION, ENDED, AgentState
from coordinator.rules.conflict_rules import APART, Choice, ConflictState, Decision, Kind, Sides

LONG_WAITS = frozenset(
    {
        "agent", "blocked", "blockers", "budget", "capability", "children", "closed", "conflict", "depth", "ended",
        "failed", "footprint", "held", "needs-approval", "no-progress", "off", "paused", "review", "reworks",
    }
)  # fmt: skip
"""Codes of answers to nudges with which an agent does not go on by itself soon."""


class StepName(enum.StrEnum):
    """What is done for a decision, one after the other."""

    BREAK_LOCK = "break-lock"
    """The holder was asked to give it back; after a while it is taken."""
    STOP = "stop"
    """Who goes second is asked to end its run; after a while it is interrupted, its work kept."""
    FREE = "free"
    """An agent that waited may go on."""
    HAND_OVER = "hand-over"
    """The one that merges is given the merge."""
    APPLY = "apply"
    """What the requester has done is tried again, now that somebody has merged it."""
    MERGED = "merged"
    """Nothing; it is over when both have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do, to one agent."""

    name: StepName
    agent: int


def steps(kind: Kind, sides: Sides, decision: Decision) -> tuple[Step, ...]:
    """What carries a decision out, in order. Each is done once, when `is_due` says so."""
    requester, holder = sides.requester, sides.holder
    if decision.choice == Choice.RELEASE:
        return (
            Step(name=StepName.BREAK_LOCK, agent=holder),
            Step(name=StepName.FREE, agent=requester),
        )
    if decision.choice == Choice.SEQUENCE:
        first, second = decision.order
        # The requester waits already; where it goes first, it starts as soon as the holder has stopped.
        begins = (Step(name=StepName.FREE, agent=first),) if first == requester else ()
        return Step(name=StepName.STOP, agent=second), *begins, Step(name=StepName.FREE, agent=second)
    merger = decision.order[0]
    if kind == Kind.MERGE:
        if merger == requester:
            return Step(name=StepName.FREE, agent=requester), Step(name=StepName.MERGED, agent=requester)
        return (
            Step(name=StepName.HAND_OVER, agent=merger),
            Step(name=StepName.APPLY, agent=requester),
            Step(name=StepName.MERGED, agent=requester),
        )
    going_on = Step(name=StepName.FREE, agent=requester)
    if merger in (requester, holder) and decision.choice == Choice.MERGE_PLAN:
        return going_on, Step(name=StepName.APPLY, agent=merger), Step(name=StepName.MERGED, agent=merger)
    return going_on, Step(name=StepName.MERGED, agent=requester)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is known about one agent of a conflict now."""

    state: AgentState
    is_live: bool = False
    """It has a run that has not ended."""
    is_applied: bool = True
    """What its last run left was dealt with."""
    code: str = ""
    """Of the last answer to a nudge, where one waits or was refused; empty when it was admitted."""
    has_merge: bool = False
    """It has a merge of its own to do."""

    @property
    def is_ended(self) -> bool:
        """For good."""
        return self.state in ENDED

    @property
    def is_moving(self) -> bool:
        """Whether it gets somewhere by itself soon: nobody waits for one that does not."""
        if self.is_live or not self.is_applied:
            return True
        return self.state in (AgentState.NEW, AgentState.QUEUED, AgentState.RUNNING) and self.code not in LONG_WAITS

    @property
    def is_free(self) -> bool:
        """No run of it is under way."""
        return not self.is_live and self.is_applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that is asked for before a step is done."""

    now: datetime
    act_at: datetime | None
    """Until when those who were asked have time."""
    default_at: datetime
    is_locked: bool
    """The holder's run still has the lock."""
    agents: Mapping[int, Side]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The conflict is over."""

    state: ConflictState
    reason: str


class Wait(enum.Enum):
    """Nothing is to be done now."""

    WAIT = "wait"


class Overdue(enum.Enum):
    """Nobody has decided in time."""

    OVERDUE = "overdue"


def next_act(
    kind: Kind, sides: Sides, decision: Decision | None, *, done: int, situation: Situation
) -> Step | End | Wait | Overdue:
    """What is to be done about a standing conflict now.

    Args:
        decision: None while it is open.
        done: How many of the decision's steps are done.
    """
    over = _moot(kind, sides, decision, situation)
    if over is not None:
        return over
    if decision is None:
        return Overdue.OVERDUE if situation.now >= situation.default_at else Wait.WAIT
    plan = steps(kind, sides, decision)
    if done >= len(plan):
        return End(state=ConflictState.CARRIED_OUT, reason=f"{decision.choice} was carried out")
    return plan[done] if is_due(plan[done], kind, sides, decision, situation) else Wait.WAIT


def is_due(step: Step, kind: Kind, sides: Sides, decision: Decision, situation: Situation) -> bool:
    """Whether the next step may be done now."""
    side = situation.agents[step.agent]
    is_time = situation.act_at is None or situation.now >= situation.act_at
    match step.name:
        case StepName.BREAK_LOCK:
            return not situation.is_locked or is_time
        case StepName.STOP:
            return is_time or not side.is_live or not situation.agents[decision.order[0]].is_moving
        case StepName.FREE if decision.choice == Choice.SEQUENCE:
            first, second = (situation.agents[agent] for agent in decision.order)
            return not second.is_live if step.agent == decision.order[0] else not first.is_moving
        case StepName.HAND_OVER:
            # One merge at a time: a second one would replace the first.
            return (side.is_free and not side.has_merge) or _cannot(side) or _is_stuck(side)
        case StepName.APPLY if kind == Kind.MERGE:
            merger = situation.agents[decision.order[0]]
            is_parked = side.is_applied or side.is_live
            return is_parked and (_cannot(merger) or (merger.is_free and not merger.has_merge) or _is_stuck(merger))
        case StepName.APPLY:
            return not situation.agents[sides.other(step.agent)].is_moving
        case StepName.MERGED if kind == Kind.MERGE:
            return side.is_ended or (side.is_free and not side.has_merge)
        case StepName.MERGED:
            return all(situation.agents[agent].is_ended for agent in (sides.requester, sides.holder))
    return True


def _cannot(side: Side) -> bool:
    """It waits for a person, or has ended: nobody waits for what it was to merge."""
    return side.is_ended or side.state in ATTENTION


def _is_stuck(side: Side) -> bool:
    """It has a merge to do, and does not come to it soon."""
    return side.has_merge and side.is_free and side.code in LONG_WAITS


def _moot(kind: Kind, sides: Sides, decision: Decision | None, situation: Situation) -> End | None:
    """How a conflict ends because there is nothing left to decide or to carry out."""

    def cancelled(why: str) -> End:
        return End(state=ConflictState.CANCELLED, reason=why)

    requester, holder = situation.agents[sides.requester], situation.agents[sides.holder]
    waits = sides.requester if decision is None or decision.choice == Choice.RELEASE else None
    if decision is not None and decision.choice == Choice.SEQUENCE:
        waits = decision.order[1]
    if waits is not None and situation.agents[waits].is_ended:
        return cancelled(f"agent {waits} is {situation.agents[waits].state} and wants nothing more")
    if kind == Kind.MERGE and requester.is_ended:
        why = f"agent {sides.requester} is {requester.state}"
        is_merged = decision is not None and requester.state == AgentState.DONE
        return End(state=ConflictState.CARRIED_OUT, reason=why) if is_merged else cancelled(why)
    if kind == Kind.MERGE:
        is_stuck = decision is not None and requester.state in ATTENTION and requester.is_free
        why = f"agent {sides.requester} is {requester.state}: its work is not merged"
        return End(state=ConflictState.FAILED, reason=why) if is_stuck else None
    if decision is not None and decision.choice in APART and requester.is_ended and holder.is_ended:
        return End(state=ConflictState.CARRIED_OUT, reason="both have ended")
    if decision is None and holder.is_ended:
        return cancelled(f"agent {sides.holder} is {holder.state} and holds nothing more")
    if decision is None and kind == Kind.LOCK and not situation.is_locked:
        return cancelled("the lock is free")
    return None
