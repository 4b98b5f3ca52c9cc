"""What happens to our pull requests, taken up: merged, closed, answered, pushed to. Payloads say where to look, no more.

Every hint may come twice, late, or never; the pull request is read anew each time, and what it shows has one effect.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import transaction

from coordinator import lifecycle
from coordinator.agents import integration, remarks, tree
from coordinator.documents import slash_commands
from coordinator.ending import reviewing
from coordinator.launching import dispatch
from coordinator.models import Agent, Feedback
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED, AgentState, Source
from coordinator.rules.admission import MAX_REWORKS
from coordinator.trees import endings, reports
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_errors import GridError, SourceUnavailableError
from tracker import public_api as tracker
from tracker import public_changes, public_sync
from tracker.public_errors import NotFoundError
from tracker.public_types import ChangeView, CloseReason, FeedbackKind, Hint, Trust
from tracker.public_types import Feedback as Said

log = logging.getLogger(__name__)
TRUSTED = frozenset({Trust.ADMIN, Trust.WRITE})
_RESTING = frozenset({AgentState.REVIEW, AgentState.BLOCKED, AgentState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A pull request of ours that was looked at, and its agent."""

    agent_id: int
    issue_id: int
    issue_key: str
    change: ChangeView
    said: tuple[Said, ...]
    """All that people and checks say about it; empty where nothing of it is news and nobody asked."""
    news: str = ""
    """What of that is new, in words; empty: nothing."""
    is_by_people: bool = False
    """Some of it was said by a person."""


def look(repository_id: int, hint: Hint) -> list[Looked]:
    """Look at the pull request that a hint is about, or at those of its commit or branch. Call it outside a transaction.

    What is new is written down for the agent's next run, which `follow` asks for: what else was said along with it goes first.

    Raises:
        TrackerError: The tracker could not be asked; take the hint up again later.
    """
    if hint.comment_id and hint.actor and not _may_count(repository_id, hint):
        return []
    found = []
    for key in _keys(repository_id, hint):
        try:
            change = public_changes.refresh_change(repository_id, key)
        except NotFoundError:
            continue  # an issue, or gone
        looked = _look(repository_id, change, is_asked=bool(slash_commands.parse(hint.text)))
        if looked is not None:
            found.append(looked)
    return found


def follow(looked: Looked) -> None:
    """Ask for one run that takes up all that is new, unless one has done so since, or a person instead."""
    if not looked.news:
        return
    with transaction.atomic():
        agent = _tree_of(Agent.objects.get(pk=looked.agent_id))[0]
        if not remarks.waiting(agent):
            return
        if agent.reworks >= MAX_REWORKS and agent.state == AgentState.REVIEW and reviewing.stop_circling(agent):
            return
    # A check is no person: it must not wake what waits for one, nor pass the fleet's breaker.
    source = Source.WEBHOOK if looked.is_by_people else Source.SWEEP
    dispatch.nudge(looked.agent_id, source=source, reason=looked.news)


def note_end(repository_id: int, key: str) -> None:
    """Let the agent end whose pull request a write of ours found merged or closed. Nobody is asked; an open one is left.

    Call it outside a transaction. Whoever hears of the same end by a hint later finds nothing left to do.
    """
    change = public_changes.get_change(repository_id, key)
    agent = _agent_of(repository_id, change)
    if agent is not None and agent.state not in ENDED and not change.is_open:
        _end(agent, change)


def _may_count(repository_id: int, hint: Hint) -> bool:
    """Whether something said is worth a look, which takes ten requests: outsiders could spend our quota by talking."""
    if tracker.get_repository(repository_id).tracker != integration.GITHUB:
        return True
    by = public_sync.standing(repository_id, hint.actor)
    return by.trust in TRUSTED and not by.is_bot


def _keys(repository_id: int, hint: Hint) -> list[str]:
    if hint.key:
        return [hint.key]
    found = [change.ref.key for change in public_changes.find_changes(repository_id, hint.head_sha)]
    if not found and hint.branch:
        change = public_changes.change_of_branch(repository_id, hint.branch)
        found = [change.ref.key] if change is not None else []
    return found


def _look(repository_id: int, change: ChangeView, *, is_asked: bool) -> Looked | None:
    agent = _agent_of(repository_id, change)
    if agent is None:
        return None
    is_alive = agent.state not in ENDED
    if not change.is_open:
        if is_alive:
            _end(agent, change)
        else:
            _first_end(agent, change)  # a retry is another life
    elif is_alive:
        _opened_again(agent, change)
        _take_in(agent, change)
        reviewing.announce(agent.pk)
    is_at_work = is_alive and change.is_open
    said = public_changes.feedback(repository_id, change.ref.key) if is_at_work or is_asked else []
    fresh = _record(agent, change, said) if is_at_work else []
    people = sorted({row.author for row in fresh if row.kind != FeedbackKind.CHECK})
    who = ", ".join(people[:5]) or "checks"
    return Looked(
        agent_id=agent.pk,
        issue_id=agent.issue_id,
        issue_key=agent.issue.key,
        change=change,
        said=tuple(said),
        news=f"{len(fresh)} remarks on #{change.ref.key} by {who}" if fresh else "",
        is_by_people=bool(people),
    )


