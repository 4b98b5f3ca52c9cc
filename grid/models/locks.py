"""Locks on paths of a repository: leases with a fencing token, and those who wait for them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

MAX_PATTERN = 400
"""Characters of a path or pattern."""
MAX_KEY_BYTES = 1_600
"""Of its comparing form; an index of PostgreSQL takes 2,700 bytes."""


class LockSpace(models.Model):
    """One repository: whoever changes its locks holds this row, so that they take turns."""

    repository = models.CharField(max_length=64, primary_key=True)
    token = models.PositiveBigIntegerField(default=0)
    """The last fencing token that was given; it only grows, and some numbers are given to nobody."""

    def __str__(self) -> str:
        return f"{self.repository} at {self.token}"


class FileLock(models.Model):
    """One wish of one execution for a path, from the wait to its end. It counts only while that execution's own lease runs."""

    class Mode(models.TextChoices):
        """Readers share, a writer is alone."""

        READ = "read"
        WRITE = "write"

    class State(models.TextChoices):
        """`held` and `waiting` are open; the others are how it ended, for ever."""

        WAITING = "waiting"
        HELD = "held"
        RELEASED = "released"
        """Given back, or its run is over."""
        EXPIRED = "expired"
        """Its time, or the lease of its run, was over before it was given back."""
        BROKEN = "broken"
        """Taken away by a person or a decision."""
        WITHDRAWN = "withdrawn"
        """Waited for, and not wanted any more."""

    OPEN = (State.HELD.value, State.WAITING.value)
    LOST = (State.EXPIRED.value, State.BROKEN.value)

    repository = models.CharField(max_length=64)
    execution = models.ForeignKey(
        "grid.Execution",
        on_delete=models.CASCADE,
        related_name="locks",
        db_index=False,  # the index below begins with it
    )
    pattern = models.CharField(max_length=MAX_PATTERN)
    """As it was spelled, made plain: no `./`, no `..`, no double or trailing slash."""
    key = models.CharField(max_length=MAX_KEY_BYTES)
    """The same for comparing: spellings that some file system takes for one name have one key."""
    is_glob = models.BooleanField(default=False)
    mode = models.CharField(max_length=5, choices=Mode.choices, default=Mode.WRITE)
    state = models.CharField(max_length=9, choices=State.choices)
    token = models.PositiveBigIntegerField(default=0)
    """Fencing token; 0 while it waits. A later lock of the repository has a higher one."""
    reason = models.CharField(max_length=300, blank=True)
    """What it is wanted for, in the words of who asked."""
    asked_at = models.DateTimeField()
    since = models.DateTimeField(null=True, blank=True)
    """When it was granted."""
    until = models.DateTimeField(null=True, blank=True)
    """When it ends by itself, where it was asked for with a time of its own; its run's lease ends it in any case."""
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["repository", "token"], condition=~Q(token=0), name="lock_token_once"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "held", "released", "expired", "broken", "withdrawn"]),
                name="lock_state_is_known",
            ),
            models.CheckConstraint(condition=Q(mode__in=["read", "write"]), name="lock_mode_is_known"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "withdrawn", "expired", "broken"]) | ~Q(token=0),
                name="held_lock_has_token",
            ),
        ]
        indexes: ClassVar = [
            # Of open ones alone: those that are over stay in the table, and no sweep is to read them.
            models.Index(
                fields=["repository", "key"], condition=Q(state__in=["held", "waiting"]), name="lock_open_of_repository"
            ),
            models.Index(fields=["execution", "state"], name="lock_of_execution"),
        ]
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"lock {self.pk}: {self.mode}, {self.state}"
