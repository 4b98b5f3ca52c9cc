"""Django admin of the grid: for looking only. What an operator can do to a run is done to its agent, one link away.

Links to other packages' pages go by their URL names; nothing of them is imported.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from grid.admin.display import block, duration, json_block, line, shown, without_values
from grid.admin.events import subject_link, timeline
from grid.models import Execution, Host
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill, table
from grid.public_types import LIVE, ON_HOST, State

WENT_WRONG = frozenset({State.FAILED, State.TIMED_OUT, State.OVER_BUDGET, State.LOST, State.QUARANTINED})


class GroupFilter(admin.SimpleListFilter):
    """Executions that are live, went wrong, or ended."""

    title = "what"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The groups."""
        return [("live", "live"), ("attention", "went wrong"), ("ended", "ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Executions whose state is in the group."""
        groups = {"live": LIVE, "attention": WENT_WRONG, "ended": frozenset(State) - LIVE}
        states = groups.get(self.value() or "")
        return queryset if states is None else queryset.filter(state__in=sorted(states))


class HostFilter(admin.SimpleListFilter):
    """Executions by the host that runs or ran them."""

    title = "host"
    parameter_name = "on"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Hosts that have reported, at most 100."""
        return [(name, line(name)) for name in Host.objects.values_list("name", flat=True)[:100]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Executions of the host."""
        return queryset.filter(host=self.value()) if self.value() else queryset


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    """Executions: what runs where, how it ended and what it left."""

    list_display = [
        *("short_id", "status", "of", "mode", "agent", "repository", "attempt"),
        *("machine", "phase", "lease_left", "created_at", "took", "why"),
    ]
    list_filter = (GroupFilter, "state", "mode", "agent", HostFilter, "repository")
    list_defer = ("spec", "prompt", "result", "progress")
    search_fields = ("^id", "subject__exact", "root__exact", "branch__exact", "host__exact")
    search_help_text = "Start of an id, or exactly: subject (issue:12), root (tree:3), branch, host"
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")
    readonly_fields = [
        *("status", "why", "asked_to_stop", "of", "tree", "elsewhere", "base", "machine", "took"),
        *("summary", "checks", "result_json", "progress_json", "prompt_text", "spec_json", "timeline"),
    ]
    fieldsets = (
        (None, {"fields": ("id", "status", "why", "asked_to_stop", "of", "tree", "elsewhere")}),
        (
            "Run",
            {"fields": ("mode", "agent", "repository", "branch", "base", "priority", "attempt", "crashes", "is_held")},
        ),
        ("Place", {"fields": ("machine", "sandbox", "phase", "token", "lease_until", "record", "seq")}),
        ("Time", {"fields": ("created_at", "claimed_at", "started_at", "ended_at", "took")}),
        ("Result", {"fields": ("summary", "checks", "result_json", "progress_json")}),
        ("Prompt, exactly as sent", {"fields": ("prompt_text",), "classes": ("collapse",)}),
        ("Spec (variables by name only)", {"fields": ("spec_json",), "classes": ("collapse",)}),
        ("Timeline", {"fields": ("timeline",)}),
    )

    @admin.display(description="execution", ordering="id")
    def short_id(self, row: Execution) -> str:
        """What people type."""
        return str(row.pk)[:8]

    @admin.display(description="state", ordering="state")
    def status(self, row: Execution) -> str:
        """State, and whether it is held back."""
        return format_html("{}{}", pill(row.state), pill("held") if row.is_held and row.state == State.QUEUED else "")

    @admin.display(description="for", ordering="subject")
    def of(self, row: Execution) -> str:
        """Whose run it is."""
        return subject_link(row.subject)

    @admin.display(description="tree")
    def tree(self, row: Execution) -> str:
        """The tree it belongs to."""
        return subject_link(row.root)

    @admin.display(description="host", ordering="host")
    def machine(self, row: Execution) -> str:
        """Who runs or ran it."""
        return link("grid_host", row.host, shown(row.host)) if row.host else "-"

    @admin.display(description="lease", ordering="lease_until")
    def lease_left(self, row: Execution) -> str:
        """How long the host may keep it without another sign of life."""
        if row.lease_until is None or row.state not in ON_HOST:
            return "-"
        seconds = int((row.lease_until - timezone.now()).total_seconds())
        return f"{seconds} s" if seconds >= 0 else pill("late", f"over for {-seconds} s")

    @admin.display(description="took")
    def took(self, row: Execution) -> str:
        """From claim to end."""
        return duration(row.claimed_at, row.ended_at)

    @admin.display(description="reason")
    def why(self, row: Execution) -> str:
        """Why it ended."""
        return line(row.reason, 500) or "-"

    @admin.display(description="asked to stop because")
    def asked_to_stop(self, row: Execution) -> str:
        """Why somebody wanted its end."""
        return line(row.stop_reason) or "-"

    @admin.display(description="base")
    def base(self, row: Execution) -> str:
        """Commit it started from."""
        return line(str(row.spec.get("work", {}).get("base", ""))) or "-"

    @admin.display(description="what the agent says")
    def summary(self, row: Execution) -> str:
        """Outcome and summary in the agent's words."""
        outcome = (row.result or {}).get("outcome") or {}
        if not outcome:
            return "-"
        return format_html("{}{}", pill("outcome", shown(str(outcome.get("kind")))), block(str(outcome.get("summary"))))

    @admin.display(description="acceptance, run by us")
    def checks(self, row: Execution) -> str:
        """Evidence of each command."""
        cells = (
            (
                pill("succeeded", "passed") if check.get("passed") else pill("failed"),
                shown(str(check.get("command"))),
                str(check.get("exit_code")),
                f"{check.get('seconds') or 0:.1f}",
                block(str(check.get("tail") or "")),
            )
            for check in (row.result or {}).get("checks") or ()
        )
        return table(("", "command", "exit", "seconds", "last lines"), cells)

    @admin.display(description="result")
    def result_json(self, row: Execution) -> str:
        """Everything it left."""
        return json_block(row.result)

    @admin.display(description="phases so far")
    def progress_json(self, row: Execution) -> str:
        """Facts of finished phases."""
        return json_block(row.progress)

    @admin.display(description="prompt")
    def prompt_text(self, row: Execution) -> str:
        """The exact text the agent was given."""
        return block(row.prompt)

    @admin.display(description="spec")
    def spec_json(self, row: Execution) -> str:
        """What was asked for."""
        return json_block(without_values(row.spec))

    @admin.display(description="last events")
    def timeline(self, row: Execution) -> str:
        """What happened, at most the last 200 events."""
        return timeline(row.stream)

    @admin.display(description="elsewhere")
    def elsewhere(self, row: Execution) -> str:
        """Rows of other tables about it."""
        return format_html(
            "{} · {} · {}",
            list_link("coordinator_ledgerentry", "ledger", q=row.pk),
            list_link("coordinator_nudge", "nudge", q=row.pk),
            list_link("grid_execution", "all runs of this", q=row.subject),
        )
