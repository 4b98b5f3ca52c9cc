"""Nudges, policies, sweeps and the audit in the admin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html

from coordinator import public_api
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import json_block, line
from coordinator.admin.links import run_link
from coordinator.admin.scopes import pause_act, unpause_act
from coordinator.admin.words import decision_in_words
from coordinator.models import Agent, AuditEntry, Nudge, RepositoryPolicy, SweepSlot
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import ScopeKind
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill, plain


@admin.register(Nudge)
class NudgeAdmin(ReadOnlyAdmin):
    """Requests to look at an agent, and what became of them."""

    list_display = ("id", "of", "source", "answered", "because", "run", "created_at", "not_before")
    list_filter = ("is_open", "answer", "source", "agent__repository")
    list_select_related = ("agent__issue",)
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body")
    search_fields = ("^execution_id", "agent__path__exact", "reason")
    search_help_text = "Start of an execution's id, exactly a path, or part of the reason"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "answered", "because", "run", "decision_json")
    fields = [
        *("id", "of", "source", "because", "is_open", "answered", "run"),
        *("created_at", "answered_at", "not_before", "decision_json"),
    ]

    @admin.display(description="agent", ordering="agent")
    def of(self, row: Nudge) -> str:
        """Whom to look at."""
        text = f"{row.agent.path} {line(row.agent.issue.title, 80)}"
        return link("coordinator_agent", row.agent_id, text)

    @admin.display(description="answer", ordering="answer")
    def answered(self, row: Nudge) -> str:
        """The answer in words."""
        return decision_in_words(row.decision) if row.decision else pill("open")

    @admin.display(description="reason")
    def because(self, row: Nudge) -> str:
        """Why somebody nudged."""
        return line(row.reason, 500) or "-"

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Nudge) -> str:
        """What it started."""
        return run_link(row.execution_id)

    @admin.display(description="decision")
    def decision_json(self, row: Nudge) -> str:
        """The stored decision."""
        return json_block(row.decision)


def _repository_scope(row: RepositoryPolicy) -> str:
    return public_api.scope_of(ScopeKind.REPOSITORY, repository_id=row.repository_id)


def _refresh(row: RepositoryPolicy, actor: str, answers: Mapping[str, Any]) -> str:
    public_api.refresh_repository(row.repository_id)
    row.refresh_from_db()
    outcome: dict[str, object] = {"head": row.head, "error": row.error[:500]}
    public_api.record_audit(actor, "refresh", f"repository:{row.repository_id}", outcome)
    if row.error:
        raise InvalidInputError(row.error)
    return f"fetched at {row.head[:12]}"


def _nobody(rows: Sequence[Any]) -> QuerySet[Agent]:
    return Agent.objects.none()


@admin.register(RepositoryPolicy)
class RepositoryPolicyAdmin(ActingAdmin):
    """What is known of each repository's head and policy file."""

    list_display = ("of", "status", "head", "policy_commit", "refreshed_at", "problem")
    list_display_links = ("status",)
    list_filter = (("error", admin.EmptyFieldListFilter), "repository__tracker")
    list_select_related = ("repository",)
    list_defer = ("policy",)
    search_fields = ("repository__scope", "=head", "=policy_commit")
    search_help_text = "Part of a repository's scope, or exactly a commit"
    ordering = ("repository__scope",)
    acts = (
        Act(
            name="refresh",
            label="Refresh now",
            effect="The repository is fetched and its policy read while you wait; this may take a minute for each. "
            "No agent is touched; the policy holds from the next launch on.",
            run=_refresh,
            reach=_nobody,
            max_rows=5,
        ),
        pause_act("repository", _repository_scope),
        unpause_act("repository", _repository_scope),
    )
    readonly_fields = ("of", "status", "problem", "policy_json", "elsewhere")
    fields = ("of", "status", "problem", "head", "policy_commit", "refreshed_at", "policy_json", "elsewhere")

    def name_of(self, row: RepositoryPolicy) -> str:
        """The repository."""
        return row.repository.scope

    @admin.display(description="repository", ordering="repository__scope")
    def of(self, row: RepositoryPolicy) -> str:
        """Whose policy it is."""
        return link("tracker_repository", row.repository_id, line(row.repository.scope))

    @admin.display(description="state", ordering="error")
    def status(self, row: RepositoryPolicy) -> str:
        """Whether the present file and the last fetch were good."""
        if row.error:
            return pill("failed", "broken")
        return pill("done", "good") if row.refreshed_at else pill("new", "never fetched")

    @admin.display(description="what is wrong")
    def problem(self, row: RepositoryPolicy) -> str:
        """The error, and what holds meanwhile."""
        return line(row.error, 1000) or "-"

    @admin.display(description="policy in force")
    def policy_json(self, row: RepositoryPolicy) -> str:
        """The last good file."""
        return json_block(row.policy)

    @admin.display(description="elsewhere")
    def elsewhere(self, row: RepositoryPolicy) -> str:
        """Its agents and its envelope."""
        return format_html(
            "{} · {}",
            list_link("coordinator_agent", "agents", repository__id__exact=row.repository_id),
            list_link("coordinator_envelope", "envelope", q=_repository_scope(row)),
        )


@admin.register(SweepSlot)
class SweepSlotAdmin(ReadOnlyAdmin):
    """The last slot of each periodic pass."""

    list_display = ("name", "slot")
    ordering = ("name",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what by hand."""

    list_display = ("at", "who", "action", "on", "what")
    list_filter = ("action",)
    search_fields = ("actor__exact", "target__exact")
    search_help_text = "Exactly: actor (admin:ann) or target (agent:5, tree:12)"
    date_hierarchy = "at"
    ordering = ("-id",)
    readonly_fields = ("who", "on", "detail_json")
    fields = ("id", "at", "who", "action", "on", "detail_json")

    @admin.display(description="who", ordering="actor")
    def who(self, row: AuditEntry) -> str:
        """Door and name."""
        return line(row.actor)

    @admin.display(description="target", ordering="target")
    def on(self, row: AuditEntry) -> str:
        """To what."""
        return line(row.target)

    @admin.display(description="detail")
    def what(self, row: AuditEntry) -> str:
        """On one line."""
        return line(plain(row.detail), 300)

    @admin.display(description="detail")
    def detail_json(self, row: AuditEntry) -> str:
        """Asked and touched."""
        return json_block(row.detail)
