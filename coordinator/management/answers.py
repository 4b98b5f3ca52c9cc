"""What commands that ask for a run show: the decision, and what would have to change."""

from __future__ import annotations

from django.utils import timezone
from rich.text import Text

from coordinator import public_api
from coordinator.management import render
from coordinator.management.base import NOT_OK, OK
from coordinator.management.output import Output, cell
from coordinator.public_types import AgentView, Answer, Decision

_STYLES = {Answer.ADMITTED: "green", Answer.DEFERRED: "yellow", Answer.REFUSED: "red", Answer.COALESCED: "yellow"}
NO_HOST = "no host takes work at the moment: start one with `manage.py up`"


def show(out: Output, agent: AgentView, decision: Decision | None) -> int:
    """Print an agent and the answer it got; returns the exit code."""
    out.document({"agent": agent, "decision": decision})
    out.line(cell(agent.issue, "bold"), "  ", cell(agent.title, limit=100))
    out.line(answer(decision), indent=2)
    if is_admitted(decision) and not public_api.overview(limit=1).has_working_host:
        out.line(cell(NO_HOST, "yellow"), indent=2)
    return NOT_OK if decision is not None and decision.answer == Answer.REFUSED else OK


def answer(decision: Decision | None) -> Text:
    """A decision as a coloured sentence."""
    if decision is None:
        return cell("not decided yet", "dim")
    return cell(render.sentence(decision, now=timezone.now()), _STYLES.get(decision.answer, ""))


def is_admitted(decision: Decision | None) -> bool:
    """Whether a run was queued."""
    return decision is not None and decision.answer == Answer.ADMITTED
