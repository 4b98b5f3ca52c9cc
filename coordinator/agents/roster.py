"""Take issues on: an agent and its envelope for each, with its place in the tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Model

from coordinator import lifecycle
from coordinator.agents import tree
from coordinator.conf import conf
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.public_types import AgentState, ScopeKind
from grid import public_code as grid_code
from grid import public_events as grid_events
from tracker import public_api as tracker


def fleet_envelope() -> Envelope:
    """The outermost envelope; its cap follows the setting."""
    row = budgets.ensure(kind=ScopeKind.FLEET, key=budgets.FLEET, parent=None, limits={"max_live": conf().max_live})
    return _capped(row, conf().max_live)


def repository_envelope(repository_id: int, *, max_live: int | None = None) -> Envelope:
    """A repository's envelope; `max_live` is its policy's cap, and may only lower the fleet's."""
    cap = min(max_live or conf().max_live_per_repository, conf().max_live_per_repository)
    row = budgets.ensure(
        kind=ScopeKind.REPOSITORY,
        key=f"repository:{repository_id}",
        parent=fleet_envelope(),
        limits={"max_live": cap},
    )
    return _capped(row, cap)


def ensure_scope(key: str) -> None:
    """Make the envelope of the fleet or of a known repository before its first agent does."""
    kind, _, number = key.partition(":")
    if kind == budgets.FLEET:
        fleet_envelope()
    elif (
        kind == ScopeKind.REPOSITORY
        and number.isdecimal()
        and any(r.id == int(number) for r in tracker.list_repositories())
    ):
        repository_envelope(int(number))


def take_on(
    *,
    issue_id: int,
    repository_id: int,
    parent: Agent | None = None,
    spec: Mapping[str, Any] | None = None,
    profile: str = "",
    priority: int = 0,
) -> Agent:
    """The agent of an issue, made when there is none; what exists already keeps its place and its wishes."""
    existing = Agent.objects.filter(issue_id=issue_id).first()
    if existing is not None:
        return existing
    issue = tracker.get_issue(issue_id)
    with transaction.atomic():
        if parent is not None and budgets.hold(parent.envelope):  # moved since the caller read it
            parent.refresh_from_db(fields=["depth", "path"])
        above = parent.envelope if parent is not None else _tree_envelope(issue_id, repository_id)
        envelope = budgets.ensure(kind=ScopeKind.AGENT, key=f"new-agent:{issue_id}", parent=above, limits={})
        agent, is_new = Agent.objects.get_or_create(
            issue_id=issue_id,
            defaults={
                "repository_id": repository_id,
                "parent": parent,
                "root_id": parent.tree_id if parent is not None else None,
                "depth": parent.depth + 1 if parent is not None else 0,
                "path": path_below(parent, issue.ref.key),
                "envelope": envelope,
                "branch": grid_code.branch_name(issue.ref.key, issue.title),
                "spec": dict(spec or {}),
                "profile": profile,
                "priority": priority,
            },
        )
        if not is_new:
            transaction.set_rollback(True)  # somebody was faster; our envelopes are not wanted
        else:
            # Scopes are named after the agent, as its streams and audit rows are; only now it has a number.
            budgets.rename(envelope, agent.stream)
            made: list[Model] = [envelope, agent]
            if parent is None:
                budgets.rename(above, agent.root_key)
                made.insert(0, above)
            # Last of what is counted: every level above is held from here on.
            budgets.take_child(envelope)
            lifecycle.record(
                agent,
                (
                    "agent.created",
                    {
                        "issue": str(issue.ref),
                        "path": agent.path,
                        "parent": parent.pk if parent else None,
                        "rows": [grid_events.row(row) for row in made],
                    },
                ),
            )
            tree.assign_machine_user(agent)
            if not envelope.is_counted:
                _no_room(agent, above)
    return agent


def _no_room(agent: Agent, above: Envelope) -> None:
    """Keep an agent that is one too many from running until a person has decided."""
    reason = f"there is no budget for one more agent: {budgets.child_room(above, 1)}, then nudge it"[:1000]
    lifecycle.move(agent, new=AgentState.BLOCKED, reason=reason[:500], fields={"blocked_reason": reason})
    agent.blocked_reason = reason
    tree.show_state(agent)


def _tree_envelope(issue_id: int, repository_id: int) -> Envelope:
    settings = conf()
    return budgets.ensure(
        kind=ScopeKind.TREE,
        key=f"new-tree:{issue_id}",
        parent=repository_envelope(repository_id),
        limits={
            "max_live": settings.max_live_per_tree,
            "executions_limit": settings.tree_executions,
            "wall_limit_seconds": settings.tree_wall_seconds,
            "usd_limit_micros": settings.tree_usd_micros,
            "tokens_limit": settings.tree_tokens,
            "tool_calls_limit": settings.tree_tool_calls,
            "children_limit": settings.tree_children,
            "progress_limit_micros": settings.spend_without_progress_micros,
        },
    )


def path_below(parent: Agent | None, key: str) -> str:
    """The place in the tree of a new child, or of a root.

    One that a child had before it was moved away is not given again as long as a later one is there.
    """
    if parent is None:
        return key[:20]
    taken = Agent.objects.filter(parent=parent).values_list("path", flat=True)
    numbers = [int(last) for last in (path.rpartition(".")[2] for path in taken) if last.isdecimal()]
    return f"{parent.path}.{max(numbers, default=0) + 1}"[:100]


def _capped(row: Envelope, cap: int) -> Envelope:
    if row.max_live != cap:
        budgets.follow_setting(row, max_live=cap)
    return row
