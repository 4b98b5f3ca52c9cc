"""Words for agents, and how far they have come."""

from __future__ import annotations

from django.contrib import admin

from coordinator.admin.display import block, line
from coordinator.admin.links import agent_link, run_link
from coordinator.admin.threads import speaker
from coordinator.models import Message
from coordinator.public_types import MessageKind
from coordinator.rules import inbox_rules
from grid.public_admin import ReadOnlyAdmin, link, pill

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

    list_display = ("id", "of", "who", "kind", "said", "status", "way", "run", "created_at")
    list_filter = ("state", "channel", "post__kind", "agent__repository")
    list_select_related = ("agent__issue", "post__thread")
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body", "post__data", "post__thread__data")
    search_fields = ("^execution_id", "agent__path__exact", "post__sender__exact")
    search_help_text = "Start of an execution's id, or exactly: a path, a sender (cli:root, agent:12)"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "who", "where", "kind", "words", "status", "way", "run", "why_not")
    fields = (
        "id", "of", "who", "where", "kind", "words", "status", "way", "run", "why_not",
        "created_at", "delivered_at", "seen_at",
    )  # fmt: skip

    @admin.display(description="to", ordering="agent")
    def of(self, row: Message) -> str:
        """Whom it is for."""
        return agent_link(row.agent)

    @admin.display(description="from", ordering="post__sender")
    def who(self, row: Message) -> str:
        """Who says it; of an agent, the way there."""
        return speaker(row.post.sender)

    @admin.display(description="thread", ordering="post__thread")
    def where(self, row: Message) -> str:
        """The thread, or nothing for words to this agent alone."""
        thread = row.post.thread
        return link("coordinator_thread", thread.pk, line(thread.subject, 80)) if thread is not None else "-"

    @admin.display(description="kind", ordering="post__kind")
    def kind(self, row: Message) -> str:
        """What it is."""
        return row.post.kind

    @admin.display(description="text")
    def said(self, row: Message) -> str:
        """The beginning of it."""
        return line(row.post.text, 100)

    @admin.display(description="text")
    def words(self, row: Message) -> str:
        """All of it."""
        return block(inbox_rules.as_text(MessageKind(row.post.kind), row.post.data, row.post.text))

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
        return run_link(row.execution_id)

    @admin.display(description="why not")
    def why_not(self, row: Message) -> str:
        """What kept it from getting there."""
        return line(row.reason, 300) or "-"
