"""What agents are told while they work, and what they ask for."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Message(models.Model):
    """A post on its way to one agent, and how far it has come."""

    class State(models.TextChoices):
        """`queued` waits for a run or its next tool call; `seen`: it was in a prompt or a tool's answer."""

        QUEUED = "queued"
        DELIVERED = "delivered"
        SEEN = "seen"
        EXPIRED = "expired"
        UNDELIVERABLE = "undeliverable"

    agent = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="messages")
    post = models.ForeignKey("coordinator.Post", on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=14, choices=State.choices, default=State.QUEUED)
    channel = models.CharField(max_length=20, blank=True)
    """How it got there: `live` (the running program took it), `tool` (with a tool's answer), `prompt` (the next run's)."""
    execution_id = models.UUIDField(null=True, blank=True)
    """The run it was delivered to."""
    reason = models.CharField(max_length=300, blank=True)
    """Why it could not be delivered."""
    wakes = models.BooleanField(default=False)
    """It asks for something, and its agent is still to be looked at because of it."""
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["post", "agent"], name="post_once_per_agent"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["agent", "state", "id"], name="message_waiting"),
            models.Index(fields=["state", "wakes", "id"], name="message_by_state"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"message {self.pk} to agent {self.agent_id}: {self.state}"


class UpgradeRequest(models.Model):
    """An agent asks for more than its capability holds; its parent, the policy or an operator answers."""

    class State(models.TextChoices):
        """At most one of an agent is open."""

        OPEN = "open"
        GRANTED = "granted"
        REFUSED = "refused"

    agent = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="upgrade_requests")
    execution_id = models.UUIDField(null=True, blank=True)
    wish = models.JSONField()
    """The capability it would like, in the shape of `Agent.capability`."""
    reason = models.TextField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    granted = models.JSONField(null=True, blank=True)
    """What it got: never more than who granted it has."""
    answered_by = models.CharField(max_length=150, blank=True)
    """`agent:3` (its parent), `policy`, `cli:root`, `admin:ann`."""
    answer = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["agent"], condition=Q(state="open"), name="one_open_upgrade_per_agent"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"upgrade request {self.pk} of agent {self.agent_id}: {self.state}"
