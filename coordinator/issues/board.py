"""What the board shows beside what is so: the mirror beside the tracker, agents beside labels; and bringing them together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from django.db import transaction

from coordinator.agents import tree
from coordinator.ending import outbox
from coordinator.issues import inbound, rebuild
from coordinator.issues.rebuild import Rebuilt
from coordinator.models import Agent
from coordinator.operating import control
from coordinator.public_types import ENDED, AgentState
from tracker import public_api as tracker
from tracker import public_sync
from tracker import public_writes as tracker_writes
from tracker.public_errors import RateLimitedError, TrackerError
from tracker.public_types import AgentState as Shown
from tracker.public_types import Hint, HintKind, IssueView, Write, WriteKind

log = logging.getLogger(__name__)
LOOK, SHOW, REBUILD = "read it again", "show the agent's state again", "make its agent again"
_UNDER_WAY = frozenset({AgentState.NEW, AgentState.QUEUED})
"""Their label is the one from before until the run starts."""
_LABELS = frozenset({"two state labels", "label on a closed issue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not as it should be."""

    key: str
    """Of the issue."""
    what: str
    detail: str
    repair: str
    """What `repair` does about it; empty when a person has to decide."""


def differences(repository_id: int, *, progress: Callable[[int], None] = lambda _: None) -> list[Difference]:
    """Compare both ways: every issue with its mirror, every agent with its issue. Changes nothing.

    Raises:
        TrackerError: The tracker did not let us look at all of it.
    """
    drifts = public_sync.compare(repository_id, progress=progress)
    found = [
        Difference(
            key=drift.key,
            what=drift.what,
            detail=f"here: {drift.ours or '-'}; there: {drift.theirs or '-'}",
            repair=SHOW if drift.what in _LABELS else LOOK,
        )
        for drift in drifts
    ]
    drifted = {drift.key for drift in drifts}
    found += [one for one in _agents(repository_id) if one.key not in drifted]
    return sorted(found, key=lambda one: (len(one.key), one.key, one.what))


def repair(repository_id: int, found: Sequence[Difference], *, actor: str) -> list[tuple[str, str]]:
    """Do what the differences ask for, as steering and the outbox would have done it.

    Returns:
        Key and error of what could not be done.

    Raises:
        RateLimitedError: Wait until then; what was done stays done.
    """
    problems = _look(repository_id, dict.fromkeys(one.key for one in found if one.repair == LOOK))
    for key in dict.fromkeys(one.key for one in found if one.repair == SHOW):
        _show(repository_id, key)
    outbox.drain(repository_id)
    if any(one.repair == REBUILD for one in found):
        rebuild_agents(repository_id)
    counts = {"differences": len(found), "problems": len(problems)}
    with transaction.atomic():
        control.audit(actor, "repair_board", f"repository:{repository_id}", {**counts})
    return problems


def rebuild_agents(repository_id: int) -> Rebuilt:
    """Make agents again where they are missing, and take up the labels that turn out to be people's wishes.

    Raises:
        TrackerError: The tracker did not answer; calling again goes on.
    """
    rebuilt = rebuild.agents(repository_id)
    _look(repository_id, rebuilt.unclaimed)
    return rebuilt


def _look(repository_id: int, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Take issues up as the sweep does; returns key and error of those that could not be."""
    scope, problems = tracker.get_repository(repository_id).scope, []
    for key in keys:
        try:
            inbound.take_up_hint(repository_id, Hint(kind=HintKind.ISSUE, action="sweep", scope=scope, key=key))
        except RateLimitedError:
            raise
        except TrackerError as error:
            problems.append((key, str(error)))
    return problems


def _agents(repository_id: int) -> Iterator[Difference]:
    rows = Agent.objects.filter(repository_id=repository_id).select_related("parent")
    agents = {agent.issue_id: agent for agent in rows.defer("summary", "spec")}
    views = tracker.get_issues(agents)
    for issue_id, agent in agents.items():
        issue = views[issue_id]
        found = _of_agent(agent, issue)
        if found is not None:
            yield found
        elif agent.parent is not None and tracker.parent_id(issue_id) != agent.parent.issue_id:
            detail = f"its agent is a part of {agent.parent.path}, its issue is not"
            yield Difference(key=issue.ref.key, what="another parent", detail=detail, repair="")
    for board_issue in public_sync.board(repository_id):
        if board_issue.issue_id in agents or not board_issue.is_open:
            continue
        if board_issue.state not in (Shown.NONE, Shown.READY):
            detail = f"shows {board_issue.state}, and nobody works on it"
            yield Difference(key=board_issue.key, what="label without an agent", detail=detail, repair=REBUILD)


def _of_agent(agent: Agent, issue: IssueView) -> Difference | None:
    state, key = AgentState(agent.state), issue.ref.key
    if not issue.is_open:
        if state in ENDED:
            return None
        return Difference(key=key, what="closed issue, open agent", detail=f"its agent is {state}", repair=LOOK)
    if state == AgentState.DONE and issue.agent_state == Shown.NONE:
        remedy = "reopened by a person? agent:ready has it worked on again"
        return Difference(key=key, what="open issue, agent done", detail=remedy, repair="")
    if state in _UNDER_WAY or issue.agent_state == tree.SHOWN[state]:
        return None
    detail = f"shows {issue.agent_state or 'nothing'}, its agent is {state}"
    return Difference(key=key, what="another label", detail=detail, repair=SHOW)


def _show(repository_id: int, key: str) -> None:
    """Wish for the label that fits: the agent's, else the one of our rows; a closed issue shows none."""
    agent = Agent.objects.filter(repository_id=repository_id, issue__key=key).select_related("issue").first()
    shown = tree.SHOWN[AgentState(agent.state)] if agent is not None and agent.issue.is_open else Shown.NONE
    wish = Write(
        key=f"reconcile:{repository_id}:{key}:{uuid4()}",
        kind=WriteKind.SET_STATE,
        payload={"ref": key, "state": str(shown)},
    )
    with transaction.atomic():
        tracker_writes.wish(repository_id, [wish])
