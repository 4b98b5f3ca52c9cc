"""A node of the agent tree: one per issue taken on, for as long as the issue lives."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from coordinator.public_types import AgentState


class Agent(models.Model):
    """What is known about one issue's agent; its runs are the grid's executions."""

    issue = models.OneToOneField("tracker.Issue", on_delete=models.PROTECT, related_name="agent")
    repository = models.ForeignKey("tracker.Repository", on_delete=models.PROTECT, related_name="+")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    root = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="descendants")
    """The root of its tree; NULL on the root itself."""
    depth = models.PositiveIntegerField(default=0)
    path = models.CharField(max_length=100)
    envelope = models.OneToOneField("coordinator.Envelope", on_delete=models.PROTECT, related_name="agent")

    state = models.CharField(
        max_length=16, choices=[(s.value, s.value) for s in AgentState], default=AgentState.NEW.value
    )
    blocked_reason = models.CharField(max_length=1000, blank=True)
    summary = models.TextField(blank=True)
    """What the last execution reported, an agent's words."""
    attempts = models.PositiveIntegerField(default=0)
    """Runs that failed since the last success or retry by a person."""
    crashes = models.PositiveIntegerField(default=0)
    """Runs in a row that took their runner with them."""
    executions = models.PositiveIntegerField(default=0)

    spec = models.JSONField(default=dict)
    """Its own wishes: `adapter`, `options`, `acceptance` (added to the repository's), `prompt` (a template's name), and what a plan
    asks for (`cwd`, `files`, `footprint`, `budget`). `set_by` says which of them a person set, see `coordinator.rules.plan_origins`."""
    profile = models.CharField(max_length=60, blank=True)
    """Name of its profile; empty: its repository's, else the shipped one for its depth."""
    capability = models.JSONField(default=dict, blank=True)
    """What it may use at most, as `coordinator.rules.capability` writes it; empty until its first launch."""
    priority = models.IntegerField(default=0)
    branch = models.CharField(max_length=250)
    base = models.CharField(max_length=40, blank=True)
    """Commit its branch grew from."""
    head = models.CharField(max_length=40, blank=True)
    """Accepted or checkpointed work on its branch; empty before the first."""
    next_mode = models.CharField(max_length=16, blank=True)
    """Mode of the next run where it is not plain: `resolve` after a conflict, the old mode after an interruption."""
    conflict = models.JSONField(default=dict, blank=True)
    """Of a merge that failed: `paths`, `commit`. Of work that was refused: `refused`, why; `set_aside`, whose run."""

    execution = models.ForeignKey("grid.Execution", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    """The last execution launched."""
    is_applied = models.BooleanField(default=True)
    """False from a launch until the outcome of `execution` has been applied."""
    is_splitting = models.BooleanField(default=False)
    """The sub-issues of the last split are not all agents yet."""

    approved_sha = models.CharField(max_length=64, blank=True)
    """SHA-256 of the title and body that somebody who may steer has approved; empty: whatever the tracker says."""
    approved_by = models.CharField(max_length=100, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    """When the approval was given, by the tracker's clock; what was said or changed later was not before those eyes."""
    reworks = models.PositiveIntegerField(default=0)
    """Runs caused by feedback on its pull request since a person's last word."""

    decision = models.JSONField(null=True, blank=True)
    """The last answer to a nudge, for `explain`."""
    not_before = models.DateTimeField(null=True, blank=True)
    """Back-off after a failure."""
    resume_due_at = models.DateTimeField(null=True, blank=True)
    """When the sweep looks at a waiting parent again."""
    resume_backoff_seconds = models.PositiveIntegerField(default=0)
    children_seen = models.CharField(max_length=64, blank=True)
    """Fingerprint of the children's states at the last resume."""

    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=sorted(AgentState)), name="agent_state_is_known"),
        ]
        indexes: ClassVar = [
            # Not partial: SQLite uses a partial index for `state = ?`, but not for `state IN (…)` (docs/decisions/0010).
            models.Index(fields=["state", "resume_due_at"], name="agent_resume_due"),
            models.Index(fields=["is_applied", "updated_at"], name="agent_unapplied"),
            models.Index(fields=["is_splitting", "updated_at"], name="agent_splitting"),
            models.Index(fields=["state", "updated_at"], name="agent_by_state"),
        ]
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"agent {self.pk} {self.path} {self.state}"

    @property
    def tree_id(self) -> int:
        """Id of the root of its tree."""
        return self.root_id or self.pk

    @property
    def subject(self) -> str:
        """Key under which the grid runs it: one live execution at most."""
        return f"issue:{self.issue_id}"

    @property
    def stream(self) -> str:
        """Name of its event stream."""
        return f"agent:{self.pk}"

    @property
    def root_key(self) -> str:
        """Key under which the tree's events are exported."""
        return f"tree:{self.tree_id}"
