"""Issues and what hangs on them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from tracker.admin.display import BaseAdmin, BaseStacked, BaseTabular, ReadOnly, link, list_link, repository_link
from tracker.models import Comment, Dependency, Issue, IssueAssignee, IssueLabel, Reaction


@admin.display(description="issue", ordering="issue")
def _issue_link(row: Comment | Dependency | IssueAssignee | IssueLabel | Reaction) -> str:
    return link(row.issue)


@admin.display(description="comment")
def _comment_link(row: Reaction) -> str:
    return link(row.comment)


@admin.display(description="part of", ordering="parent")
def _parent_link(row: Issue) -> str:
    return link(row.parent)


@admin.display(description="waits for", ordering="blocker")
def _blocker_link(row: Dependency) -> str:
    return link(row.blocker)


@admin.display(description="that is open", boolean=True, ordering="blocker__is_open")
def _blocker_is_open(row: Dependency) -> bool:
    return row.blocker.is_open


@admin.display(description="sub-issues")
def _children_link(row: Issue) -> str:
    return list_link(Issue, "sub-issues", parent__id__exact=row.pk)


class _LabelInline(ReadOnly, BaseTabular):
    model = IssueLabel


class _AssigneeInline(ReadOnly, BaseTabular):
    model = IssueAssignee


class _BlockerInline(ReadOnly, BaseTabular):
    model = Dependency
    fk_name = "issue"
    verbose_name_plural = "waits for"
    fields = ["blocker_link", "blocker_is_open"]
    readonly_fields = ["blocker_link", "blocker_is_open"]
    blocker_link = staticmethod(_blocker_link)
    blocker_is_open = staticmethod(_blocker_is_open)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("blocker")


class _CommentInline(ReadOnly, BaseStacked):
    model = Comment
    ordering = ["created_at", "id"]


@admin.register(Issue)
class IssueAdmin(ReadOnly, BaseAdmin):
    """Issues, with what they are part of, wait for and say."""

    list_display = ["key", "title", repository_link, "is_open", "agent_state", _parent_link, "author", "updated_at"]
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


@admin.register(Comment)
class CommentAdmin(ReadOnly, BaseAdmin):
    """Comments of all issues."""

    list_display = ["id", _issue_link, "author", "is_ours", "slot", "created_at", "edited_at"]
    list_filter = ["is_ours"]
    list_select_related = ["issue"]
    search_fields = ["author", "body", "=slot"]
    ordering = ["-created_at", "-id"]


@admin.register(Reaction)
class ReactionAdmin(ReadOnly, BaseAdmin):
    """Our reactions."""

    list_display = ["id", _issue_link, _comment_link, "kind"]
    list_filter = ["kind"]
    list_select_related = ["issue", "comment"]


@admin.register(IssueLabel)
class IssueLabelAdmin(ReadOnly, BaseAdmin):
    """Labels that show no state."""

    list_display = ["name", _issue_link]
    list_select_related = ["issue"]
    search_fields = ["name"]


@admin.register(IssueAssignee)
class IssueAssigneeAdmin(ReadOnly, BaseAdmin):
    """Who is assigned to what."""

    list_display = ["login", _issue_link, "is_ours"]
    list_filter = ["is_ours"]
    list_select_related = ["issue"]
    search_fields = ["login"]


@admin.register(Dependency)
class DependencyAdmin(ReadOnly, BaseAdmin):
    """Which issue waits for which."""

    list_display = ["id", _issue_link, _blocker_link, _blocker_is_open]
    list_filter = ["blocker__is_open"]
    list_select_related = ["issue", "blocker"]
