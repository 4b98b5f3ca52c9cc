"""What commands, pages, tasks and other packages may ask of the coordinator. Thin: each function is one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.utils import timezone

from coordinator import auditing, invariants, sweeps
from coordinator.care import catalogue, definitions, limits, profiles, prompt_library, repositories
from coordinator.issues import board, inbound
from coordinator.issues.board import Difference
from coordinator.issues.rebuild import Rebuilt
from coordinator.money import budget_history, budgets
from coordinator.money.budget_history import Movement
from coordinator.operating import control, submissions
from coordinator.public_types import (
    AgentView,
    Decision,
    EnvelopeView,
    NudgeView,
    ScopeKind,
    Submission,
    Violation,
)
from coordinator.reading import explanations, pulse, queries, touching
from coordinator.reading import overview as overviews
from coordinator.reading.explanations import Explanation
from coordinator.reading.touching import Touched
from coordinator.rules import budget_rules
from coordinator.teamwork import upgrades
from tracker.public_types import RepositoryView

__all__ = [
    "Difference",
    "Explanation",
    "Movement",
    "Rebuilt",
    "Touched",
]


# --- work ------------------------------------------------------------------------------------------------------


def add_repository(path: str) -> RepositoryView:
    """Take a git repository on this machine under care. Raises InvalidInputError that names the fix."""
    return repositories.add_local(path)


def refresh_repository(repository_id: int) -> None:
    """Fetch a repository and read its policy."""
    repositories.refresh(repository_id)


def submit(*, repository_id: int, submission: Submission, actor: str) -> tuple[AgentView, NudgeView, bool]:
    """Open an issue, take it on, nudge it; the third value says whether it is new. Raises InvalidInputError."""
    agent, _, is_new = submissions.submit(repository_id=repository_id, submission=submission, actor=actor)
    return queries.get(agent.pk), queries.nudges_of(agent.pk, limit=1)[0], is_new


def not_used(agent_id: int, submission: Submission) -> tuple[str, ...]:
    """What of a repeated submission differs from the first one and has no effect. Raises AgentNotFoundError."""
    return submissions.not_used(queries.row_of(agent_id), submission)


def why_missing(agent_id: int) -> str:
    """Why this machine could not start an agent's next run, as its program is not there; empty when it could."""
    return submissions.why_missing(agent_id)


def nudge(agent_id: int, *, actor: str, reason: str = "") -> Decision | None:
    """Ask for a look at an agent now; the answer is stored. Raises AgentNotFoundError."""
    return queries.decision(control.nudge(agent_id, actor=actor, reason=reason).decision)


def retry(agent_id: int, *, actor: str) -> Decision | None:
    """Fresh attempts for an agent that waits for a person. Raises NotAllowedError, AgentNotFoundError."""
    return queries.decision(control.retry(agent_id, actor=actor).decision)


def retry_write(key: str, *, actor: str) -> None:
    """Take up a tracker write that failed for ever. Raises AgentNotFoundError, NotAllowedError."""
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
    return touching.preview(touching.tops_in(scope))


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


def sweeps_late() -> list[str]:
    """That nobody sweeps any more, or none has yet though work waits: a sentence, or nothing."""
    found = pulse.problem(now=timezone.now(), without_work=True)
    return [f"{found}: {pulse.REMEDY}"] if found else []


def preview(agent_ids: Sequence[int]) -> Touched:
    """What acting on these agents and everything below them would touch."""
    return touching.preview(agent_ids)


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


def record_audit(actor: str, action: str, target: str, detail: dict[str, object]) -> None:
    """An audit row for an act that no function here covers."""
    auditing.record(actor, action, target, detail)


# --- profiles, prompts, upgrades -------------------------------------------------------------------------------


save_definition = definitions.save
take_back_definition = definitions.take_back
definition_versions = definitions.versions
profile = catalogue.profile
profile_grants = catalogue.grants
toolset = catalogue.toolset
catalogue_entries = catalogue.entries
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
# --- reads -----------------------------------------------------------------------------------------------------

find_agent = queries.find
get_agent = queries.get
tree = queries.tree
explain = explanations.explain
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


check_limits = limits.require
