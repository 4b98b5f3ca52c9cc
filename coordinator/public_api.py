"""What commands, pages, tasks and other packages may ask of the coordinator. Thin: each function is one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from coordinator import (
    asked,
    auditing,
    board,
    budget_history,
    budget_rules,
    budgets,
    catalogue,
    conflict_views,
    conflict_words,
    control,
    conversations,
    definitions,
    dispatch,
    inbound,
    invariants,
    limits,
    locking,
    messages,
    outbox,
    plan_diff,
    plans,
    profiles,
    prompt_library,
    queries,
    repositories,
    resolutions,
    submissions,
    sweeps,
    sync,
    thread_rows,
    threads,
    upgrades,
    vocabulary,
)
from coordinator import overview as overviews
from coordinator.board import Difference
from coordinator.budget_history import Movement
from coordinator.conflict_views import ConflictView
from coordinator.control import Touched
from coordinator.locking import LockRow
from coordinator.messages import Receipt
from coordinator.models import Agent
from coordinator.plans import Preview as PlanPreview
from coordinator.public_types import (
    AgentView,
    Decision,
    EnvelopeView,
    MessageKind,
    NudgeView,
    ScopeKind,
    Submission,
    ThreadKind,
    Violation,
)
from coordinator.queries import Explanation
from coordinator.rebuild import Rebuilt
from tracker.public_types import RepositoryView

__all__ = [
    "ConflictView",
    "Difference",
    "Explanation",
    "LockRow",
    "Movement",
    "PlanPreview",
    "Rebuilt",
    "Receipt",
    "Touched",
]


# --- work ------------------------------------------------------------------------------------------------------


def add_repository(path: str) -> RepositoryView:
    """Take a git repository on this machine under care. Raises InvalidInputError that names the fix."""
    return repositories.add_local(path)


def submit(*, repository_id: int, submission: Submission, actor: str) -> tuple[AgentView, NudgeView, bool]:
    """Open an issue, take it on, nudge it; the third value says whether it is new. Raises InvalidInputError."""
    agent, _, is_new = submissions.submit(repository_id=repository_id, submission=submission, actor=actor)
    return queries.get(agent.pk), queries.nudges_of(agent.pk, limit=1)[0], is_new


def nudge(agent_id: int, *, actor: str, reason: str = "") -> Decision | None:
    """Ask for a look at an agent now; the answer is stored. Raises AgentNotFoundError."""
    return queries.decision(control.nudge(agent_id, actor=actor, reason=reason).decision)


def tell(agent_id: int, *, actor: str, text: str, kind: MessageKind = MessageKind.CHAT) -> Receipt:
    """Say something to an agent; the answer says how it gets there.

    Raises AgentNotFoundError, InvalidInputError, LimitExceededError.
    """
    receipt = messages.tell(agent_id, sender=actor, text=text, kind=kind)
    control.audit(actor, "tell", f"agent:{agent_id}", {"message": receipt.id, "state": receipt.state})
    if kind in vocabulary.ASKING:
        asked.wake([agent_id])
    return receipt


def retry(agent_id: int, *, actor: str) -> Decision | None:
    """Fresh attempts for an agent that waits for a person. Raises NotAllowedError, AgentNotFoundError."""
    return queries.decision(control.retry(agent_id, actor=actor).decision)


def retry_write(key: str, *, actor: str) -> None:
    """Take up a tracker write that failed for ever. Raises AgentNotFoundError."""
    control.retry_write(key, actor=actor)


def replay_delivery(delivery_id: int, *, actor: str) -> None:
    """Take up a stored webhook again, however it ended. Raises the tracker's NotFoundError."""
    inbound.replay(delivery_id, actor=actor)


def cancel(agent_id: int, *, actor: str, reason: str = "") -> Touched:
    """End an agent and everything below it. Raises NotAllowedError, AgentNotFoundError."""
    return control.cancel(agent_id, actor=actor, reason=reason)


def cancel_scope(scope: str, *, actor: str, reason: str = "") -> Touched:
    """End everything in a scope (`scope_of`). Raises NotAllowedError, AgentNotFoundError."""
    return control.cancel_scope(scope, actor=actor, reason=reason)


def preview_scope(scope: str) -> Touched:
    """What `cancel_scope` would touch. Raises AgentNotFoundError."""
    return control.preview(control.tops_in(scope))


def pause(scope: str, *, actor: str) -> int:
    """Close a scope (`scope_of`); returns how many queued runs are held. Raises AgentNotFoundError."""
    return control.pause(scope, actor=actor)


def unpause(scope: str, *, actor: str) -> int:
    """Open a scope again; returns how many queued runs may go on. Raises AgentNotFoundError."""
    return control.unpause(scope, actor=actor)


