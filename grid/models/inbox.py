"""Messages on their way into a running program."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class InboxItem(models.Model):
    """One message for a running execution, to be written to its program's standard input by its host."""

    class State(models.TextChoices):
        """`waiting` becomes `taken` by the program's pipe, or `refused` by it; what waits when the run ends is lost here."""

        WAITING = "waiting"
        TAKEN = "taken"
        REFUSED = "refused"

    execution = models.ForeignKey("grid.Execution", on_delete=models.CASCADE, related_name="inbox")
    key = models.CharField(max_length=100)
    """The sender's own id of the message; events name it."""
    sender = models.CharField(max_length=150)
    text = models.TextField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["execution", "key"], name="inbox_item_once"),
            models.CheckConstraint(condition=Q(state__in=["waiting", "taken", "refused"]), name="inbox_state_is_known"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.key} for {self.execution_id}: {self.state}"
