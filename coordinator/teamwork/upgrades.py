"""Requests for more than a capability holds: asked by an agent, answered by its parent, an operator, or the policy.

Nobody grants what they do not hold, and nobody holds more than their parent; a grant counts from its commit on, for the
running agent's calls as well as for its next runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from coordinator import auditing, lifecycle
from coordinator.care import asking, profiles, repositories
from coordinator.documents.untrusted import one_line, printable
from coordinator.launching import dispatch
from coordinator.models import Agent, UpgradeRequest
from coordinator.public_errors import AgentNotFoundError, CoordinatorError, InvalidInputError, NotAllowedError
from coordinator.public_types import ENDED, MessageKind, Source
from coordinator.rules import capability as capabilities
from coordinator.rules.capability import EVERYTHING, NOTHING, Capability
from coordinator.talk import messages
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_toolkit import DefinitionError
from grid.public_types import LIVE, ExecutionView, State

MAX_PER_AGENT = 20
"""Of its whole life: whoever asks more often has been answered."""
MAX_REASON = 4_000
POLICY = "policy"
_OPEN, _GRANTED, _REFUSED = UpgradeRequest.State.OPEN, UpgradeRequest.State.GRANTED, UpgradeRequest.State.REFUSED
_MAX_NAMES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """A request and its answer."""

    id: int
    agent_id: int
    parent_id: int | None
    path: str
    """Of the agent, in its tree."""
    state: str
    """`open`, `granted`, `refused`."""
    more: tuple[str, ...]
    """What is asked for beyond what the agent holds now, in words; of a granted one, what it got."""
    wish: Mapping[str, Any]
    granted: Mapping[str, Any] | None
    reason: str
    answered_by: str
    answer: str
    created_at: datetime
    answered_at: datetime | None


def request(agent_id: int, *, wish: Mapping[str, Any], reason: str, execution_id: UUID | None = None) -> Upgrade:
    """Ask for more in an agent's name, and have its parent look at it; call it outside any transaction.

    Args:
        wish: Keys of a capability, those wished for alone; `tier` is a rank or a name: `{"tier": "large"}`.
        reason: For whoever answers.
        execution_id: The run that asks.

    Raises:
        InvalidInputError: The wish cannot be read, has no reason, or names nothing that the agent does not hold.
        NotAllowedError: An earlier request is not answered yet, or there were too many.
    """
    words = printable(reason).strip()[:MAX_REASON]
    if not words:
        raise InvalidInputError("say why it is needed: whoever answers knows nothing else")
    try:
        with transaction.atomic():
            agent = _locked(agent_id)
            if agent.state in ENDED:
                raise NotAllowedError(f"the agent is {agent.state}; it asks for nothing more")
            held = profiles.capability_of(agent)
            asked = _read(wish, held)
            more = _in_words(capabilities.beyond(asked, held))
            if not more:
                raise InvalidInputError("the agent holds all of that already; name what is missing")
            if UpgradeRequest.objects.filter(agent=agent).count() >= MAX_PER_AGENT:
                raise NotAllowedError(f"it has asked {MAX_PER_AGENT} times; nothing more is looked at")
            row = UpgradeRequest.objects.create(
                agent=agent, execution_id=execution_id, wish=capabilities.as_json(asked), reason=words
            )
            body = {"request": row.pk, "more": more, "reason": words[:2_000], "rows": [grid_events.row(row)]}
            lifecycle.record(agent, ("upgrade.requested", body))
            if agent.parent_id:
                dispatch.nudge(agent.parent_id, source=Source.CHILD, reason=f"{agent.path} asks for an upgrade"[:300])
    except IntegrityError as error:
        raise NotAllowedError("its last request is not answered yet; wait for the answer") from error
    _tell_running(agent, row)
    return _view(row, agent)


def answer(request_id: int, *, by: str, is_granted: bool, words: str = "") -> Upgrade:
    """Grant or refuse an open request, once.

    Args:
        by: `agent:3` (the parent alone), or a person: `cli:root`, `admin:ann`.
        words: For the agent.

    Raises:
        AgentNotFoundError: No such request.
        NotAllowedError: It is answered already, or whoever answers holds none of what is asked for.
    """
    found = UpgradeRequest.objects.filter(pk=request_id).values_list("agent_id", flat=True).first()
    if found is None:
        raise AgentNotFoundError(f"no upgrade request {request_id}; `upgrade list` shows those that are open")
    with transaction.atomic():
        agent = _locked(found)
        row = UpgradeRequest.objects.get(pk=request_id)
        if row.state != _OPEN:
            raise NotAllowedError(f"request {request_id} was {row.state} by {row.answered_by} already")
        if by.startswith("agent:") and by != f"agent:{agent.parent_id}":
            raise NotAllowedError("only the parent of the agent, or a person, may answer")
        granted = _granted(agent, row, by) if is_granted else None
        state = _GRANTED if is_granted else _REFUSED
        changes: dict[str, Any] = {
            "state": state,
            "granted": capabilities.as_json(granted) if granted is not None else None,
            "answered_by": by[:150],
            "answer": printable(words).strip()[:1_000],
            "answered_at": timezone.now(),
        }
        if not UpgradeRequest.objects.filter(pk=row.pk, state=_OPEN).update(**changes):
            raise NotAllowedError(f"request {request_id} was answered a moment ago")
        row.refresh_from_db()
        if agent.state not in ENDED:
            messages.leave(agent, text=asking.answer_in_words(row), kind=MessageKind.ANSWER)
        _apply(agent, row, grid_events.row(row, *changes))
    messages.hand_over_waiting(Agent.objects.get(pk=agent.pk))
    return _view(row, agent)


def by_policy(agent: Agent, run: ExecutionView, *, failures: int) -> bool:
    """Raise an agent by one tier within its parent's capability, when often enough what it called done did not hold.

    Args:
        agent: Its run has failed a moment ago; comes with its parent.
        run: That run.
        failures: Verified ones for each tier, of the policy file; 0: never.

    Returns:
        Whether it was raised.
    """
    if not failures or not _is_verified_failure(run):
        return False
    last = grid.find_executions(subjects=[agent.subject], limit=agent.attempts + 1)
    count = sum(_is_verified_failure(one) for one in last if not one.is_live)
    if count % failures:
        return False
    with transaction.atomic():
        agent = _locked(agent.pk)
        held, tiers = profiles.capability_of(agent), profiles.fleet_tiers()
        above = _above(agent)
        wish = replace(held, tier=capabilities.next_rank(held.tier, tiers), models=held.models | above.models)
        # A repository says how often is often enough, not how far: a root would have no bound at all.
        granted = capabilities.intersect(wish, capabilities.intersect(above, _rule(agent)))
        if granted.tier <= held.tier:
            return False
        row = UpgradeRequest.objects.create(
            agent=agent,
            execution_id=run.id,
            wish=capabilities.as_json(wish),
            reason=f"{count} verified failures",
            state=_GRANTED,
            granted=capabilities.as_json(capabilities.beyond(granted, held)),
            answered_by=POLICY,
            answered_at=timezone.now(),
        )
        _apply(agent, row, grid_events.row(row))
    return True


def find(*, state: str = "", agent_id: int | None = None, limit: int = 100) -> list[Upgrade]:
    """Requests, the newest first."""
    rows = UpgradeRequest.objects.select_related("agent__parent", "agent__repository")
    if state:
        rows = rows.filter(state=state)
    if agent_id is not None:
        rows = rows.filter(agent_id=agent_id)
    return [_view(row, row.agent) for row in rows[:limit]]


def _locked(agent_id: int) -> Agent:
    rows = Agent.objects.select_for_update(of=("self",)).select_related("parent__parent", "repository")
    agent = rows.filter(pk=agent_id).first()
    if agent is None:
        raise AgentNotFoundError(f"no agent {agent_id}")
    return agent


def _read(wish: Mapping[str, Any], held: Capability) -> Capability:
    """The wish as a capability, what it does not name as it is."""
    said = dict(list(wish.items())[:_MAX_NAMES])
    if isinstance(said.get("tier"), str):
        try:
            said["tier"] = profiles.fleet_tiers().rank(said["tier"])
        except DefinitionError as error:
            raise InvalidInputError(str(error)) from error
    for name in ("models", "tools"):
        if isinstance(said.get(name), list) and len(said[name]) > _MAX_NAMES:
            raise InvalidInputError(f"{name} has {len(said[name])} entries; at most {_MAX_NAMES} can be asked for")
    return capabilities.union(capabilities.from_json(said, base=held), held)


def _above(agent: Agent) -> Capability:
    """The most that the agent can ever hold: what is left of its parent's, or the fleet's."""
    if agent.parent is not None:
        held = profiles.capability_of(agent.parent)
    else:
        policy = repositories.effective_policy(repositories.policy_of(agent.repository_id))
        held = replace(EVERYTHING, children=policy.children, depth=policy.depth + 1)
    return capabilities.child_capability(held, EVERYTHING, EVERYTHING)


def _rule(agent: Agent) -> Capability:
    """What the rules for its depth leave it; only people go beyond them."""
    policy = repositories.effective_policy(repositories.policy_of(agent.repository_id))
    return profiles.rule_at(agent.depth, policy, profiles.fleet_tiers())


def _granted(agent: Agent, row: UpgradeRequest, by: str) -> Capability:
    """What the granter can give of the wish, beyond what the agent holds. Raises NotAllowedError when that is nothing."""
    held, above, wish = profiles.capability_of(agent), _above(agent), capabilities.from_json(row.wish)
    granted = capabilities.beyond(capabilities.intersect(wish, above), held)
    if granted != NOTHING and by.startswith("agent:"):
        granted = capabilities.beyond(capabilities.intersect(wish, capabilities.intersect(above, _rule(agent))), held)
        if granted == NOTHING:
            raise NotAllowedError(
                f"the rule for depth {agent.depth} leaves nothing of what is asked for to agents; a person may grant it"
            )
    if granted == NOTHING:
        if agent.parent is None:
            raise NotAllowedError("the fleet's limits leave nothing of what is asked for")
        hint = "" if by == agent.parent.stream else f"; upgrade {agent.parent.path} first"
        raise NotAllowedError(f"its parent {agent.parent.path} holds none of what is asked for{hint}")
    return granted


def _apply(agent: Agent, row: UpgradeRequest, written: Mapping[str, Any]) -> None:
    """Give it to the agent, tell everybody, have it looked at; in the transaction that answers and has `written` the row."""
    body: dict[str, Any] = {"request": row.pk, "by": row.answered_by, "answer": row.answer, "more": []}
    if row.granted is not None:
        granted = capabilities.from_json(row.granted)
        held = capabilities.union(profiles.capability_of(agent), granted)
        new = capabilities.as_json(capabilities.intersect(held, _above(agent)))
        body["more"] = _in_words(granted)
        lifecycle.change(agent, event=f"upgrade.{row.state}", body={**body, "rows": [written]}, capability=new)
    else:
        lifecycle.record(agent, (f"upgrade.{row.state}", {**body, "rows": [written]}))
    auditing.record(row.answered_by, f"upgrade_{row.state}", agent.stream, {**body, "wish": row.wish})
    if row.granted is not None and agent.state not in ENDED:
        dispatch.nudge(agent.pk, source=Source.PARENT, reason=f"upgrade {row.pk} granted by {row.answered_by}"[:300])


def _tell_running(agent: Agent, row: UpgradeRequest) -> None:
    """Tell the parent's run if there is one; a later one is told by its prompt."""
    parent = agent.parent
    if parent is None or parent.execution_id is None or grid.get_execution(parent.execution_id).state not in LIVE:
        return
    # Its inbox may be full: the request stays open, and its next run is told.
    with contextlib.suppress(CoordinatorError):
        messages.tell(
            parent.pk,
            sender=agent.stream,
            kind=MessageKind.UPGRADE_REQUEST,
            text=asking.in_words(row).text,
            data={"request": row.pk, "more": [one_line(words, 300) for words in _view(row, agent).more[:10]]},
            execution_id=row.execution_id,
        )


def _in_words(capability: Capability) -> list[str]:
    return capabilities.in_words(capability, profiles.fleet_tiers())


def _is_verified_failure(run: ExecutionView) -> bool:
    """The agent ended as it should, and our own commands on its work failed."""
    return run.state == State.FAILED and any(not check.passed for check in run.result.checks)


def _view(row: UpgradeRequest, agent: Agent) -> Upgrade:
    shown = capabilities.from_json(row.granted if row.granted is not None else row.wish)
    more = shown if row.granted is not None else capabilities.beyond(shown, profiles.capability_of(agent))
    return Upgrade(
        id=row.pk,
        agent_id=row.agent_id,
        parent_id=agent.parent_id,
        path=agent.path,
        state=row.state,
        more=tuple(_in_words(more)),
        wish=row.wish,
        granted=row.granted,
        reason=row.reason,
        answered_by=row.answered_by,
        answer=row.answer,
        created_at=row.created_at,
        answered_at=row.answered_at,
    )
