"""What happens to our pull requests, taken up: merged, closed, answered, pushed to. Payloads say where to look, no more.

Every hint may come twice, late, or never; the pull request is read anew each time, and what it shows has one effect.
"""

from __future__ import annotations

import logging

from django.db import transaction

from coordinator import lifecycle
from coordinator.agents import integration, remarks, tree
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


def take_up(repository_id: int, hint: Hint) -> None:
    """Look at the pull request that a hint is about, or at those of its commit or branch. Call it outside a transaction.

    Raises:
        TrackerError: The tracker could not be asked; take the hint up again later.
    """
    if hint.comment_id and hint.actor and not _may_count(repository_id, hint):
        return
    for key in _keys(repository_id, hint):
        try:
            change = public_changes.refresh_change(repository_id, key)
        except NotFoundError:
            continue  # an issue, or gone
        _look(repository_id, change)


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


def _look(repository_id: int, change: ChangeView) -> None:
    agent = _agent_of(repository_id, change)
    if agent is None:
        return
    if agent.state in ENDED:
        if not change.is_open:
            _first_end(agent, change)  # a retry is another life
        return
    if not change.is_open:
        _end(agent, change)
        return
    _opened_again(agent, change)
    _take_in(agent, change)
    reviewing.announce(agent.pk)
    _answer(agent, change, public_changes.feedback(repository_id, change.ref.key))


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


def _answer(agent: Agent, change: ChangeView, said: list[Said]) -> None:
    """Write down what is new and, for all of it together, ask for one run."""
    wanted = [item for item in said if _counts(item, change)]
    with transaction.atomic():
        agent = _tree_of(agent)[0]
        fresh = remarks.record(agent, wanted) if agent.state not in ENDED else []
        if not fresh:
            return
        if agent.reworks >= MAX_REWORKS and agent.state == AgentState.REVIEW and reviewing.stop_circling(agent):
            return
    people = sorted({row.author for row in fresh if row.kind != FeedbackKind.CHECK})
    # A check is no person: it must not wake what waits for one, nor pass the fleet's breaker.
    source = Source.WEBHOOK if people else Source.SWEEP
    who = ", ".join(people[:5]) or "checks"
    dispatch.nudge(agent.pk, source=source, reason=f"{len(fresh)} remarks on #{change.ref.key} by {who}")


def _counts(item: Said, change: ChangeView) -> bool:
    if item.trust not in TRUSTED or not item.asks_for_changes:
        return False
    if item.kind == FeedbackKind.CHECK:
        return item.head_sha == change.head_sha
    return bool(item.text.strip()) and not item.text.lstrip().startswith("/agent")