def raise_limit(
    scope: str,
    *,
    actor: str,
    executions: int | None = None,
    wall_seconds: int | None = None,
    usd_micros: int | None = None,
    tokens: int | None = None,
    tool_calls: int | None = None,
    children: int | None = None,
) -> EnvelopeView:
    """Raise what a scope may use. Raises InvalidInputError, AgentNotFoundError."""
    return budgets.view(
        control.raise_limit(
            scope,
            actor=actor,
            executions=executions,
            wall_seconds=wall_seconds,
            usd_micros=usd_micros,
            tokens=tokens,
            tool_calls=tool_calls,
            children=children,
        )
    )


def envelope(scope: str) -> EnvelopeView:
    """What a scope may use and has used. Raises AgentNotFoundError."""
    return budgets.view(budgets.get(scope))


def is_day(scope: str) -> bool:
    """Whether a scope's key means one day of the fleet or of a repository."""
    return budget_rules.day_of(scope) is not None


def preview(agent_ids: Sequence[int]) -> Touched:
    """What acting on these agents and everything below them would touch."""
    return control.preview(agent_ids)


def scope_of(kind: ScopeKind, agent: AgentView | None = None, *, repository_id: int | None = None) -> str:
    """Key of the scope a person means: the fleet, a repository, the tree or the agent of `agent`."""
    if kind == ScopeKind.FLEET:
        return budgets.FLEET
    if kind == ScopeKind.REPOSITORY:
        return f"repository:{agent.repository_id if agent else repository_id}"
    if agent is None:
        raise ValueError(f"a {kind} needs an agent")
    if kind == ScopeKind.AGENT:
        return f"agent:{agent.id}"
    return f"tree:{agent.root_id}"


def rebuild_agents(repository_id: int) -> Rebuilt:
    """Agents for a mirrored board that has lost them; what exists stays as it is. Raises the tracker's errors."""
    return board.rebuild_agents(repository_id)


def board_differences(repository_id: int, *, progress: Callable[[int], None] = lambda _: None) -> list[Difference]:
    """Mirror beside tracker, agents beside labels. Raises the tracker's errors."""
    return board.differences(repository_id, progress=progress)


def repair_board(repository_id: int, found: Sequence[Difference], *, actor: str) -> list[tuple[str, str]]:
    """Repair differences; returns key and error of those that could not be. Raises RateLimitedError."""
    return board.repair(repository_id, found, actor=actor)


# --- conversations ---------------------------------------------------------------------------------------------

list_threads = conversations.list_threads
get_thread = conversations.get_thread
posts_of_thread = conversations.posts_of
said_to = conversations.said_to
join_thread = thread_rows.join
leave_thread = thread_rows.leave
close_thread = threads.close


def open_thread(
    agent_ids: Sequence[int], *, actor: str, subject: str, expires_at: datetime | None = None
) -> conversations.ThreadView:
    """Open a conversation with agents, as a person, who is in it. Raises AgentNotFoundError, InvalidInputError."""
    members = [queries.row_of(pk) for pk in dict.fromkeys(agent_ids)]
    thread = threads.open_thread(
        kind=ThreadKind.CHAT, subject=subject, members=members, opened_by=actor, expires_at=expires_at
    )
    return conversations.get_thread(thread.pk)


def bridge_agents(one: int, other: int, *, actor: str, subject: str = "") -> conversations.ThreadView:
    """Let two agents of any trees write to each other, in this thread and directly, until it is closed."""
    thread = threads.bridge(queries.row_of(one), queries.row_of(other), actor=actor, subject=subject)
    return conversations.get_thread(thread.pk)


def post_to_thread(
    thread_id: int,
    *,
    actor: str,
    text: str,
    kind: MessageKind = MessageKind.CHAT,
    data: Mapping[str, Any] | None = None,
) -> conversations.PostView:
    """Say something in a thread, as a person, who joins it by that.

    Raises ThreadNotFoundError, NotAllowedError, InvalidInputError.
    """
    said = threads.post(thread_id, sender=actor, kind=kind, text=text, data=data)
    return conversations.post_view(said.pk)


# --- profiles, prompts, upgrades -------------------------------------------------------------------------------


