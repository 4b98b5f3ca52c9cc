"""What pages of rows are made of, for the admin of every package above: escaped pieces, and lists that stay quick when long."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join

# The stubs' classes take a type parameter, Django's own do not.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

COUNTED_ROWS = 10_000
"""Lists count no further: an exact count of a million rows costs more than the page."""


# --- pieces ----------------------------------------------------------------------------------------------------


def plain(data: Any) -> str:
    """JSON on one line."""
    return json.dumps(data, ensure_ascii=False, default=str)


def pill(state: str, text: str = "") -> str:
    """A state by word and by CSS class; never by colour alone."""
    return format_html('<span class="grid-pill grid-{}">{}</span>', state, text or state.replace("_", " "))


def link(name: str, pk: int | str | UUID, text: str) -> str:
    """To the page of a row; `name` is `app_model`."""
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{name}_change", args=[quote(pk)]), text)


def list_link(name: str, text: str, **query: object) -> str:
    """To a list, filtered or searched (`q=`)."""
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{name}_changelist", query=query), text)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of escaped cells; a dash when there are no rows."""
    cells = [(format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows]
    if not cells:
        return "-"
    head = format_html_join("", '<th scope="col">{}</th>', ((text,) for text in heads))
    body = format_html_join("", "<tr>{}</tr>", cells)
    return format_html('<table class="grid-table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', head, body)


# --- lists -----------------------------------------------------------------------------------------------------


class BoundedPaginator(_Paginator):
    """Counts only so far."""

    @cached_property
    def count(self) -> int:
        """How many rows, or the most that are counted."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED_ROWS].count())


class LeanChangeList(ChangeList):
    """Leaves out columns that a list does not show and that may be large."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The rows of the list without its `list_defer`."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.defer(*getattr(self.model_admin, "list_defer", ()))


class ReadOnlyAdmin(_ModelAdmin):
    """Nobody adds, changes or deletes rows by hand."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_defer: Sequence[str] = ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that leaves out large columns."""
        return LeanChangeList
