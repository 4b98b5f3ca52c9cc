"""Conversations: threads, who takes part, and what is said."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from coordinator.public_types import MessageKind, ThreadKind


class Thread(models.Model):
    """A conversation of several, within one tree; a bridge may lead into another."""

    class State(models.TextChoices):
        """Nothing is said in a closed one any more; it stays in the log."""

        OPEN = "open"
        CLOSED = "closed"

    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in ThreadKind])
    subject = models.CharField(max_length=200)
    root = models.ForeignKey("coordinator.Agent", on_delete=models.PROTECT, related_name="threads")
    """Root of the tree it belongs to; of a bridge, of its first member's tree. Its events stand there."""
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    opened_by = models.CharField(max_length=150)
    """`agent:12`, `cli:root`, `admin:ann`, `grid`."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """From then on nobody is told of it any more; NULL: it lasts."""
    data = models.JSONField(default=dict, blank=True)
    """What it is about, for programs: `{"conflict": 7}`."""
    posts = models.PositiveIntegerField(default=0)
    """Posts of agents since a person last said something in it."""
    closed_by = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    """Why it was closed."""
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["root", "state", "kind"], name="thread_of_tree"),
            models.Index(fields=["state", "expires_at"], name="thread_expiring"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"thread {self.pk} ({self.kind}): {self.subject}"


class ThreadMember(models.Model):
    """Somebody in a thread: an agent, or a person by the name under which they act."""

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="members")
    agent = models.ForeignKey(
        "coordinator.Agent", on_delete=models.CASCADE, null=True, blank=True, related_name="memberships"
    )
    person = models.CharField(max_length=150, blank=True)
    """`cli:root`, `admin:ann`; empty for an agent."""
    joined_at = models.DateTimeField(db_default=Now())
    left_at = models.DateTimeField(null=True, blank=True)
    """NULL: still there."""

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(agent__isnull=False, person="") | (Q(agent__isnull=True) & ~Q(person="")),
                name="member_is_agent_or_person",
            ),
            models.UniqueConstraint(
                fields=["thread", "agent"], condition=Q(agent__isnull=False), name="agent_once_per_thread"
            ),
            models.UniqueConstraint(
                fields=["thread", "person"], condition=~Q(person=""), name="person_once_per_thread"
            ),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.person or f'agent {self.agent_id}'} in thread {self.thread_id}"


class Post(models.Model):
    """One thing said, to a thread or directly to an agent; `Message` tells how far it came with each receiver."""

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, null=True, blank=True, related_name="said")
    """NULL: plain words to one agent."""
    sender = models.CharField(max_length=150)
    """`cli:root`, `admin:ann`, `github:mona`, `grid`, or `agent:12`."""
    kind = models.CharField(
        max_length=16, choices=[(k.value, k.value) for k in MessageKind], default=MessageKind.CHAT.value
    )
    text = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    """The facts of a typed post, as `coordinator.rules.vocabulary` checks them; empty for `chat`."""
    execution_id = models.UUIDField(null=True, blank=True)
    """The run that said it, of an agent."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["sender", "id"], name="post_by_sender"),
            models.Index(fields=["execution_id"], name="post_of_run"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"post {self.pk} ({self.kind}) by {self.sender}"
