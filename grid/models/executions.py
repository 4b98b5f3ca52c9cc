"""One run of an agent: what to run, who runs it, how it ended."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from grid.public_types import LIVE, ON_HOST, Mode, State


def _choices(enum: type[State] | type[Mode]) -> list[tuple[str, str]]:
    return [(str(member.value), str(member.value).replace("_", " ")) for member in enum]


def stream_of(execution_id: uuid.UUID) -> str:
    """Name of an execution's event stream."""
    return f"execution:{execution_id}"


class Execution(models.Model):
    """The truth about one execution. Every write for a running agent carries `token` in its WHERE."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    subject = models.CharField(max_length=200)
    root = models.CharField(max_length=200)
    mode = models.CharField(max_length=16, choices=_choices(Mode))
    state = models.CharField(max_length=16, choices=_choices(State), default=State.QUEUED)
    priority = models.IntegerField(default=0)
    attempt = models.PositiveIntegerField(default=1)
    crashes = models.PositiveIntegerField(default=0)
    is_held = models.BooleanField(default=False)
    """A pause of its scope keeps a queued row from being claimed."""

    spec = models.JSONField()
    """The `LaunchSpec` without its prompt, as plain JSON."""
    prompt = models.TextField(blank=True)
    agent = models.CharField(max_length=40)
    repository = models.CharField(max_length=64)
    branch = models.CharField(max_length=250)

    host = models.CharField(max_length=64, blank=True)
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    phase = models.CharField(max_length=40, blank=True)
    record = models.PositiveIntegerField(default=0)
    """Number of the last spool record of `phase` that became an event."""
    seq = models.PositiveIntegerField(default=0)
    """Number of the last event on this execution's stream."""
    progress = models.JSONField(default=dict, blank=True)
    """Facts of finished phases, so that a restarted host goes on where the last one stopped."""

    bearer_sha256 = models.CharField(max_length=64, blank=True)
    """SHA-256 of the token with which its agent calls our tools and the model gateway; empty when it has none."""
    bearer_fence = models.PositiveIntegerField(default=0)
    """`token` when the bearer token was made: one of an earlier claim opens nothing."""
    connected_at = models.DateTimeField(null=True, blank=True)
    """When its agent first reached our tools; NULL: it never did."""
    report = models.JSONField(null=True, blank=True)
    """The outcome that the agent reported by the tool `finish`, in the shape of `.agentgrid/outcome.json`."""
    inbox_count = models.PositiveIntegerField(default=0)
    """Messages for its program so far; a host that has handed over fewer looks at them."""
    sandbox = models.CharField(max_length=20, blank=True)
    """The backend that its agent runs in: `process`, `bwrap`, `docker`."""

    stop_reason = models.CharField(max_length=40, blank=True)
    """Set when somebody asked it to stop; the host delivers it."""
    result = models.JSONField(null=True, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    created_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject"], condition=Q(state__in=sorted(LIVE)), name="one_live_execution_per_subject"
            ),
            models.CheckConstraint(condition=Q(state__in=sorted(State)), name="execution_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state__in=sorted(ON_HOST)) | (Q(lease_until__isnull=False) & ~Q(host="")),
                name="execution_on_host_has_lease",
            ),
        ]
        # Not partial: SQLite uses a partial index for `state = ?`, but not for `state IN (…)` (docs/decisions/0010).
        indexes: ClassVar = [
            models.Index(fields=["state", "is_held", "-priority", "created_at"], name="execution_next_queued"),
            models.Index(fields=["state", "lease_until"], name="execution_lease_expiry"),
            models.Index(fields=["host", "state"], name="execution_of_host"),
            models.Index(fields=["subject", "created_at"], name="execution_history"),
            models.Index(fields=["root", "created_at"], name="execution_of_root"),
            models.Index(fields=["-ended_at"], name="execution_last_ended"),
            models.Index(fields=["bearer_sha256"], name="execution_of_bearer"),
        ]
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.subject} {self.mode} {self.state} ({str(self.id)[:8]})"

    @property
    def stream(self) -> str:
        """Name of this execution's event stream."""
        return stream_of(self.id)
