"""Two agents that want the same files, and what was decided about it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from coordinator.rules.conflict_rules import Choice, ConflictState, Kind


class Conflict(models.Model):
    """A conflict from the first refusal to the last step of its resolution; `coordinator.rules.conflict_rules` has the words.

    Only `coordinator.contention.conflict_rows` writes it, each change with an event on the requester's stream.
    """

    kind = models.CharField(max_length=10, choices=[(k.value, k.value) for k in Kind])
    repository = models.CharField(max_length=100)
    """Its name in the grid's store, as locks have it."""
    patterns = models.JSONField(default=list)
    """Paths or patterns that both want."""
    requester = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="conflicts")
    holder = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="conflicts_held")
    arbiter = models.ForeignKey(
        "coordinator.Agent", on_delete=models.CASCADE, null=True, blank=True, related_name="conflicts_to_decide"
    )
    """Who decides; NULL: people."""
    pair = models.CharField(max_length=50)
    """The two agents, the smaller number first: `3:7`."""
    thread_id = models.BigIntegerField(null=True, blank=True)
    """Where it is talked about; NULL before it was announced."""
    facts = models.JSONField(default=dict)
    """What each side wants and has changed, as it was when the conflict was opened; words of agents among it."""
    detail = models.JSONField(default=dict)
    """What carrying it out needs: locks, runs, commits."""
    joined = models.PositiveIntegerField(default=0)
    """How many further refusals were about the same."""

    state = models.CharField(
        max_length=12, choices=[(s.value, s.value) for s in ConflictState], default=ConflictState.OPEN.value
    )
    choice = models.CharField(max_length=12, choices=[(c.value, c.value) for c in Choice], blank=True)
    order = models.JSONField(default=list)
    """Agents: of `sequence` first and second; of `fork` and `merge_plan` who merges."""
    decided_by = models.CharField(max_length=150, blank=True)
    """`agent:3`, `cli:root`, `admin:ann`; `default` when nobody did in time, `policy` when nobody was asked."""
    words = models.CharField(max_length=1000, blank=True)
    """Why, for the two."""
    decided_at = models.DateTimeField(null=True, blank=True)
    decisions = models.PositiveIntegerField(default=0)
    """How many there were: a later one replaces the one before."""
    step = models.PositiveIntegerField(default=0)
    """How many steps of the present decision are done."""
    waiter = models.ForeignKey(
        "coordinator.Agent", on_delete=models.CASCADE, null=True, blank=True, related_name="conflicts_waited_for"
    )
    """Who is not started because of it."""
    act_at = models.DateTimeField(null=True, blank=True)
    """Until when those who were asked to give way have time."""
    default_at = models.DateTimeField()
    """When the default is taken."""
    announced_at = models.DateTimeField(null=True, blank=True)
    """When the arbiter was called."""
    reason = models.CharField(max_length=500, blank=True)
    """How it ended."""
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["pair", "kind"], condition=Q(state="open"), name="one_open_conflict_per_pair"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "id"], name="conflict_by_state"),
            models.Index(fields=["waiter", "state"], name="conflict_waited_for"),
            models.Index(fields=["arbiter", "state"], name="conflict_to_decide"),
            models.Index(fields=["pair", "state"], name="conflict_of_pair"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"conflict {self.pk} ({self.kind}) of agents {self.pair}: {self.state}"