def _agent_of(repository_id: int, change: ChangeView) -> Agent | None:
    """The root whose work it is; None for a fork's, a person's, or one that a later one has replaced."""
    if not change.is_ours:
        return None
    rows = Agent.objects.select_related("repository", "issue", "envelope", "execution")
    agent = rows.filter(repository_id=repository_id, branch=change.head_branch, parent=None).first()
    latest = public_changes.change_of_branch(repository_id, change.head_branch)
    return agent if latest is None or latest.ref == change.ref else None


# --- the end -------------------------------------------------------------------------------------------------------


def _end(agent: Agent, change: ChangeView) -> None:
    """A person merged or closed it: the whole tree ends."""
    name = f"its pull request #{change.ref.key}"
    with transaction.atomic():
        agents = _tree_of(agent)
        top = agents[0]
        if top.state in ENDED or not _first_end(top, change):
            return
        if change.is_merged:
            if not lifecycle.move(top, new=AgentState.DONE, reason=f"{name} was merged", fields=_ended()):
                return
            top.blocked_reason = ""
            lifecycle.close_nudge(top)
            close = endings.close_issue(top, key=top.issue.key, reason=CloseReason.COMPLETED)
            tree.write(top, *reports.show(top), close)
        else:
            endings.abandon(top, reason=f"{name} was closed without merging; `/agent retry` starts again")
        for below in agents[1:]:
            if below.state not in ENDED:
                endings.abandon(below, reason=f"{name} was {'merged' if change.is_merged else 'closed'}")
        live = grid.find_executions(subjects=[row.subject for row in agents], live=True)
        grid.request_stop([run.id for run in live], reason="cancelled")
    log.info(
        "pull request ended",
        extra={"action": "change", "agent": agent.pk, "change": str(change.ref), "merged": change.is_merged},
    )


def _tree_of(agent: Agent) -> list[Agent]:
    """The agent and all below it; locked from the leaves up, as whoever applies the end of a run does it."""
    rows = Agent.objects.filter(pk__in=tree.subtree_ids(agent))
    list(rows.select_for_update(of=("self",)).order_by("-depth", "pk").values_list("pk", flat=True))
    return list(rows.select_related("repository", "issue", "envelope").order_by("depth", "pk"))


def _opened_again(agent: Agent, change: ChangeView) -> None:
    row = Feedback.objects.filter(agent=agent, tracker_id=_end_id(change)).first()
    if row is None:
        return
    with transaction.atomic():
        if Feedback.objects.filter(pk=row.pk).delete()[0]:
            lifecycle.record(agent, ("feedback.dropped", {"remark": row.tracker_id, "rows": [grid_events.gone(row)]}))


def _first_end(agent: Agent, change: ChangeView) -> bool:
    """Whether this closing is news: a retried agent must not be ended by the pull request of its former life."""
    row, is_new = Feedback.objects.get_or_create(
        agent=agent,
        tracker_id=_end_id(change),
        defaults={"kind": remarks.END, "author": "", "head_sha": change.head_sha},
    )
    if is_new:
        body = {"remarks": [row.tracker_id], "rows": [grid_events.row(row)]}
        lifecycle.record(agent, ("feedback.taken-in", body))
    return is_new


def _end_id(change: ChangeView) -> str:
    return f"{remarks.END}:{change.ref.key}"


def _ended() -> dict[str, object]:
    return {"blocked_reason": "", "is_splitting": False, "not_before": None, "resume_due_at": None}


# --- pushes of people ----------------------------------------------------------------------------------------------


def _take_in(agent: Agent, change: ChangeView) -> None:
    """Make what people pushed the base of what comes next. A run under way is joined with it when it ends."""
    if change.head_sha == agent.head or AgentState(agent.state) not in _RESTING or not agent.head:
        return
    try:
        together = integration.take_in(agent)
    except SourceUnavailableError as error:
        log.warning("push not taken in yet", extra={"action": "change", "agent": agent.pk, "error": str(error)[:300]})
        return
    except (GridError, NotAllowedError) as error:
        _ask(agent, f"somebody pushed to its branch: {error}")
        return
    if together.conflict:
        _ask(agent, f"what was pushed to its branch conflicts with its work in {', '.join(together.conflict[:5])}")
    elif together.head != agent.head:
        resting = {"head": agent.head, "state__in": [str(state) for state in _RESTING]}
        lifecycle.change(agent, event="agent.head-moved", only_if=resting, head=together.head)


def _ask(agent: Agent, reason: str) -> None:
    with transaction.atomic():
        if agent.state == AgentState.REVIEW:
            reviewing.ask(agent, reason)


# --- remarks -------------------------------------------------------------------------------------------------------


def _record(agent: Agent, change: ChangeView, said: list[Said]) -> list[Feedback]:
    """Write down what is new; returns it."""
    wanted = [item for item in said if _counts(item, change)]
    with transaction.atomic():
        agent = _tree_of(agent)[0]
        return remarks.record(agent, wanted) if agent.state not in ENDED else []


def _counts(item: Said, change: ChangeView) -> bool:
    if item.trust not in TRUSTED or not item.asks_for_changes:
        return False
    if item.kind == FeedbackKind.CHECK:
        return item.head_sha == change.head_sha
    # Commands are carried out where they are read; the words beside them are for the agent.
    return bool(item.text.strip()) and not slash_commands.is_only_commands(item.text)
