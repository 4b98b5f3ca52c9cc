"""What only GitHub has. Deliveries can be replayed, so their page is the coordinator's."""

from __future__ import annotations

from django.contrib import admin

from tracker.admin.display import BaseAdmin, ReadOnly, repository_link
from tracker.models import Change, Creation, Installation, Permission, Quota


@admin.register(Change)
class ChangeAdmin(ReadOnly, BaseAdmin):
    """Pull requests, as last read."""

    list_display = [
        *("key", "title", repository_link, "is_open", "is_merged", "is_draft", "is_ours"),
        *("checks", "head_branch", "updated_at"),
    ]
    list_display_links = ["key", "title"]
    list_filter = ["is_open", "is_merged", "is_draft", "is_ours", "checks", "repository"]
    list_select_related = ["repository"]
    search_fields = ["=key", "title", "=head_branch", "=head_sha"]
    ordering = ["-updated_at", "-id"]


@admin.register(Creation)
class CreationAdmin(ReadOnly, BaseAdmin):
    """What is being created; a row that stays means that GitHub's answer was lost."""

    list_display = ["name", repository_link, "since", "attempted_at"]
    list_filter = ["repository"]
    list_select_related = ["repository"]
    search_fields = ["name"]
    ordering = ["-attempted_at", "-id"]


@admin.register(Installation)
class InstallationAdmin(ReadOnly, BaseAdmin):
    """Where our GitHub App is installed."""

    list_display = ["account", "installation_id", "is_suspended", "is_deleted", "updated_at"]
    list_filter = ["is_suspended", "is_deleted"]
    search_fields = ["account", "=installation_id"]
    ordering = ["account", "-id"]


@admin.register(Permission)
class PermissionAdmin(ReadOnly, BaseAdmin):
    """What people may do, as last looked up; an old row is looked up again before it counts."""

    list_display = ["login", repository_link, "trust", "checked_at"]
    list_filter = ["trust", "repository"]
    list_select_related = ["repository"]
    search_fields = ["login"]
    ordering = ["login", "id"]


@admin.register(Quota)
class QuotaAdmin(ReadOnly, BaseAdmin):
    """What we may still ask of GitHub, account by account."""

    list_display = [
        *("account", "remaining", "limit", "reset_at", "blocked_until"),
        *("minute_writes", "hour_writes", "updated_at"),
    ]
    search_fields = ["account"]
    ordering = ["account"]
