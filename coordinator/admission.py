"""May this agent run now? A pure decision from facts; `coordinator.dispatch` gathers the facts and acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.public_types import ENDED, AgentState, Answer, Decision, Source

CAPACITY_RETRY = timedelta(seconds=10)
FETCH_RETRY = timedelta(seconds=5)
MAX_REWORKS = 5
"""Of a pull request, one after the other, before a person is asked."""
BY_HAND = frozenset({Source.OPERATOR, Source.WEBHOOK})
"""People's acts: they override back-off and wake what waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """A scope with no room: which limit, how much of it is used."""

    scope: str
    what: str
    """`running`, `executions`, `wall seconds`."""
    used: int
    limit: int


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
    upgrades_asked: int = 0
    """Requests of its children that came since its last run began, and that nobody has answered."""
    is_upgraded: bool = False
    """It was granted something since its last run began."""
    capability_error: str = ""
    """Why it cannot run within what it may use, or empty."""
    remarks: int = 0
    """On its pull request, for its next run to take up."""
    is_text_approved: bool = True
    """False: somebody who may not steer changed the issue, and nobody who may has looked at it since."""
    reworks: int = 0
    """Runs caused by remarks since a person's last word."""


def admit(mode: str, reason: str) -> Decision:
    """Yes."""
    return Decision(answer=Answer.ADMITTED, code="admitted", reason=reason, mode=mode)


def defer(code: str, reason: str, until: datetime | None = None) -> Decision:
    """Not now; again at `until`, or when what it waits for happens."""
    return Decision(answer=Answer.DEFERRED, code=code, reason=reason, until=until)


def refuse(code: str, reason: str) -> Decision:
    """No, and it will not be looked at again by itself."""
    return Decision(answer=Answer.REFUSED, code=code, reason=reason)


def decide(facts: Facts) -> Decision:
    """Pass every gate in order; the first that closes gives the answer."""
    for gate in GATES:
        decision = gate(facts)
        if decision is not None:
            return decision
    return admit(*mode_of(facts))


def mode_of(facts: Facts) -> tuple[str, str]:
    """Which mode runs, and why in words."""
    if facts.next_mode:
        return facts.next_mode, {"resolve": "a merge conflict is to be resolved"}.get(facts.next_mode, "goes on")
    if facts.remarks:
        return "work", f"{facts.remarks} remarks on its pull request"
    if facts.children_total:
        if facts.upgrades_asked:
            return "resume", f"{facts.upgrades_asked} of its sub-issues ask for an upgrade"
        if facts.children_open:
            return "resume", f"asked for while {facts.children_open} of {facts.children_total} sub-issues are under way"
        stuck = f", {facts.children_stuck} of them stuck" if facts.children_stuck else ""
        return "resume", f"its {facts.children_total} sub-issues have ended{stuck}"
    return "work", "all gates are open"


def _ended(facts: Facts) -> Decision | None:
    if facts.state in ENDED:
        return refuse("ended", f"the agent is {facts.state}")
    if not facts.issue_is_open:
        return refuse("closed", "the issue is closed")
    return None


def _switched_off(facts: Facts) -> Decision | None:
    if not facts.is_working:
        return defer("off", "the fleet is switched off (AGENTGRID_WORKING)")
    if facts.paused:
        return defer("paused", f"the {facts.paused} is paused")
    if facts.rest_until and facts.rest_until > facts.now and facts.source not in BY_HAND:
        return defer(
            "breaker", "the last runs of the whole fleet all failed; nudge one by hand to try", facts.rest_until
        )
    if facts.is_held:
        return defer("held", "a person holds the issue (label agent:hold, or assigned to a person)")
    return None


def _approval(facts: Facts) -> Decision | None:
    if facts.is_text_approved:
        return None
    return defer(
        "needs-approval",
        "somebody who may not steer agents changed the issue; nudge it, put agent:ready on or write /agent run "
        "to approve its present text",
    )


def _needs_a_person(facts: Facts) -> Decision | None:
    if facts.source in BY_HAND:
        return None
    if facts.state == AgentState.BLOCKED and not facts.is_upgraded:
        return defer("blocked", "the agent waits for a person's answer; nudge or retry it")
    if facts.state == AgentState.FAILED:
        return refuse("failed", "its attempts are spent; retry it by hand")
    return None


def _review(facts: Facts) -> Decision | None:
    if facts.state not in (AgentState.REVIEW, AgentState.BLOCKED) or facts.source == Source.OPERATOR:
        return None
    if facts.remarks and facts.reworks >= MAX_REWORKS:
        return refuse("reworks", f"its pull request was reworked {facts.reworks} times; retry it by hand to go on")
    if facts.state == AgentState.REVIEW and not facts.remarks and facts.source not in BY_HAND:
        return refuse("review", "its pull request waits for people")
    return None


def _busy(facts: Facts) -> Decision | None:
    if facts.live_execution:
        return defer("running", f"execution {facts.live_execution} has not ended")
    if not facts.is_applied:
        return defer("applying", "the outcome of its last execution is being applied", facts.now + FETCH_RETRY)
    if facts.is_splitting:
        return defer("splitting", "its sub-issues are being created", facts.now + FETCH_RETRY)
    return None


def _blockers(facts: Facts) -> Decision | None:
    if facts.blockers:
        return defer("blockers", f"blocked by {', '.join(facts.blockers[:10])}")
    return None


def _children(facts: Facts) -> Decision | None:
    if facts.children_open == 0 and facts.children_stuck == 0:
        return None
    if facts.source in BY_HAND or facts.upgrades_asked:
        return None
    if facts.children_stuck and facts.children_changed:
        return None
    if facts.children_open:
        return defer("children", f"{facts.children_open} of {facts.children_total} sub-issues are under way")
    return defer(
        "children", f"{facts.children_stuck} sub-issues wait for a person, and nothing changed since the last look"
    )


def _back_off(facts: Facts) -> Decision | None:
    if facts.not_before and facts.not_before > facts.now and facts.source not in BY_HAND:
        return defer("back-off", "it failed a moment ago", facts.not_before)
    return None


def _too_deep(facts: Facts) -> Decision | None:
    if facts.depth > facts.max_depth:
        return refuse("depth", f"depth {facts.depth} is below the allowed {facts.max_depth}")
    return None


def _capability(facts: Facts) -> Decision | None:
    if facts.capability_error:
        return defer("capability", facts.capability_error)
    return None


def _agent(facts: Facts) -> Decision | None:
    if facts.agent_error:
        return defer("agent", f"its agent cannot be run: {facts.agent_error}")
    return None


def _base(facts: Facts) -> Decision | None:
    if facts.has_base:
        return None
    why = facts.fetch_error or "the repository has not been fetched yet"
    return defer("fetch", f"there is no commit to start from: {why}", facts.now + FETCH_RETRY)


def _capacity(facts: Facts) -> Decision | None:
    if not facts.full:
        return None
    first = facts.full[0]
    reason = f"{first.scope}: {first.used} of {first.limit} {first.what}"
    if first.what == "running":
        return defer("capacity", reason, facts.now + CAPACITY_RETRY)
    return defer("budget", f"{reason} are used or reserved; raise the limit")


GATES: tuple[Callable[[Facts], Decision | None], ...] = (
    _ended,
    _switched_off,
    _approval,
    _needs_a_person,
    _review,
    _busy,
    _blockers,
    _children,
    _too_deep,
    _back_off,
    _capability,
    _agent,
    _base,
    _capacity,
)
