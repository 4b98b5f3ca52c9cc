"""The counters of fencing tokens, in the admin. The locks themselves are shown where they can be acted on."""

from __future__ import annotations

from django.contrib import admin

from grid.models import LockSpace
from grid.public_admin import ReadOnlyAdmin


@admin.register(LockSpace)
class LockSpaceAdmin(ReadOnlyAdmin):
    """One row for each repository in which a lock was ever asked for."""

    list_display = ("repository", "token")
    search_fields = ("repository__exact",)
    search_help_text = "Exactly: the repository's key in the store"
    ordering = ("repository",)
