"""Agents in the admin: where each stands, why it runs or does not, and what an operator can do about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import CharField, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat, Length
from django.http import HttpRequest
from django.utils.html import format_html

from coordinator.admin.acts import ActingAdmin
from coordinator.admin.agent_acts import ACTS
from coordinator.admin.agent_tables import audit_table, children_table, envelope_table, nudge_table, run_table, timeline
from coordinator.admin.display import block, json_block, line
from coordinator.admin.scopes import within
from coordinator.admin.words import decision_in_words
from coordinator.models import Agent, Envelope
from coordinator.public_api import explain
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import ATTENTION, ENDED, AgentState
from grid.public_admin import link, list_link, pill

KEYS = {
    "issue": lambda number: Q(issue_id=number),
    "agent": lambda number: Q(pk=number),
    "tree": lambda number: Q(pk=number) | Q(root_id=number),
}
"""Keys that other pages search by: subjects (`issue:12`), streams (`agent:5`) and roots (`tree:3`)."""


class GroupFilter(admin.SimpleListFilter):
    """Agents that are live, wait for a person, or have ended."""

    title = "what"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The groups."""
        return [("live", "live"), ("attention", "needs attention"), ("ended", "ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Agents whose state is in the group."""
        groups = {"live": frozenset(AgentState) - ENDED - ATTENTION, "attention": ATTENTION, "ended": ENDED}
        states = groups.get(self.value() or "")
        return queryset if states is None else queryset.filter(state__in=sorted(states))


class RootFilter(admin.SimpleListFilter):
    """Roots of trees only, or parts only."""

    title = "place"
    parameter_name = "place"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Both."""
        return [("root", "roots"), ("part", "parts")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By whether it has a parent."""
        return queryset if self.value() is None else queryset.filter(parent__isnull=self.value() == "root")


class ScopeFilter(admin.SimpleListFilter):
    """Agents under a scope; other pages link here with its key."""

    title = "scope"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The scope that is asked for."""
        key = request.GET.get("scope")
        return [(key, line(key))] if key else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Open agents under the scope."""
        return queryset.filter(pk__in=within([self.value() or ""]).values("pk"))


@admin.register(Agent)
class AgentAdmin(ActingAdmin):
    """Agents, the latest first."""

    list_display = [
        *("place", "status", "issue_link", "decided", "last_run", "attempts", "executions"),
        *("parent_link", "repository_link", "updated_at"),
    ]
    list_filter = (GroupFilter, "state", RootFilter, "repository", ScopeFilter)
    list_select_related = ("issue", "repository", "parent", "execution", "envelope")
    list_defer = (
        *("spec", "summary", "issue__body", "parent__spec", "parent__summary"),
        *("execution__spec", "execution__prompt", "execution__result", "execution__progress"),
    )
    search_fields = ("path__exact", "issue__key__exact", "branch__exact", "issue__title")
    search_help_text = "Exactly: path, issue number, branch, issue:…, agent:…, tree:…; or part of the title"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    acts = ACTS
    readonly_fields = [
        *("status", "decided", "asked_now", "issue_link", "repository_link", "parent_link", "tree_link", "last_run"),
        *("waits_because", "report", "conflict_json", "spec_json", "scopes", "children", "runs", "nudges"),
        *("events", "acts_done", "profile_name", "holds", "asks"),
    ]
    fieldsets = (
        (None, {"fields": ("status", "decided", "asked_now", "waits_because", "issue_link", "repository_link")}),
        ("Place", {"fields": ("path", "depth", "parent_link", "tree_link", "children")}),
        ("What it may use", {"fields": ("profile_name", "holds", "asks")}),
        ("Runs", {"fields": ("last_run", "attempts", "crashes", "executions", "not_before", "runs")}),
        ("Work", {"fields": ("branch", "base", "head", "next_mode", "conflict_json", "report")}),
        ("Budget, outermost first", {"fields": ("scopes",)}),
        ("Nudges", {"fields": ("nudges",)}),
        ("Done by hand", {"fields": ("acts_done",)}),
        ("Timeline", {"fields": ("events",)}),
        (
            "Everything else",
            {
                "fields": (
                    *("id", "priority", "is_applied", "is_splitting", "resume_due_at", "resume_backoff_seconds"),
                    *("created_at", "updated_at", "ended_at", "spec_json"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def name_of(self, row: Agent) -> str:
        """Place, title, state."""
        return f"{row.path} {row.issue.title} ({row.state})"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        """With the outermost paused level above each, in the same query."""
        text = CharField()
        own = Concat("envelope__ancestors", Cast("envelope_id", text), Value("/"), output_field=text)
        path = ExpressionWrapper(OuterRef("own_path"), output_field=text)
        lineage = Concat("ancestors", Cast("pk", text), Value("/"), output_field=text)
        paused = Envelope.objects.filter(paused_at__isnull=False).annotate(path=path, own_lineage=lineage)
        above = paused.filter(path__startswith=F("own_lineage")).order_by(Length("ancestors"))
        rows: QuerySet[Agent] = super().get_queryset(request).annotate(own_path=own)
        return rows.annotate(paused_level=Subquery(above.values("kind")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Also find by the keys that other tables know agents by."""
        kind, _, number = search_term.strip().partition(":")
        if kind in KEYS and number.isdecimal():
            return queryset.filter(KEYS[kind](int(number[:18]))), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description="agent", ordering="path")
    def place(self, row: Agent) -> str:
        """Its place in the tree."""
        return row.path

    @admin.display(description="state", ordering="state")
    def status(self, row: Agent) -> str:
        """State, and the outermost pause above it."""
        scope = row.paused_level  # type: ignore[attr-defined]  # of `get_queryset`
        return format_html("{} {}", pill(row.state), pill("paused", f"{scope} paused") if scope else "")

    @admin.display(description="issue", ordering="issue")
    def issue_link(self, row: Agent) -> str:
        """What it works on."""
        return link("tracker_issue", row.issue_id, f"#{row.issue.key} {line(row.issue.title, 100)}")

    @admin.display(description="repository", ordering="repository__scope")
    def repository_link(self, row: Agent) -> str:
        """Where."""
        return link("tracker_repository", row.repository_id, line(row.repository.scope))

    @admin.display(description="parent", ordering="parent")
    def parent_link(self, row: Agent) -> str:
        """Of what it is a part."""
        return link("coordinator_agent", row.parent.pk, row.parent.path) if row.parent else "-"

    @admin.display(description="tree")
    def tree_link(self, row: Agent) -> str:
        """Everything that belongs together."""
        return format_html(
            "{} · {}",
            list_link("coordinator_agent", "all agents of the tree", q=row.root_key),
            list_link("grid_event", "all its events", q=row.root_key),
        )

    @admin.display(description="last run", ordering="execution")
    def last_run(self, row: Agent) -> str:
        """Its last execution."""
        run = row.execution
        if run is None:
            return "-"
        return format_html("{} {}", link("grid_execution", run.pk, f"{run.mode} {str(run.pk)[:8]}"), pill(run.state))

    @admin.display(description="last decision")
    def decided(self, row: Agent) -> str:
        """The stored answer to the last nudge."""
        return decision_in_words(row.decision)

    @admin.display(description="if nudged now")
    def asked_now(self, row: Agent) -> str:
        """What a person's nudge would be answered at this moment."""
        try:
            found = explain(row.pk)
        except CoordinatorError as error:
            return line(str(error), 500)
        now = found.now
        return format_html("{} {}", pill(now.answer), line(now.reason, 500))

    @admin.display(description="waits for a person because")
    def waits_because(self, row: Agent) -> str:
        """Why it is blocked."""
        return line(row.blocked_reason, 1000) or "-"

    @admin.display(description="last report (the agent's words)")
    def report(self, row: Agent) -> str:
        """What the last execution said."""
        return block(row.summary) if row.summary else "-"

    @admin.display(description="conflict")
    def conflict_json(self, row: Agent) -> str:
        """Of the merge that failed."""
        return json_block(row.conflict)

    @admin.display(description="wishes")
    def spec_json(self, row: Agent) -> str:
        """Its own adapter, options and acceptance."""
        return json_block(row.spec)

    @admin.display(description="scopes")
    def scopes(self, row: Agent) -> str:
        """What it may use, level by level."""
        return envelope_table(row)

    @admin.display(description="children")
    def children(self, row: Agent) -> str:
        """Its parts."""
        return children_table(row)

    @admin.display(description="profile")
    def profile_name(self, row: Agent) -> str:
        """The one wished for; `explain` says which one counts."""
        return line(row.profile) or "the repository's, else the one for its depth"

    @admin.display(description="since its last launch or grant")
    def holds(self, row: Agent) -> str:
        """Its capability."""
        return json_block(row.capability)

    @admin.display(description="asks for more")
    def asks(self, row: Agent) -> str:
        """Its requests for upgrades."""
        return list_link("coordinator_upgraderequest", "requests", agent__id__exact=row.pk)

    @admin.display(description="all runs")
    def runs(self, row: Agent) -> str:
        """Its executions."""
        return run_table(row)

    @admin.display(description="last nudges")
    def nudges(self, row: Agent) -> str:
        """Requests and answers."""
        return nudge_table(row)

    @admin.display(description="last events")
    def events(self, row: Agent) -> str:
        """What happened."""
        return timeline(row)

    @admin.display(description="audit")
    def acts_done(self, row: Agent) -> str:
        """Who did what."""
        return audit_table(row)
