"""Tables on an agent's page; each is bounded and links on."""

from __future__ import annotations

from django.db.models import Q
from django.utils.html import format_html

from coordinator.admin.display import line
from coordinator.admin.envelopes import envelope_status, used
from coordinator.admin.links import run_link
from coordinator.admin.words import decision_in_words
from coordinator.documents import money_words
from coordinator.models import Agent, AuditEntry
from coordinator.money import budgets
from coordinator.reading import queries
from grid import public_events as grid_events
from grid.public_admin import link, list_link, pill, plain, table

TIMELINE_ROWS = 200
CHILD_ROWS = 100
SCOPE_ACTS = ("pause", "unpause", "raise_limit")
"""Acts whose audit rows name an envelope; all others name an agent."""


def children_table(agent: Agent) -> str:
    """Parts in the order they were made."""
    rows = Agent.objects.filter(parent=agent).select_related("issue").defer("issue__body", "summary").order_by("pk")
    return table(
        ("agent", "state", "issue", "attempts", "last decision"),
        (
            (
                link("coordinator_agent", row.pk, row.path),
                pill(row.state),
                link("tracker_issue", row.issue_id, f"#{row.issue.key} {line(row.issue.title, 100)}"),
                row.attempts,
                decision_in_words(row.decision),
            )
            for row in rows[:CHILD_ROWS]
        ),
    )


def run_table(agent: Agent) -> str:
    """Executions, newest first."""
    cells = (
        (
            run_link(run.id),
            pill(run.state),
            str(run.mode),
            run.attempt,
            line(run.host, 64) or "-",
            f"{run.created_at:%Y-%m-%d %H:%M:%S}",
            f"{run.wall_seconds:.0f} s",
            line(run.result.reason, 200),
        )
        for run in queries.executions_of(agent.pk, limit=50)
    )
    every = list_link("grid_execution", "all runs", q=agent.subject)
    heads = ("run", "state", "mode", "attempt", "host", "created", "took", "reason")
    return format_html("{}{}", every, table(heads, cells))


def nudge_table(agent: Agent) -> str:
    """Nudges, newest first."""
    cells = (
        (
            link("coordinator_nudge", row.pk, str(row.pk)),
            f"{row.created_at:%Y-%m-%d %H:%M:%S}",
            row.source,
            line(row.reason, 200),
            decision_in_words(row.decision),
            run_link(row.execution_id),
        )
        for row in agent.nudges.order_by("-pk")[:20]
    )
    every = list_link("coordinator_nudge", "all nudges", agent__id__exact=agent.pk)
    return format_html("{}{}", every, table(("no.", "at", "by", "because", "answer", "run"), cells))


def envelope_table(agent: Agent) -> str:
    """The path of envelopes from the fleet down."""
    return table(
        ("scope", "state", "live", "executions", "wall time", "money", "tokens"),
        (
            (
                link("coordinator_envelope", row.pk, row.key),
                envelope_status(row),
                f"{row.live} of {'any' if row.max_live is None else row.max_live}",
                used(row.executions_reserved, row.executions_spent, row.executions_limit),
                used(row.wall_reserved_seconds, row.wall_spent_seconds, row.wall_limit_seconds, " s"),
                money_words.spent(budgets.view(row)) or "-",
                money_words.tokens_spent(budgets.view(row)) or "-",
            )
            for row in budgets.path_of(agent.envelope)
        ),
    )


def audit_table(agent: Agent) -> str:
    """What people did to it or to its tree, newest first."""
    scopes = [row.key for row in budgets.path_of(agent.envelope)]
    itself = Q(target=agent.stream) & ~Q(action__in=SCOPE_ACTS)
    rows = AuditEntry.objects.filter(itself | Q(target__in=scopes, action__in=SCOPE_ACTS)).order_by("-pk")[:20]
    return table(
        ("at", "who", "did", "to", "detail"),
        (
            (
                link("coordinator_auditentry", row.pk, f"{row.at:%Y-%m-%d %H:%M:%S}"),
                line(row.actor),
                line(row.action),
                line(row.target),
                line(plain(row.detail), 300),
            )
            for row in rows
        ),
    )


def timeline(agent: Agent) -> str:
    """The last events of its stream, oldest first."""
    cells = (
        (
            link("grid_event", event.id, str(event.seq)),
            f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            line(event.kind),
            line(plain(dict(event.body)), 400),
        )
        for event in grid_events.latest_events(stream=agent.stream, limit=TIMELINE_ROWS)
    )
    every = list_link("grid_event", "all events", q=agent.stream)
    return format_html("{}{}", every, table(("no.", "at", "kind", "what"), cells))
