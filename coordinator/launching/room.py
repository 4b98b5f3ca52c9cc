"""Setting a run's share of every budget aside, in the transaction that launches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from coordinator.care import profiles
from coordinator.launching.briefing import RunPlan
from coordinator.models import Agent, Envelope
from coordinator.money import budgets, plan_budgets, soft_limits
from coordinator.money.budgets import Draft
from coordinator.rules import budget_rules
from coordinator.rules.admission_facts import Full

_WHOLE = 100
"""Percent: no share is cut."""


def set_aside(
    agent: Agent, plan: RunPlan, *, path: Sequence[Envelope], execution_id: UUID, by_hand: bool
) -> tuple[RunPlan, Draft] | None:
    """Count the agent, carve its envelope at its first launch, and reserve one run on every level.

    Args:
        path: From the fleet down to its own, days included.
        by_hand: A person wants the run: its tree's money counts from here.

    Returns:
        The plan with the tool calls that the run may make, and the event that tells the reservation; None when a level is
        paused, full or spent.
    """
    own = path[-1]
    is_new = not (own.is_counted and agent.capability)
    # All of it at once, in the one order: some of it is changed below before the rest is taken.
    if is_new and budgets.hold(own, beside=path):
        return None  # it was moved meanwhile, and other levels pay
    if not own.is_counted and not budgets.take_child(own):
        return None
    if not agent.capability:
        if money_held(agent, plan, path=budgets.path_of(own)):
            return None  # since the decision
        share, limits = plan_budgets.with_wish(agent, *profiles.budget_of(plan.standing))
        least = {"executions": 1, "wall_seconds": plan.wall_seconds, "tool_calls": 1}
        budgets.carve(own, share=share, limits=limits, least=least)
    calls = budgets.tool_calls_for(path, cap=plan.standing.limits.tool_calls)
    told = budgets.reserve(path=path, execution_id=execution_id, wall_seconds=plan.wall_seconds, tool_calls=calls or 0)
    if told is None:
        return None
    if by_hand:
        soft_limits.note_progress(own, why="a person nudged it")
    limits_of_run = replace(plan.standing.limits, tool_calls=calls)
    return replace(plan, standing=replace(plan.standing, limits=limits_of_run)), told


def money_held(agent: Agent, plan: RunPlan, *, path: Sequence[Envelope]) -> str:
    """Why an agent's share of its parent's money cannot be cut yet, in words; empty when it can, or is cut already.

    Args:
        path: From the fleet down to its own; days do not matter.
    """
    if agent.capability:
        return ""
    share, _ = plan_budgets.with_wish(agent, *profiles.budget_of(plan.standing))
    return budgets.money_held(path) if share < _WHOLE else ""


def full(plan: RunPlan, *, path: Sequence[Envelope]) -> tuple[Full, ...]:
    """Which limits leave no room for the run, outermost first."""
    # One call at least: without any, a run is not worth its start, unless it may make none anyway.
    calls = 0 if plan.standing.limits.tool_calls == 0 else 1
    return (*budgets.full(path, wall_seconds=plan.wall_seconds, tool_calls=calls), *budget_rules.spent(path))
