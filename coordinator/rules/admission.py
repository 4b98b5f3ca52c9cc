"""May this agent run now? A pure decision from facts; `coordinator.launching.surroundings` gathers them, `coordinator.launching.dispatch` acts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

from coordinator.public_types import ENDED, AgentState, Answer, Decision, Source
from coordinator.rules.admission_facts import Facts

CAPACITY_RETRY = timedelta(seconds=10)
FETCH_RETRY = timedelta(seconds=5)
NOT_FETCHED = "the repository has not been fetched yet"
MAX_REWORKS = 5
"""Of a pull request, one after the other, before a person is asked."""
BY_HAND = frozenset({Source.OPERATOR, Source.WEBHOOK})
"""People's acts: they override back-off and wake what waits for a person."""


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
    if facts.next_mode and (facts.next_mode != "resolve" or facts.has_merge):
        return facts.next_mode, {"resolve": "a merge conflict is to be resolved"}.get(facts.next_mode, "goes on")
    if facts.conflicts_asked or (facts.next_mode == "resolve" and facts.conflicts_open):
        return (
            "resolve",
            f"{facts.conflicts_open or facts.conflicts_asked} conflicts between its sub-issues are to be decided",
        )
    if facts.remarks:
        return "work", f"{facts.remarks} remarks on its pull request"
    if facts.children_total:
        if facts.upgrades_asked:
            return "resume", f"{facts.upgrades_asked} of its sub-issues ask for an upgrade"
        if facts.questions and facts.children_open:
            return "resume", f"{facts.questions} messages want an answer"
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
    if facts.source in BY_HAND or facts.upgrades_asked or facts.questions or _is_resolving(facts):
        return None
    if facts.children_stuck and facts.children_changed:
        return None
    if facts.children_open:
        return defer("children", f"{facts.children_open} of {facts.children_total} sub-issues are under way")
    return defer(
        "children", f"{facts.children_stuck} sub-issues wait for a person, and nothing changed since the last look"
    )


def _is_resolving(facts: Facts) -> bool:
    """It decides conflicts of its children, or merges what two of them made, while others of them run."""
    if facts.next_mode == "resolve":
        return facts.has_merge or facts.conflicts_open > 0
    return facts.conflicts_asked > 0


def _conflict(facts: Facts) -> Decision | None:
    if facts.conflict and facts.source not in BY_HAND:
        return defer("conflict", facts.conflict)
    return None


def _footprint(facts: Facts) -> Decision | None:
    if facts.footprint and facts.source not in BY_HAND:
        return defer("footprint", f"works on the same files as {facts.footprint}", facts.now + CAPACITY_RETRY)
    return None


def _back_off(facts: Facts) -> Decision | None:
    if facts.not_before and facts.not_before > facts.now and facts.source not in BY_HAND:
        why = "it failed a moment ago"
        if facts.not_before.astimezone(UTC).time() == time():  # no back-off ends with the day
            why = "its run was stopped, as the day's budget is used up; it goes on when the next day starts, in UTC"
        return defer("back-off", why, facts.not_before)
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
    why = facts.fetch_error or NOT_FETCHED
    return defer("fetch", f"there is no commit to start from: {why}", facts.now + FETCH_RETRY)


def _capacity(facts: Facts) -> Decision | None:
    if not facts.full:
        return None
    # The one that needs a person before those that pass by themselves; among equals the outermost.
    first = min(facts.full, key=lambda one: (one.what == "running", one.until is not None))
    reason = f"{first.scope}: {first.words or f'{first.used} of {first.limit} {first.what}'}"
    if first.what == "running":
        return defer("capacity", reason, facts.now + CAPACITY_RETRY)
    needs = f", and a run sets {first.needs} aside" if first.needs > 1 else ""
    how = f"raise the limit with `{first.remedy}`" if first.remedy else "raise the limit"
    if first.until is not None:
        how = f"the next day starts at {first.until:%Y-%m-%d %H:%M} UTC; to go on before, {how}"
    return defer("budget", f"{reason} are used or reserved{needs}; {how}", first.until)


def _share(facts: Facts) -> Decision | None:
    if not facts.money_held:
        return None
    reason = f"{facts.money_held}; it gets its share of the money when they are settled"
    return defer("capacity", reason, facts.now + CAPACITY_RETRY)


def _progress(facts: Facts) -> Decision | None:
    if not facts.no_progress or facts.source in BY_HAND:
        return None
    return defer("no-progress", f"{facts.no_progress}; nudge it to let it go on, or raise a limit of its tree")


GATES: tuple[Callable[[Facts], Decision | None], ...] = (
    _ended,
    _switched_off,
    _approval,
    _needs_a_person,
    _review,
    _busy,
    _blockers,
    _conflict,
    _children,
    _too_deep,
    _back_off,
    _capability,
    _agent,
    _base,
    _footprint,
    _progress,
    _capacity,
    _share,
)
