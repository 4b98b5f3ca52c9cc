"""How rows are shown: escaped, bounded, with what cannot be seen made visible. And lists that stay quick when long."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
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
BLOCK_CHARACTERS = 1_000_000
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)


# --- showing ---------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """The text with what cannot be seen (control and direction marks) written as U+202E would be: backslash, u, number."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def line(text: str, limit: int = 160) -> str:
    """For lists: one line, at most `limit` characters."""
    words = " ".join(shown(text[: 4 * limit]).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def plain(data: Any) -> str:
    """JSON on one line."""
    return json.dumps(data, ensure_ascii=False, default=str)


def block(text: str) -> str:
    """A text as it is, line ends kept."""
    cut = "" if len(text) <= BLOCK_CHARACTERS else f"\n[… {len(text) - BLOCK_CHARACTERS:,} characters left out]"
    return format_html('<pre class="grid-block" tabindex="0">{}{}</pre>', shown(text[:BLOCK_CHARACTERS]), cut)


def json_block(data: Any) -> str:
    """JSON to read."""
    return block(json.dumps(data, indent=2, ensure_ascii=False, default=str)) if data else "-"


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


def duration(start: datetime | None, end: datetime | None) -> str:
    """From start to end, or to now."""
    if start is None:
        return "-"
    return str(timedelta(seconds=int(((end or timezone.now()) - start).total_seconds())))


def without_values(data: Any) -> Any:
    """A spec in which variables of the environment keep their names only."""
    if not isinstance(data, dict):
        return data
    return {
        key: dict.fromkeys(value, "…") if key == "env" and isinstance(value, dict) else without_values(value)
        for key, value in data.items()
    }


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
