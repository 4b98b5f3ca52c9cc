"""What a decision about a run depends on, as values. Pure; `coordinator.rules.admission` decides by them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from coordinator.public_types import AgentState, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """A scope with no room: which limit, how much of it is used."""

    scope: str
    what: str
    """`running`, `executions`, `wall seconds`, `tool calls`, `children`."""
    used: int
    limit: int
    needs: int = 1
    """How much of it a run sets aside."""
    until: datetime | None = None
    """When it is free again by itself: a day's limit ends with the day."""
    words: str = ""
    """How much of the limit is used, where plain numbers say it badly: `$20.00 of $20.00`."""
    remedy: str = ""
    """The command that raises the limit, if one does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the decision depends on, read in one go."""

    now: datetime
    source: Source
    is_working: bool
    state: AgentState
    issue_is_open: bool
    is_held: bool
    blockers: tuple[str, ...]
    """Open issues this one waits for, as people name them."""
    rest_until: datetime | None
    """The fleet's breaker is open until then: everything failed lately."""
    paused: str
    """The paused scope nearest to the fleet, or empty."""
    live_execution: str
    """The agent's execution that has not ended, or empty."""
    is_applied: bool
    """False while the outcome of the last execution is not applied yet."""
    is_splitting: bool
    depth: int
    max_depth: int
    not_before: datetime | None
    next_mode: str
    children_open: int
    """Children that may still get somewhere by themselves."""
    children_stuck: int
    """Children that wait for a person."""
    children_total: int
    children_changed: bool
    """Whether the children's states differ from those at the last resume."""
    has_base: bool
    """Whether there is a commit to start from."""
    fetch_error: str
    agent_error: str
    """Why the configured agent cannot be run at all, or empty."""
    full: tuple[Full, ...]
    money_held: str = ""
    """Why its share of its parent's money cannot be cut yet, or empty."""
    no_progress: str = ""
    """What its tree spent since work was accepted last, where that is too much; see `coordinator.rules.breaker`."""
    questions: int = 0
    """Messages to it that want an answer, for its next run to be told."""
    upgrades_asked: int = 0
    """Requests of its children that came since its last run began, and that nobody has answered."""
    conflicts_asked: int = 0
    """Conflicts that it is to decide and that came since its last run began."""
    conflicts_open: int = 0
    """All that it is to decide."""
    conflict: str = ""
    """Why it is not started because of a conflict of its own, or empty."""
    has_merge: bool = True
    """Whether the mode `resolve` would be about a merge of its own."""
    is_upgraded: bool = False
    """It was granted something since its last run began."""
    capability_error: str = ""
    """Why it cannot run within what it may use, or empty."""
    footprint: str = ""
    """Whom it waits for because they work on files that it declared, or empty."""
    remarks: int = 0
    """On its pull request, for its next run to take up."""
    is_text_approved: bool = True
    """False: somebody who may not steer changed the issue, and nobody who may has looked at it since."""
    reworks: int = 0
    """Runs caused by remarks since a person's last word."""
