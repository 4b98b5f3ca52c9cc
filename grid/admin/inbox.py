"""Messages for running programs, in the admin."""

from __future__ import annotations

from django.contrib import admin

from grid.admin.display import line, shown
from grid.models import InboxItem
from grid.public_admin import ReadOnlyAdmin, link


@admin.register(InboxItem)
class InboxItemAdmin(ReadOnlyAdmin):
    """What was to be written to a program's input while it worked, the latest first."""

    list_display = ("id", "of_execution", "told_by", "state", "created_at", "words")
    list_filter = ("state",)
    search_fields = ("key__exact", "execution__id__exact")
    search_help_text = "Exactly: the sender's id of the message, or the execution"
    ordering = ("-id",)
    list_select_related = ("execution",)
    readonly_fields = ("of_execution", "told_by", "name", "words")
    fields = ("id", "of_execution", "name", "told_by", "state", "created_at", "words")

    @admin.display(description="execution")
    def of_execution(self, row: InboxItem) -> str:
        """The run it was for."""
        return link("grid_execution", row.execution_id, str(row.execution_id)[:8])

    @admin.display(description="text")
    def words(self, row: InboxItem) -> str:
        """The message on one line."""
        return line(row.text, 400)

    @admin.display(description="sender", ordering="sender")
    def told_by(self, row: InboxItem) -> str:
        """Who says it."""
        return shown(row.sender)

    @admin.display(description="key")
    def name(self, row: InboxItem) -> str:
        """The sender's own id of it."""
        return shown(row.key)
