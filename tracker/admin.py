"""Django admin of the tracker: for looking. People change issues in their tracker, the grid through the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from tracker.models import Comment, Dependency, Issue, IssueAssignee, IssueLabel, Operation, Reaction, Repository

# The stubs' classes take a type parameter, Django's own do not.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _TabularInline = admin.TabularInline[Any, Any]
    _StackedInline = admin.StackedInline[Any, Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _TabularInline = admin.TabularInline
    _StackedInline = admin.StackedInline


def _link(row: Model | None) -> str:
    if row is None:
        return "-"
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', url, str(row))


def _list_link(model: type[Model], text: str, **filters: Any) -> str:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", query=filters)
    return format_html('<a href="{}">{}</a>', url, text)


@admin.display(description="repository", ordering="repository__scope")
def _repository_link(row: Issue | Operation) -> str:
    return _link(row.repository)


@admin.display(description="issue", ordering="issue")
def _issue_link(row: Comment | Dependency | IssueAssignee | IssueLabel | Reaction) -> str:
    return _link(row.issue)


@admin.display(description="comment")
def _comment_link(row: Reaction) -> str:
    return _link(row.comment)


@admin.display(description="part of", ordering="parent")
def _parent_link(row: Issue) -> str:
    return _link(row.parent)


@admin.display(description="waits for", ordering="blocker")
def _blocker_link(row: Dependency) -> str:
    return _link(row.blocker)


@admin.display(description="that is open", boolean=True, ordering="blocker__is_open")
def _blocker_is_open(row: Dependency) -> bool:
    return row.blocker.is_open


@admin.display(description="issues")
def _issues_link(row: Repository) -> str:
    return _list_link(Issue, "issues", repository__id__exact=row.pk)


@admin.display(description="writes")
def _writes_link(row: Repository) -> str:
    return _list_link(Operation, "writes", repository__id__exact=row.pk)


@admin.display(description="sub-issues")
def _children_link(row: Issue) -> str:
    return _list_link(Issue, "sub-issues", parent__id__exact=row.pk)


@admin.display(description="error")
def _short_error(row: Operation) -> str:
    return row.error[:120]


class _ReadOnly:
    """Nobody adds, changes or deletes rows by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Repository)
class RepositoryAdmin(_ReadOnly, _ModelAdmin):
    """Repositories, with links to their issues and writes."""

    list_display = ["scope", "tracker", "source", "default_branch", "is_active", _issues_link, _writes_link]
    list_filter = ["tracker", "is_active"]
    search_fields = ["scope", "source"]
    ordering = ["scope"]


class _LabelInline(_ReadOnly, _TabularInline):
    model = IssueLabel


class _AssigneeInline(_ReadOnly, _TabularInline):
    model = IssueAssignee


class _BlockerInline(_ReadOnly, _TabularInline):
    model = Dependency
    fk_name = "issue"
    verbose_name_plural = "waits for"
    fields = ["blocker_link", "blocker_is_open"]
    readonly_fields = ["blocker_link", "blocker_is_open"]
    blocker_link = staticmethod(_blocker_link)
    blocker_is_open = staticmethod(_blocker_is_open)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("blocker")


class _CommentInline(_ReadOnly, _StackedInline):
    model = Comment
    ordering = ["created_at", "id"]


@admin.register(Issue)
class IssueAdmin(_ReadOnly, _ModelAdmin):
    """Issues, with what they are part of, wait for and say."""

    list_display = ["key", "title", _repository_link, "is_open", "agent_state", _parent_link, "author", "updated_at"]
    list_display_links = ["key", "title"]
    list_filter = ["is_open", "agent_state", "close_reason", "repository"]
    list_select_related = ["repository", "parent"]
    search_fields = ["=key", "title", "author", "=labels__name"]
    ordering = ["-updated_at", "-id"]
    date_hierarchy = "updated_at"
    inlines = [_LabelInline, _AssigneeInline, _BlockerInline, _CommentInline]
    readonly_fields = ["parent_link", "children_link"]
    parent_link = staticmethod(_parent_link)
    children_link = staticmethod(_children_link)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """The links to sub-issues filter by parent."""
        return lookup == "parent__id__exact" or super().lookup_allowed(lookup, value, request)


@admin.register(Comment)
class CommentAdmin(_ReadOnly, _ModelAdmin):
    """Comments of all issues."""

    list_display = ["id", _issue_link, "author", "is_ours", "slot", "created_at", "edited_at"]
    list_filter = ["is_ours"]
    list_select_related = ["issue"]
    search_fields = ["author", "body", "=slot"]
    ordering = ["-created_at", "-id"]


@admin.register(Reaction)
class ReactionAdmin(_ReadOnly, _ModelAdmin):
    """Our reactions."""

    list_display = ["id", _issue_link, _comment_link, "kind"]
    list_filter = ["kind"]
    list_select_related = ["issue", "comment"]


@admin.register(IssueLabel)
class IssueLabelAdmin(_ReadOnly, _ModelAdmin):
    """Labels that show no state."""

    list_display = ["name", _issue_link]
    list_select_related = ["issue"]
    search_fields = ["name"]


@admin.register(IssueAssignee)
class IssueAssigneeAdmin(_ReadOnly, _ModelAdmin):
    """Who is assigned to what."""

    list_display = ["login", _issue_link, "is_ours"]
    list_filter = ["is_ours"]
    list_select_related = ["issue"]
    search_fields = ["login"]


@admin.register(Dependency)
class DependencyAdmin(_ReadOnly, _ModelAdmin):
    """Which issue waits for which."""

    list_display = ["id", _issue_link, _blocker_link, _blocker_is_open]
    list_filter = ["blocker__is_open"]
    list_select_related = ["issue", "blocker"]


@admin.register(Operation)
class OperationAdmin(_ReadOnly, _ModelAdmin):
    """The outbox; the filter `failed for ever` lists what waits for an operator."""

    list_display = ["key", "kind", "state", "attempts", _repository_link, "not_before", _short_error, "created_at"]
    list_filter = ["state", "kind", "repository"]
    list_select_related = ["repository"]
    search_fields = ["key", "error", "=failed_with"]
    ordering = ["-id"]
    date_hierarchy = "created_at"
