"""Locks on paths. Their rows are the grid's; taking one away is an operator's act, the same as `manage.py locks release`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet

from coordinator import public_teamwork
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import line
from coordinator.models import Agent
from grid.public_admin import link, pill

FileLock: Any = apps.get_model("grid", "FileLock")
_PILLS = {"held": "running", "waiting": "waiting", "broken": "failed", "expired": "failed"}


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(max_length=300, help_text="Its agent is told, and the audit keeps it.")


def _release(row: Any, actor: str, answers: Mapping[str, Any]) -> str:
    done = public_teamwork.release_lock(row.pk, actor=actor, reason=answers["reason"])
    return f"{done.pattern} is {done.state}"


def _holders(rows: Sequence[Any]) -> QuerySet[Agent]:
    return Agent.objects.filter(execution_id__in=[row.execution_id for row in rows])


@admin.register(FileLock)
class FileLockAdmin(ActingAdmin):
    """Who holds or held which path of which repository, and under which fencing token."""

    change_form_template = "admin/coordinator/change_form.html"  # with the buttons; the model is another app's
    list_display = ("id", "repository", "path", "mode", "status", "token", "run", "since", "ended_at", "why")
    list_filter = ("state", "mode", "repository")
    list_select_related = ("execution",)
    list_defer = ("execution__spec", "execution__prompt", "execution__result", "execution__progress")
    search_fields = ("pattern__icontains", "execution__id__exact")
    search_help_text = "A part of the path, or exactly: the execution"
    ordering = ("-id",)
    readonly_fields = ("path", "compared", "status", "run", "why", "wanted_for")
    fields = (
        "id", "repository", "path", "compared", "mode", "status", "token", "run", "wanted_for", "asked_at", "since", "until",
        "ended_at", "why",
    )  # fmt: skip
    acts = (
        Act(
            name="release",
            label="Release",
            effect="Its holder loses the lock at once, and its work on the path is not taken once somebody else has had it. "
            "Who waits first gets it. One that waits leaves the line.",
            run=_release,
            reach=_holders,
            form=ReasonForm,
        ),
    )

    @admin.display(description="path", ordering="pattern")
    def path(self, row: Any) -> str:
        """As it was spelled."""
        return line(row.pattern, 120)

    @admin.display(description="compared as")
    def compared(self, row: Any) -> str:
        """In the form in which spellings of one name are equal."""
        return line(row.key, 120)

    @admin.display(description="state", ordering="state")
    def status(self, row: Any) -> str:
        """Open or over."""
        return pill(_PILLS.get(row.state, row.state), row.state)

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Any) -> str:
        """Whose it is."""
        return link("grid_execution", row.execution_id, f"{row.execution.subject} {str(row.execution_id)[:8]}")

    @admin.display(description="ended because")
    def why(self, row: Any) -> str:
        """In words."""
        return line(row.end_reason, 200) or "-"

    @admin.display(description="wanted for")
    def wanted_for(self, row: Any) -> str:
        """In the words of who asked."""
        return line(row.reason, 300) or "-"
