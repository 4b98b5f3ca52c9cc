"""Conversations: threads, who is in them, what was said, and the operator's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html

from coordinator import public_teamwork
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import block, json_block, line
from coordinator.admin.links import agent_link, run_link
from coordinator.models import Agent, Post, Thread, ThreadMember
from coordinator.public_types import MessageKind
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill, table

SHOWN_POSTS = 200
_PILLS = {"open": "running", "expired": "abandoned", "closed": "done"}
_DELIVERY = {
    "queued": "waiting",
    "delivered": "running",
    "seen": "done",
    "expired": "abandoned",
    "undeliverable": "failed",
}
_KINDS = (MessageKind.CHAT, MessageKind.QUESTION, MessageKind.ANSWER)


class PostForm(forms.Form):
    """What to say."""

    text = forms.CharField(max_length=16_000, widget=forms.Textarea, help_text="To every agent in the thread.")
    kind = forms.ChoiceField(
        choices=[(str(kind), str(kind)) for kind in _KINDS],
        help_text="A question has agents looked at that do not run; the others start nobody.",
    )


class CloseForm(forms.Form):
    """Why."""

    reason = forms.CharField(max_length=300, help_text="Kept with the thread.")


def _post(row: Thread, actor: str, answers: Mapping[str, Any]) -> str:
    kind = MessageKind(answers["kind"])
    said = public_teamwork.post_to_thread(row.pk, actor=actor, text=answers["text"], kind=kind)
    states = ", ".join(f"{one.path} {one.state}" for one in said.deliveries) or "nobody is in it"
    return f"said: {states}"


def _close(row: Thread, actor: str, answers: Mapping[str, Any]) -> str:
    return (
        "closed"
        if public_teamwork.close_thread(row.pk, by=actor, reason=answers["reason"])
        else "it was closed already"
    )


def _join(row: Thread, actor: str, answers: Mapping[str, Any]) -> str:
    public_teamwork.join_thread(row.pk, person=actor)
    return f"{actor} is in it"


def _leave(row: Thread, actor: str, answers: Mapping[str, Any]) -> str:
    return "left" if public_teamwork.leave_thread(row.pk, person=actor) else f"{actor} was not in it"


def _inside(rows: Sequence[Thread]) -> QuerySet[Agent]:
    return Agent.objects.filter(Q(memberships__thread__in=rows, memberships__left_at=None)).distinct()


def speaker(sender: str) -> str:
    """Who says something; of an agent, the way there."""
    door, _, name = sender.partition(":")
    if door == "agent" and name.isdecimal() and len(name) < 19:
        return link("coordinator_agent", int(name), line(sender))
    return line(sender) or "-"


@admin.register(Thread)
class ThreadAdmin(ActingAdmin):
    """Each is one conversation; what is said stays when it is closed."""

    list_display = ("id", "about", "kind", "status", "of", "who", "expires_at", "created_at")
    list_filter = ("state", "kind", "root__repository")
    list_select_related = ("root__issue",)
    list_defer = ("root__spec", "root__summary", "root__issue__body", "data")
    search_fields = ("root__path__exact", "opened_by__exact", "subject")
    search_help_text = "Exactly: the path of its tree's root, who opened it (agent:3, cli:root); or part of the subject"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("about", "status", "of", "who", "inside", "facts", "said", "ended")
    fields = (
        "id", "about", "kind", "status", "of", "who", "inside", "said", "facts", "ended",
        "expires_at", "created_at", "closed_at",
    )  # fmt: skip
    acts = (
        Act(
            name="post",
            label="Say something",
            effect="Every agent in the thread is told. You are in it from then on, and the agents may go on for another while.",
            run=_post,
            reach=_inside,
            form=PostForm,
            max_rows=1,
        ),
        Act(name="join", label="Join", effect="Agents see nothing of it until you speak.", run=_join, reach=_inside),
        Act(name="leave", label="Leave", effect="What is said goes on without you.", run=_leave, reach=_inside),
        Act(
            name="close",
            label="Close",
            effect="Nothing can be said in it any more. What is on its way still gets there. A bridge is taken down.",
            run=_close,
            reach=_inside,
            form=CloseForm,
        ),
    )

    def name_of(self, row: Thread) -> str:
        """Number and subject."""
        return f"thread {row.pk}: {row.subject}"

    @admin.display(description="subject", ordering="subject")
    def about(self, row: Thread) -> str:
        """What it is about."""
        return line(row.subject, 200)

    @admin.display(description="state", ordering="state")
    def status(self, row: Thread) -> str:
        """Open or closed."""
        return pill(_PILLS.get(row.state, row.state), row.state)

    @admin.display(description="tree", ordering="root")
    def of(self, row: Thread) -> str:
        """The tree it belongs to."""
        return agent_link(row.root)

    @admin.display(description="opened by", ordering="opened_by")
    def who(self, row: Thread) -> str:
        """An agent, a person, or the grid."""
        return speaker(row.opened_by)

    @admin.display(description="in it")
    def inside(self, row: Thread) -> str:
        """Agents and people, those who left as well."""
        rows = ThreadMember.objects.filter(thread=row).select_related("agent").defer("agent__spec", "agent__summary")
        return table(
            ("who", "joined", "left"),
            (
                (
                    link("coordinator_agent", one.agent.pk, one.agent.path) if one.agent else line(one.person),
                    f"{one.joined_at:%Y-%m-%d %H:%M:%S}",
                    f"{one.left_at:%Y-%m-%d %H:%M:%S}" if one.left_at else "-",
                )
                for one in rows.order_by("pk")[:100]
            ),
        )

    @admin.display(description="said, the last posts")
    def said(self, row: Thread) -> str:
        """Oldest first, with what became of each."""
        cells = (
            (
                link("coordinator_post", one.id, str(one.id)),
                f"{one.at:%Y-%m-%d %H:%M:%S}",
                speaker(one.sender),
                one.kind,
                block(one.words),
                format_html("{}", ", ".join(f"{to.path} {to.state}" for to in one.deliveries) or "-"),
            )
            for one in public_teamwork.posts_of_thread(row.pk, limit=SHOWN_POSTS)
        )
        every = list_link("coordinator_post", "all posts", thread__id__exact=row.pk)
        return format_html("{}{}", every, table(("no.", "at", "by", "kind", "what", "reached"), cells))

    @admin.display(description="facts")
    def facts(self, row: Thread) -> str:
        """What it is about, for programs."""
        return json_block(row.data)

    @admin.display(description="closed by")
    def ended(self, row: Thread) -> str:
        """Who closed it, and why."""
        return f"{line(row.closed_by)}: {line(row.reason, 300)}" if row.closed_by else "-"


@admin.register(Post)
class PostAdmin(ReadOnlyAdmin):
    """Everything that was said, in threads and directly."""

    list_display = ("id", "where", "who", "kind", "words", "created_at")
    list_filter = ("kind",)
    list_select_related = ("thread",)
    list_defer = ("data",)
    search_fields = ("=sender", "^execution_id")
    search_help_text = "Exactly a sender (cli:root, agent:12), or the start of an execution's id"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("where", "who", "all_of_it", "facts", "run", "reached")
    fields = ("id", "where", "who", "kind", "all_of_it", "facts", "run", "reached", "created_at")

    @admin.display(description="thread", ordering="thread")
    def where(self, row: Post) -> str:
        """The thread, or nothing for words to one agent."""
        return link("coordinator_thread", row.thread.pk, line(row.thread.subject, 80)) if row.thread else "-"

    @admin.display(description="from", ordering="sender")
    def who(self, row: Post) -> str:
        """Who says it."""
        return speaker(row.sender)

    @admin.display(description="text")
    def words(self, row: Post) -> str:
        """The beginning of it."""
        return line(row.text, 100)

    @admin.display(description="text")
    def all_of_it(self, row: Post) -> str:
        """The whole of it."""
        return block(row.text)

    @admin.display(description="facts")
    def facts(self, row: Post) -> str:
        """Of a typed one."""
        return json_block(row.data)

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Post) -> str:
        """The run that said it."""
        return run_link(row.execution_id)

    @admin.display(description="reached")
    def reached(self, row: Post) -> str:
        """What became of it with each agent."""
        rows = row.deliveries.select_related("agent").defer("agent__spec", "agent__summary")
        return table(
            ("agent", "message", "state", "why not"),
            (
                (
                    link("coordinator_agent", one.agent_id, one.agent.path),
                    link("coordinator_message", one.pk, str(one.pk)),
                    pill(_DELIVERY.get(one.state, one.state), one.state),
                    line(one.reason, 300) or "-",
                )
                for one in rows.order_by("pk")[:100]
            ),
        )


@admin.register(ThreadMember)
class ThreadMemberAdmin(ReadOnlyAdmin):
    """Who is in which thread."""

    list_display = ("id", "where", "who", "joined_at", "left_at")
    list_select_related = ("thread", "agent__issue")
    list_defer = ("thread__data", "agent__spec", "agent__summary", "agent__issue__body")
    search_fields = ("=person", "agent__path__exact")
    search_help_text = "Exactly: a person (cli:root), an agent's path"
    ordering = ("-id",)
    readonly_fields = ("where", "who")
    fields = ("id", "where", "who", "joined_at", "left_at")

    @admin.display(description="thread", ordering="thread")
    def where(self, row: ThreadMember) -> str:
        """The thread."""
        return link("coordinator_thread", row.thread_id, line(row.thread.subject, 80))

    @admin.display(description="who")
    def who(self, row: ThreadMember) -> str:
        """An agent or a person."""
        if row.agent is None:
            return line(row.person)
        return agent_link(row.agent)
