"""How far people on the tracker may raise what a tree may use, and what they are told of it."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.conf import conf
from coordinator.models import Agent, Envelope
from coordinator.money import budgets
from coordinator.public_types import ScopeKind
from coordinator.rules import budget_rules
from grid import public_api as grid
from grid import public_events as grid_events
from grid.public_types import ExecutionView, State

RUNS, MONEY = "runs", "money"
_DOLLAR = 1_000_000
"""In millionths."""
_COLUMNS = {RUNS: "executions_limit", MONEY: "usd_limit_micros"}


def most(unit: str) -> int | None:
    """The most that people with write access may let one tree use: runs, or whole US dollars; None: the operator set no limit."""
    settings = conf()
    factor = max(1, settings.raise_factor)
    if unit == RUNS:
        return settings.tree_executions * factor
    return None if settings.tree_usd_micros is None else settings.tree_usd_micros * factor // _DOLLAR


def refusal(tree: Envelope, *, unit: str, wanted: int) -> str:
    """Why a tree's limit may not be raised to so much by a comment, in Markdown; empty when it may.

    Args:
        wanted: Runs, or whole US dollars, of the whole tree in all.
    """
    present, cap = getattr(tree, _COLUMNS[unit]), most(unit)
    if present is None:
        return f"Not done: no limit of {unit} holds for the tree."
    if wanted * (_DOLLAR if unit == MONEY else 1) <= present:
        return f"Not done: the tree may use {_words(unit, tree)} already."
    if cap is not None and wanted > cap:
        return f"Not done: here a tree may be raised to {_amount(unit, cap)} at most; an operator can go further."
    return ""


def ways(agent: Agent) -> Mapping[str, str]:
    """How people who may write raise what an agent's tree may use, by unit; what is at its most already is left out."""
    tree = _tree(agent)
    if tree is None:
        return {}
    found = {}
    for unit in (RUNS, MONEY):
        cap = most(unit)
        if cap is not None and not refusal(tree, unit=unit, wanted=cap):
            amount = f"${cap}" if unit == MONEY else str(cap)
            found[unit] = (
                f"who may write here can raise it, to {_amount(unit, cap)} at most: `/agent budget {amount}` on a line of its own"
            )
    return found


def after_stop(agent: Agent) -> str:
    """How an agent goes on whose last run was stopped for want of its tree's money, in Markdown; empty when it was not."""
    run = grid.get_execution(agent.execution_id) if agent.execution_id is not None else None
    tree = _tree(agent)
    if run is None or tree is None or run.state != State.OVER_BUDGET or stopped_by(run) != tree.key:
        return ""
    figures = f"{budget_rules.dollars(tree.usd_spent_micros)} of {_words(MONEY, tree)}"
    way = ways(agent).get(MONEY, "an operator can raise it")
    return f"The whole tree has spent {figures} on models, and the next call did not fit; {way}."


def stopped_by(run: ExecutionView) -> str:
    """Key of the scope for whose want of money a run was stopped, as the gateway told it; empty when that was something else."""
    said = grid_events.latest_events(stream=f"execution:{run.id}", kinds=("llm.refused",), limit=1)
    return str(said[0].body.get("scope", "")) if said and said[0].body.get("code") == "budget_exceeded" else ""


def _tree(agent: Agent) -> Envelope | None:
    return next((row for row in budgets.path_of(agent.envelope) if row.kind == ScopeKind.TREE), None)


def _words(unit: str, tree: Envelope) -> str:
    if unit == RUNS:
        return f"{tree.executions_limit} runs"
    return budget_rules.dollars(tree.usd_limit_micros or 0)


def _amount(unit: str, amount: int) -> str:
    return f"{amount:,} runs" if unit == RUNS else f"${amount:,}"
