"""Answers to nudges that only a person can end, and what of them people on the tracker may read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coordinator.documents.untrusted import one_line
from coordinator.public_types import Answer, Decision
from coordinator.rules.admission import NOT_FETCHED

NEEDS_A_PERSON = frozenset({"agent", "capability", "budget", "no-progress"})
"""Codes of deferred decisions that no waiting changes. Pauses, holds and questions are a person's own doing, and shown as such."""
FETCH, DEPTH = "fetch", "depth"
OPERATOR = "An operator can see why with `manage.py explain`."
_MAX_REASON = 500


def from_stored(stored: Mapping[str, Any] | None) -> Decision | None:
    """The decision that a row keeps as plain JSON; None where there is none."""
    if not stored:
        return None
    until = stored.get("until")
    return Decision(
        answer=Answer(stored["answer"]),
        code=stored["code"],
        reason=stored["reason"],
        until=datetime.fromisoformat(until) if until else None,
        mode=stored.get("mode", ""),
    )


def needs_a_person(decision: Decision | None) -> bool:
    """Whether nothing happens until somebody does something: a day's budget ends by itself, and so does a first fetch."""
    if decision is None or decision.answer not in (Answer.DEFERRED, Answer.REFUSED):
        return False
    if decision.code == "budget":
        return decision.until is None
    if decision.code == FETCH:
        return NOT_FETCHED not in decision.reason
    return decision.code in NEEDS_A_PERSON or decision.code == DEPTH


def in_public(decision: Decision, *, ways: Mapping[str, str]) -> str:
    """What people on the tracker are told of an answer that needs one of them, in Markdown: what is wrong, and what they can do.

    Anybody may read it. What is wrong in the repository's own files is told in full; of the operator's machines, and of budgets beyond
    the issue's own tree, only that something is.

    Args:
        ways: How a limit of the tree is raised by a comment, by its unit: `runs`, `money`; units that cannot be raised are left out.
    """
    if decision.code in ("agent", "capability"):
        return (
            f"No run can start: {_quoted(decision.reason)}. Where `.agentgrid.yml` or a profile in it says so, correct it there; "
            "else an operator can."
        )
    if decision.code == "budget":
        return _budget(decision, ways)
    if decision.code == FETCH:
        return f"The repository's code cannot be fetched, so no run can start. {OPERATOR}"
    if decision.code == "no-progress":
        return "The tree has spent much without work that was accepted. Look at what it has done; `/agent retry` lets it go on."
    return f"No run can start: {_quoted(decision.reason)}."


def figures(decision: Decision) -> tuple[str, str]:
    """Scope and figures of an answer for want of budget, as `coordinator.rules.admission` words them: `tree`, `9 of 9 executions`."""
    scope, _, rest = decision.reason.partition(": ")
    return scope, rest.partition(" are used or reserved")[0]


def _budget(decision: Decision, ways: Mapping[str, str]) -> str:
    scope, used = figures(decision)
    if scope.startswith("agent:"):
        return f"The issue's own budget is used up ({_quoted(used)}); an operator can raise it."
    if decision.until is not None:
        return "The day's budget is used up; it goes on when the next day starts, in UTC."
    if scope != "tree":
        return "A budget beyond this issue's tree is used up; an operator can raise it."
    unit = "money" if "$" in used else "runs" if used.endswith("executions") else ""
    way = ways.get(unit, "an operator can raise it")
    return f"The budget of its tree is used up ({_quoted(used)}); {way}."


def _quoted(text: str) -> str:
    """In a code span: names of profiles and models are other people's words."""
    return f"`{one_line(text, _MAX_REASON).replace('`', chr(39))}`"
