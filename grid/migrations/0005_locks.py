"""Locks on paths."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """Two tables."""

    dependencies: ClassVar = [("grid", "0004_inbox")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="LockSpace",
            fields=[
                ("repository", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("token", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="FileLock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("repository", models.CharField(max_length=64)),
                ("pattern", models.CharField(max_length=400)),
                ("key", models.CharField(max_length=1600)),
                ("is_glob", models.BooleanField(default=False)),
                (
                    "mode",
                    models.CharField(choices=[("read", "Read"), ("write", "Write")], default="write", max_length=5),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("held", "Held"),
                            ("released", "Released"),
                            ("expired", "Expired"),
                            ("broken", "Broken"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=9,
                    ),
                ),
                ("token", models.PositiveBigIntegerField(default=0)),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("asked_at", models.DateTimeField()),
                ("since", models.DateTimeField(blank=True, null=True)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("end_reason", models.CharField(blank=True, max_length=300)),
                (
                    "execution",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="locks",
                        to="grid.execution",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "indexes": [
                    models.Index(
                        condition=Q(("state__in", ["held", "waiting"])),
                        fields=["repository", "key"],
                        name="lock_open_of_repository",
                    ),
                    models.Index(fields=["execution", "state"], name="lock_of_execution"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(("token", 0), _negated=True),
                        fields=("repository", "token"),
                        name="lock_token_once",
                    ),
                    models.CheckConstraint(
                        condition=Q(("state__in", ["waiting", "held", "released", "expired", "broken", "withdrawn"])),
                        name="lock_state_is_known",
                    ),
                    models.CheckConstraint(condition=Q(("mode__in", ["read", "write"])), name="lock_mode_is_known"),
                    models.CheckConstraint(
                        condition=Q(
                            ("state__in", ["waiting", "withdrawn", "expired", "broken"]),
                            Q(("token", 0), _negated=True),
                            _connector="OR",
                        ),
                        name="held_lock_has_token",
                    ),
                ],
            },
        ),
    ]
