"""Plans that were applied to trees: who changed what, and what of it is still to be done when the tracker has answered."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone


class AppliedPlan(models.Model):
    """One plan as it was applied; `coordinator.operating.plans` makes it, `coordinator.trees.plan_adopting` carries it through."""

    agent = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="plans")
    """The root of the document."""
    tree = models.ForeignKey("coordinator.Agent", on_delete=models.CASCADE, related_name="tree_plans")
    """The root of its tree."""
    revision = models.PositiveIntegerField()
    """The how many-th of its tree, from 1."""
    actor = models.CharField(max_length=150)
    """`cli:root`, `admin:ann`, or `agent:12`."""
    base = models.CharField(max_length=40)
    """Fingerprint of the tree that the document was made from."""
    digest = models.CharField(max_length=64)
    """SHA-256 of what the document asks for: with `base`, the same plan again is known by it."""
    changes = models.JSONField(default=list)
    """As `coordinator.rules.plan_diff.as_json` writes them, in the order in which they were carried out."""
    todo = models.JSONField(default=dict)
    """What is left of it: `new`, `moves`, `texts`, `nudge`; the keys of its writes in `writes`; agents whose move waits for a run to
    end in `busy`."""
    is_open = models.BooleanField(default=True)
    """Something of it waits: for the tracker, or for a run to end."""
    error = models.CharField(max_length=1000, blank=True)
    """Of a write that failed for ever."""
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tree", "revision"], name="plan_revision_once_per_tree"),
            models.UniqueConstraint(fields=["agent", "base", "digest"], name="same_plan_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["is_open", "id"], name="plan_open"),
        ]
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"plan {self.revision} of {self.tree_id}"
