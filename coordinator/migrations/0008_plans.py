"""Plans that were applied."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("coordinator", "0007_conflicts")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="AppliedPlan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("revision", models.PositiveIntegerField()),
                ("actor", models.CharField(max_length=150)),
                ("base", models.CharField(max_length=40)),
                ("digest", models.CharField(max_length=64)),
                ("changes", models.JSONField(default=list)),
                ("todo", models.JSONField(default=dict)),
                ("is_open", models.BooleanField(default=True)),
                ("error", models.CharField(blank=True, max_length=1000)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="plans", to="coordinator.agent"
                    ),
                ),
                (
                    "tree",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tree_plans", to="coordinator.agent"
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [models.Index(fields=["is_open", "id"], name="plan_open")],
                "constraints": [
                    models.UniqueConstraint(fields=("tree", "revision"), name="plan_revision_once_per_tree"),
                    models.UniqueConstraint(fields=("agent", "base", "digest"), name="same_plan_once"),
                ],
            },
        ),
    ]
