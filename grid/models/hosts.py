"""Machines that run agents."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Host(models.Model):
    """One `executions` worker on one machine. `heartbeat_at` is stamped by its loop, so a dead loop shows."""

    name = models.CharField(max_length=64, primary_key=True)
    slots = models.PositiveIntegerField(default=0)
    pid = models.PositiveIntegerField(default=0)
    boot_id = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    draining_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)
    """A warning for operators: `agents run as root, without a sandbox`."""

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
