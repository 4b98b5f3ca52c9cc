"""How `explain` tells why an agent runs or does not."""

from __future__ import annotations

from django.utils import timezone
from rich.text import Text

from coordinator import public_api
from coordinator.documents import untrusted
from coordinator.management import answers, money, render
from coordinator.management.output import Output, cell, joined, row, table
from coordinator.public_api import Explanation
from coordinator.public_types import ENDED
from grid.public_types import Check, ExecutionView

_TAIL_LINES = 12
_SHOWN = 5


def show(out: Output, found: Explanation) -> None:
    """Print an explanation, the answer first."""
    agent, now = found.agent, timezone.now()
    out.line(cell(agent.issue, "bold"), "  ", cell(agent.title, limit=100))
    facts = [
        (
            "state",
            joined(
                render.state(agent), Text(" for "), cell(f"{render.duration((now - agent.updated_at).total_seconds())}")
            ),
        ),
        ("because", cell(render.why(agent, now=now) or "-")),
        ("decided", answers.answer(agent.decision)),
    ]
    if agent.state not in ENDED:
        facts.append(("a nudge now", answers.answer(found.now)))
    facts += [
        ("agent", cell(f"{agent.adapter or '-'}, place {agent.path}, depth {agent.depth}")),
        ("branch", cell(f"{agent.branch} {agent.head[:10] or '(nothing on it yet)'}")),
        ("runs", cell(f"{agent.executions}, failed attempts {agent.attempts}, crashes {agent.crashes}")),
    ]
    if found.cost is not None:
        facts.append(("cost", cell(money.cost(found.cost))))
    may = [text for text in found.holds if not text.startswith("tools ")]
    facts.append(("profile", cell(f"{found.profile or 'none'} (by {found.profile_from}){_model(found)}")))
    facts.append(("may use", cell(f"{', '.join(may)}, {len(found.capability['tools'])} tools")))
    facts += [("not met", cell(note, "yellow")) for note in found.wishes_not_met]
    if found.reported:
        facts.append(("it says", cell(found.reported)))
    if agent.not_before is not None and agent.not_before > now:
        facts.append(("next try", cell(f"in {render.duration((agent.not_before - now).total_seconds())}")))
    if found.policy_error:
        facts.append(("policy", cell(found.policy_error, "red", limit=1000)))
    if found.blockers:
        facts.append(("blocked by", cell(", ".join(found.blockers))))
    out.lines(table(facts), indent=2)
    if found.children:
        out.heading("Sub-issues")
        out.lines(render.waiting(found.children, now=now), indent=2)
    out.heading("Budgets and limits")
    origin = render.origins(found.limits, found.origin, found.envelopes)
    out.lines(render.envelopes(found.envelopes, names=public_api.scope_names(found.envelopes), origin=origin), indent=2)
    limits = ", ".join(f"{name} {value} ({found.origin.get(name, '')})" for name, value in found.limits.items())
    out.lines([cell(limits, "dim", limit=2000)], indent=2)
    if found.executions:
        out.heading("Last runs")
        for run in found.executions[:_SHOWN]:
            out.lines(_run(run), indent=2)
    out.heading("Nudges")
    out.lines(
        table(
            [
                (
                    f"{timezone.localtime(nudge.created_at):%m-%d %H:%M:%S}",
                    nudge.source,
                    cell(nudge.reason, limit=60),
                    answers.answer(nudge.decision),
                )
                for nudge in found.nudges[:_SHOWN]
            ]
        ),
        indent=2,
    )


def _model(found: Explanation) -> str:
    return f", model {found.model}" if found.model else ""


def _run(run: ExecutionView) -> list[Text]:
    head = f"{str(run.id)[:8]}  {run.mode}, attempt {run.attempt}: {run.state}"
    kept = "" if run.sandbox in ("", "process") else f" in {run.sandbox}"
    where = f" on {run.host}{kept}, {render.duration(run.wall_seconds)}" if run.host else ""
    lines = [cell(f"{head}{where}{', ' + run.phase if run.phase else ''}")]
    if run.result.reason:
        lines.append(joined("  ", cell(run.result.reason, "dim")))
    for check in run.result.checks:
        lines += [joined("  ", line) for line in _check(check)]
    return lines


def _check(check: Check) -> list[Text]:
    took = render.duration(check.seconds)
    if check.passed:
        return [cell(f"passed in {took}: {check.command}", "green")]
    code = "a signal or a limit" if check.exit_code is None else f"exit {check.exit_code}"
    tail = untrusted.terminal(check.tail).strip("\n").splitlines()[-_TAIL_LINES:]
    return [cell(f"failed with {code} in {took}: {check.command}", "red"), *(row(f"| {line}", "dim") for line in tail)]
