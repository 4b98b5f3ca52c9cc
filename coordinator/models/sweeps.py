"""Which slot of each periodic sweep has been done: k beats, one effect."""

from __future__ import annotations

from django.db import models


class SweepSlot(models.Model):
    """The last slot (seconds since 1970 divided by the period) that somebody claimed."""

    name = models.CharField(max_length=60, primary_key=True)
    slot = models.BigIntegerField(default=-1)

    def __str__(self) -> str:
        return f"{self.name} at {self.slot}"
