"""Commands that people gave in comments."""

from __future__ import annotations

from django.contrib import admin

from coordinator.admin.display import block, line
from coordinator.models import Command
from grid.public_admin import ReadOnlyAdmin


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    """Each was carried out once. Refused ones are audit entries with the action `refused`."""

    list_display = ("id", "on", "who", "what", "created_at")
    list_filter = ("repository",)
    list_select_related = ("repository",)
    list_defer = ("answer",)
    search_fields = ("=author", "=comment_id", "=issue_key")
    search_help_text = "Exactly: an author, a comment's id, an issue's number"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("on", "who", "what", "said")
    fields = ("id", "on", "who", "comment_id", "what", "said", "created_at")

    @admin.display(description="issue", ordering="issue_key")
    def on(self, row: Command) -> str:
        """Where it was given."""
        return line(f"{row.repository.scope}#{row.issue_key}", 120)

    @admin.display(description="author", ordering="author")
    def who(self, row: Command) -> str:
        """Who gave it."""
        return line(row.author) or "-"

    @admin.display(description="commands", ordering="verbs")
    def what(self, row: Command) -> str:
        """Their verbs."""
        return line(row.verbs) or "-"

    @admin.display(description="our answer")
    def said(self, row: Command) -> str:
        """All of it."""
        return block(row.answer)