save_definition = definitions.save
take_back_definition = definitions.take_back
definition_versions = definitions.versions
definitions_saved = definitions.current
profile = catalogue.profile
profile_grants = catalogue.grants
toolset = catalogue.toolset
catalogue_entries = catalogue.entries
definition_text = catalogue.source
fleet_tiers = profiles.fleet_tiers
unknown_tiers = profiles.unknown_tiers
save_prompt = prompt_library.save
freeze_prompt = prompt_library.freeze
find_prompts = prompt_library.visible
get_prompt = prompt_library.get
prompt_versions = prompt_library.versions
prompt_scope = prompt_library.tree_scope
find_upgrades = upgrades.find
answer_upgrade = upgrades.answer
find_conflicts = conflict_views.find
get_conflict = conflict_views.get
decide_conflict = conflict_views.decide
decision_of_conflict = conflict_words.decided_of


# --- locks -----------------------------------------------------------------------------------------------------


find_locks = locking.find
release_lock = locking.release_by_hand


# --- the plan --------------------------------------------------------------------------------------------------


export_plan = plans.export
preview_plan = plans.preview
apply_plan = plans.apply
plan_words = plan_diff.in_words
plan_change = plan_diff.as_json
plan_summary = plan_diff.summary


# --- reads -----------------------------------------------------------------------------------------------------

find_agent = queries.find
get_agent = queries.get
tree = queries.tree
explain = queries.explain
needing_attention = queries.needing_attention
under_way = queries.under_way
recent = queries.recent
executions_of = queries.executions_of
executions_by_agent = queries.executions_by_agent
overview = overviews.read
due_parents = sweeps.due_parents
nudges_of = queries.nudges_of
costs = queries.costs_of
total_cost = queries.total_cost
envelopes = queries.envelopes
budget_tree = budget_history.tree
movements = budget_history.history
agents_of_streams = queries.agents_of_streams
scope_names = queries.scope_names


def violations() -> list[Violation]:
    """Every row that breaks a law, with its remedy."""
    return invariants.violations()


def policy_errors() -> list[tuple[RepositoryView, str]]:
    """Repositories whose fetch or policy file is not good, and why."""
    return repositories.errors()


# --- what tasks call -------------------------------------------------------------------------------------------


def apply_events() -> int:
    """Take up what the grid reported; returns how many events."""
    return sweeps.apply_events()


def decide_again(agent_id: int) -> Decision | None:
    """Decide an agent's open nudge anew."""
    return dispatch.decide_again(agent_id)


def advance_conflict(conflict_id: int) -> int:
    """Announce a conflict, or carry out what is due of its decision; returns how many acts."""
    return resolutions.advance(conflict_id)


def drain_outbox(repository_id: int) -> int:
    """Carry out a repository's tracker writes; returns how many."""
    return outbox.drain(repository_id)


def refresh_repository(repository_id: int) -> None:
    """Fetch a repository and read its policy."""
    repositories.refresh(repository_id)


def take_up_delivery(delivery_id: int) -> bool:
    """Take up a stored webhook; returns whether this call finished it."""
    return inbound.take_up(delivery_id)


def take_up_deliveries() -> int:
    """Take up the webhooks that wait; returns how many were finished."""
    return inbound.take_up_due()


def sweep() -> bool:
    """The pass of every few seconds, unless somebody did this slot's; returns whether it ran."""
    ours = sweeps.claim_slot("sweep", every_seconds=_period("coordinator.sweep"))
    if ours:
        sweeps.sweep()
    return ours


def resume_parents() -> bool:
    """The pass over waiting parents, unless somebody did this slot's; returns whether it ran."""
    ours = sweeps.claim_slot("resume_parents", every_seconds=_period("coordinator.resume_parents"))
    if ours:
        sweeps.resume_parents()
    return ours


def sync_trackers() -> bool:
    """The pass over trackers that live elsewhere, unless somebody did this slot's; returns whether it ran."""
    ours = sweeps.claim_slot("sync", every_seconds=_period("coordinator.sync"))
    if ours:
        sync.sync_all()
    return ours


def sync_repository(repository_id: int) -> None:
    """Take up what changed in a repository's tracker, and have the rest taken up when there is more."""
    sync.sync_and_go_on(repository_id)


def housekeeping() -> bool:
    """The hourly pass, unless somebody did this slot's; returns whether it ran."""
    ours = sweeps.claim_slot("housekeeping", every_seconds=_period("coordinator.housekeeping"))
    if ours:
        sweeps.housekeeping()
    return ours


def reconcile() -> dict[str, int]:
    """What every component does before it dispatches anything: one whole sweep, whatever slot it is."""
    return sweeps.sweep()


def record_audit(actor: str, action: str, target: str, detail: dict[str, object]) -> None:
    """An audit row for an act that no function here covers."""
    auditing.record(actor, action, target, detail)


check_limits = limits.require


def count_agents() -> int:
    """How many agents there are."""
    return Agent.objects.count()


def _period(name: str) -> float:
    return float(settings.CELERY_BEAT_SCHEDULE[name]["schedule"])
