"""Who may steer agents, and what an issue asks for. Pure; `coordinator.issues.steering` looks things up and acts.

Two laws. Whatever starts work needs somebody with write access who did it, and the words that this person saw. Whatever
stops work (a closed issue, a hold, a person who takes over) needs nobody's leave: anyone who could do it may.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.public_types import ATTENTION, ENDED, AgentState
from tracker.public_types import AgentState as Shown
from tracker.public_types import Trust

MAY_STEER = frozenset({Trust.ADMIN, Trust.WRITE})
READY = "agent:ready"
RUNNING = "agent:running"
_AT_WORK = frozenset({AgentState.QUEUED, AgentState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who did something, and what they may do in the repository."""

    login: str
    trust: Trust
    is_bot: bool = False
    """A bot that nobody allowed, our own account included."""

    @property
    def may_steer(self) -> bool:
        """Whether this person's acts start agents and approve texts."""
        return bool(self.login) and not self.is_bot and self.trust in MAY_STEER


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """An issue and its agent as they are now."""

    is_open: bool
    shown: Shown
    """The state label on the issue."""
    is_ours_by_assignment: bool
    """Our machine user is assigned."""
    agent: AgentState | None
    """None: the issue has no agent."""
    is_label_pending: bool = False
    """The label of the agent's state has not been written yet, so the one that is shown may be an old one."""
    is_label_written: bool = False
    """The label of the agent's state has been written; whatever is shown instead, somebody else did it."""
    is_asked: bool = False
    """A person's nudge waits for an answer already."""
    is_text_approved: bool = True


class Wish(enum.StrEnum):
    """What an issue asks for, if somebody who may steer made it do so."""

    START = "start"
    START_ASSIGNED = "start_assigned"
    RETRY = "retry"
    CANCEL = "cancel"
    DONE_ALREADY = "done_already"
    """A start, but its agent is done for good."""


def is_over(situation: Situation) -> bool:
    """Whether a person closed the issue under a living agent."""
    return not situation.is_open and situation.agent is not None and situation.agent not in ENDED


def wish(situation: Situation) -> Wish | None:
    """What the issue asks for; the same situation always asks for the same, however often and in whatever order we look."""
    if not situation.is_open:
        return None
    state = situation.agent
    if situation.shown == Shown.READY:
        return _start(situation)
    if situation.shown == Shown.NONE and state in _AT_WORK and situation.is_label_written:
        return Wish.CANCEL
    if situation.is_ours_by_assignment and state is None:
        return Wish.START_ASSIGNED
    return None


def _start(situation: Situation) -> Wish | None:
    state = situation.agent
    if state is None:
        return Wish.START
    if situation.is_asked and situation.is_text_approved:
        return None
    if state == AgentState.NEW:
        return Wish.START
    if situation.is_label_pending:
        return None  # the label that started it is still there; ours comes
    if state == AgentState.DONE:
        return Wish.DONE_ALREADY
    return Wish.RETRY if state in ATTENTION or state == AgentState.ABANDONED else None


# --- words --------------------------------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    """About the text of an issue."""

    KEEP = "keep"
    """It is the approved one."""
    APPROVE = "approve"
    """Changed by people who may steer: what they wrote is what they want."""
    ASK = "ask"
    """Changed by somebody who may not: a person has to look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """The last change of a title or a body."""

    by: Person
    at: datetime


def judge_text(
    *, is_approved: bool, changes: Sequence[TextChange], approved_at: datetime | None
) -> tuple[Verdict, str]:
    """What becomes of an issue's present text, and whose doing it is (a login, empty when nobody knows).

    Args:
        is_approved: It reads as it did when it was approved.
        changes: Those known, oldest first: of the title each one, of the body the last one.
        approved_at: When the approval was given; what was changed before was before that person's eyes.
    """
    if is_approved:
        return Verdict.KEEP, ""
    later = [change for change in changes if approved_at is None or change.at >= approved_at]
    stranger = changed_since(changes, at=approved_at)
    if stranger is not None:
        return Verdict.ASK, stranger.by.login
    return (Verdict.APPROVE, later[-1].by.login) if later else (Verdict.ASK, "")


def changed_since(changes: Sequence[TextChange], *, at: datetime | None) -> TextChange | None:
    """The last change by somebody who may not steer, made since a person approved the text as it was then.

    Trackers count in seconds: a change in the very second of the approval counts as a later one.
    """
    strangers = [change for change in changes if (at is None or change.at >= at) and not change.by.may_steer]
    return strangers[-1] if strangers else None
