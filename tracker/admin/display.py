"""How the tracker's rows are shown: links between them, and nothing to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

# The stubs' classes take a type parameter, Django's own do not.
if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
    BaseTabular = admin.TabularInline[Any, Any]
    BaseStacked = admin.StackedInline[Any, Any]
else:
    BaseAdmin = admin.ModelAdmin
    BaseTabular = admin.TabularInline
    BaseStacked = admin.StackedInline


def link(row: Model | None) -> str:
    """To the page of a row; a dash for none."""
    if row is None:
        return "-"
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', url, str(row))


def list_link(model: type[Model], text: str, **filters: Any) -> str:
    """To a list of rows, filtered."""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", query=filters)
    return format_html('<a href="{}">{}</a>', url, text)


@admin.display(description="repository", ordering="repository__scope")
def repository_link(row: Any) -> str:
    """To the repository that a row belongs to."""
    return link(row.repository)


class ReadOnly:
    """Nobody adds, changes or deletes rows by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
