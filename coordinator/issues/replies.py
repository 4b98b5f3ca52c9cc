"""What is said to commands in comments; anybody may read it, so nothing of the operator's stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.agents import raising
from coordinator.care import repositories
from coordinator.documents import money_words, pull_requests
from coordinator.documents.untrusted import one_line
from coordinator.public_types import AgentView, Decision, EnvelopeView, ScopeKind
from coordinator.reading import explanations, queries
from coordinator.rules import answers

_PLAN_LINES = 60
_FAULT_CHARACTERS = 2_000
_SHOWN = frozenset({ScopeKind.TREE, ScopeKind.AGENT})
"""Levels whose figures are told: what the fleet and the repository may use, and have used, is the operator's."""


def to_nudge(agent_id: int) -> str:
    """What is said when the run that was asked for just now needs something more; that it starts, or waits, is seen soon."""
    agent = queries.row_of(agent_id)
    decision = answers.from_stored(agent.decision)
    if decision is None or not answers.needs_a_person(decision):
        return ""
    return answers.in_public(decision, ways=raising.ways(agent))


def plan(views: Sequence[AgentView], *, mine: int) -> str:
    """The tree as a list, with the issue of agent `mine` marked."""
    lines = [
        f"{'  ' * (view.depth - views[0].depth)}- #{view.issue.rpartition('#')[2]}: {view.state}"
        + (" (this issue)" if view.id == mine else "")
        for view in views[:_PLAN_LINES]
    ]
    more = [f"- … and {len(views) - _PLAN_LINES} more"] if len(views) > _PLAN_LINES else []
    return "\n".join(["The plan:", "", *lines, *more])


def explain(agent_id: int) -> str:
    """Why an agent runs, or does not, and what it has used. Raises AgentNotFoundError."""
    found = explanations.explain(agent_id)
    agent, ways = found.agent, raising.ways(queries.row_of(agent_id))
    lines = [
        f"- state: {agent.state}, {agent.executions} runs, {agent.attempts} failed since the last success",
        f"- if it were nudged now: {_in_public(found.now, ways)}",
    ]
    if agent.decision is not None:
        lines.append(f"- last answer to a nudge: {_in_public(agent.decision, ways)}")
    if found.children:
        lines.append(f"- sub-issues: {len(found.children)}")
    if found.cost is not None:
        lines.append(f"- cost of its own models so far: {money_words.cost(found.cost)}")
    lines += [f"- {view.kind}: {_used(view)}" for view in found.envelopes if view.kind in _SHOWN]
    fault = repositories.policy_error(agent.repository_id)
    if fault:
        lines += ["- the policy file has mistakes:", "", pull_requests.quoted(fault, _FAULT_CHARACTERS)]
    return "\n".join(lines)


def _used(view: EnvelopeView) -> str:
    runs, spent = view.executions_spent + view.executions_reserved, money_words.dollars(view.usd_spent_micros)
    of_runs = "" if view.executions_limit is None else f" of {view.executions_limit}"
    of_money = "" if view.usd_limit_micros is None else f" of {money_words.dollars(view.usd_limit_micros)}"
    return f"{runs}{of_runs} runs and {spent}{of_money} used"


def _in_public(decision: Decision, ways: Mapping[str, str]) -> str:
    if answers.needs_a_person(decision) or decision.code == "budget":
        return f"{decision.answer}. {answers.in_public(decision, ways=ways)}"
    if decision.code == "capacity":  # how many places there are, and whose, is the operator's
        return f"{decision.answer}, it waits for a free place"
    return f"{decision.answer}, {one_line(decision.reason, 300)}"
