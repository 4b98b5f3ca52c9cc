"""Repositories. Writes to their trackers can be tried again, so their page is the coordinator's."""

from __future__ import annotations

from django.contrib import admin

from tracker.admin.display import BaseAdmin, ReadOnly, list_link
from tracker.models import Issue, Operation, Repository


@admin.display(description="issues")
def _issues_link(row: Repository) -> str:
    return list_link(Issue, "issues", repository__id__exact=row.pk)


@admin.display(description="writes")
def _writes_link(row: Repository) -> str:
    return list_link(Operation, "writes", repository__id__exact=row.pk)


@admin.register(Repository)
class RepositoryAdmin(ReadOnly, BaseAdmin):
    """Repositories, with links to their issues and writes."""

    list_display = ["scope", "tracker", "source", "default_branch", "is_active", _issues_link, _writes_link]
    list_filter = ["tracker", "is_active"]
    search_fields = ["scope", "source"]
    ordering = ["scope"]
