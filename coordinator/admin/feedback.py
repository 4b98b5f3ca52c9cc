"""What people and checks said about agents' pull requests."""

from __future__ import annotations

from django.contrib import admin

from coordinator.admin.display import block, line
from coordinator.admin.links import agent_link, run_link
from coordinator.models import Feedback
from grid.public_admin import ReadOnlyAdmin


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    """Each row causes at most one rework."""

    list_display = ("id", "of", "kind", "who", "place", "said", "run", "created_at")
    list_filter = (("execution_id", admin.EmptyFieldListFilter), "kind", "agent__repository")
    list_select_related = ("agent__issue",)
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body")
    search_fields = ("^execution_id", "agent__path__exact", "=author", "=tracker_id", "=head_sha")
    search_help_text = "Start of an execution's id, or exactly: a path, an author, the tracker's id, a commit"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "who", "place", "words", "run", "named")
    fields = ("id", "of", "kind", "who", "place", "head_sha", "words", "run", "named", "created_at")

    @admin.display(description="agent", ordering="agent")
    def of(self, row: Feedback) -> str:
        """Whose pull request."""
        return agent_link(row.agent)

    @admin.display(description="author", ordering="author")
    def who(self, row: Feedback) -> str:
        """Who said it."""
        return line(row.author) or "-"

    @admin.display(description="about")
    def place(self, row: Feedback) -> str:
        """File and line."""
        return line(f"{row.path}:{row.line}" if row.line else row.path) or "-"

    @admin.display(description="text")
    def said(self, row: Feedback) -> str:
        """The beginning of it."""
        return line(row.text) or "-"

    @admin.display(description="text")
    def words(self, row: Feedback) -> str:
        """All of it."""
        return block(row.text)

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Feedback) -> str:
        """The run whose prompt carried it."""
        return run_link(row.execution_id, none="waits")

    @admin.display(description="the tracker's name for it")
    def named(self, row: Feedback) -> str:
        """Which is unique for the agent."""
        return line(row.tracker_id)
