"""Repositories and the writes to their trackers."""

from __future__ import annotations

from django.contrib import admin

from tracker.admin.display import BaseAdmin, ReadOnly, list_link, repository_link
from tracker.models import Issue, Operation, Repository


@admin.display(description="issues")
def _issues_link(row: Repository) -> str:
    return list_link(Issue, "issues", repository__id__exact=row.pk)


@admin.display(description="writes")
def _writes_link(row: Repository) -> str:
    return list_link(Operation, "writes", repository__id__exact=row.pk)


@admin.display(description="error")
def _short_error(row: Operation) -> str:
    return row.error[:120]


@admin.register(Repository)
class RepositoryAdmin(ReadOnly, BaseAdmin):
    """Repositories, with links to their issues and writes."""

    list_display = ["scope", "tracker", "source", "default_branch", "is_active", _issues_link, _writes_link]
    list_filter = ["tracker", "is_active"]
    search_fields = ["scope", "source"]
    ordering = ["scope"]


@admin.register(Operation)
class OperationAdmin(ReadOnly, BaseAdmin):
    """The outbox; the filter `failed for ever` lists what waits for an operator."""

    list_display = ["key", "kind", "state", "attempts", repository_link, "not_before", _short_error, "created_at"]
    list_filter = ["state", "kind", "repository"]
    list_select_related = ["repository"]
    search_fields = ["key", "error", "=failed_with"]
    ordering = ["-id"]
    date_hierarchy = "created_at"
