"""Words for agents, and how far they have come."""

from __future__ import annotations

from django.contrib import admin

from coordinator.admin.display import ReadOnlyAdmin, block, line, link, pill
from coordinator.models import Message

_PILLS = {
    "queued": "waiting",
    "delivered": "running",
    "seen": "done",
    "expired": "abandoned",
    "undeliverable": "failed",
}


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Each is told once, or said why not."""

    list_display = ("id", "of", "who", "said", "status", "way", "run", "created_at")
    list_filter = ("state", "channel", "agent__repository")
    list_select_related = ("agent__issue",)
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body")
    search_fields = ("^execution_id", "agent__path__exact", "sender__exact")
    search_help_text = "Start of an execution's id, or exactly: a path, a sender (cli:root, agent:12)"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "who", "words", "status", "way", "run", "why_not")
    fields = ("id", "of", "who", "words", "status", "way", "run", "why_not", "created_at", "delivered_at", "seen_at")

    @admin.display(description="to", ordering="agent")
    def of(self, row: Message) -> str:
        """Whom it is for."""
        return link("coordinator_agent", row.agent_id, f"{row.agent.path} {line(row.agent.issue.title, 80)}")

    @admin.display(description="from", ordering="sender")
    def who(self, row: Message) -> str:
        """Who says it; of an agent, the way there."""
        door, _, name = row.sender.partition(":")
        if door == "agent" and name.isdecimal():
            return link("coordinator_agent", int(name), line(row.sender))
        return line(row.sender) or "-"

    @admin.display(description="text")
    def said(self, row: Message) -> str:
        """The beginning of it."""
        return line(row.text, 100)

    @admin.display(description="text")
    def words(self, row: Message) -> str:
        """All of it."""
        return block(row.text)

    @admin.display(description="state", ordering="state")
    def status(self, row: Message) -> str:
        """How far it is."""
        return pill(_PILLS.get(row.state, row.state), row.state)

    @admin.display(description="told by", ordering="channel")
    def way(self, row: Message) -> str:
        """How it got there."""
        words = {"live": "the running program", "tool": "a tool's answer", "prompt": "the prompt of a run"}
        return words.get(row.channel, "-")

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Message) -> str:
        """The run that was told."""
        return link("grid_execution", row.execution_id, str(row.execution_id)[:8]) if row.execution_id else "-"

    @admin.display(description="why not")
    def why_not(self, row: Message) -> str:
        """What kept it from getting there."""
        return line(row.reason, 300) or "-"
