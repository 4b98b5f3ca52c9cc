"""Profiles and toolsets that operators wrote here, and the prompts of the library: versioned, never overwritten."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Definition(models.Model):
    """One version of a profile, a toolset or the tiers, as YAML; the current one counts before the shipped file."""

    class Kind(models.TextChoices):
        """What it defines; `tiers` has one name only, `tiers`."""

        PROFILE = "profile"
        TOOLSET = "toolset"
        TIERS = "tiers"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=60)
    version = models.PositiveIntegerField()
    body = models.TextField()
    is_current = models.BooleanField(default=True)
    """False for older versions, and for a definition that was taken back."""
    note = models.CharField(max_length=300, blank=True)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "name", "version"], name="definition_version_once"),
            models.UniqueConstraint(
                fields=["kind", "name"], condition=Q(is_current=True), name="one_current_definition"
            ),
        ]
        ordering: ClassVar = ["kind", "name", "-version"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} version {self.version}"


class Prompt(models.Model):
    """One version of a named template of the prompt library."""

    name = models.CharField(max_length=60)
    scope = models.CharField(max_length=40, blank=True)
    """`tree:<id>` for one that an agent wrote: only that tree sees it. Empty: everybody."""
    version = models.PositiveIntegerField()
    body = models.TextField()
    description = models.CharField(max_length=300, blank=True)
    is_current = models.BooleanField(default=True)
    is_frozen = models.BooleanField(default=False)
    """Only an operator may add a version."""
    author = models.CharField(max_length=150)
    """`cli:root`, `admin:ann`, or `agent:12`."""
    execution_id = models.UUIDField(null=True, blank=True)
    """The run that wrote it."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scope", "name", "version"], name="prompt_version_once"),
            models.UniqueConstraint(fields=["scope", "name"], condition=Q(is_current=True), name="one_current_prompt"),
        ]
        ordering: ClassVar = ["scope", "name", "-version"]

    def __str__(self) -> str:
        return f"prompt {self.name} version {self.version}{f' of {self.scope}' if self.scope else ''}"
