"""Versions of events, and the rows of state tables that they made or changed."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Events from before have version 1 and no rows: a log that began before this release cannot be replayed."""

    dependencies: ClassVar = [("grid", "0005_locks")]

    operations: ClassVar = [
        migrations.AddField("event", "v", models.PositiveSmallIntegerField(db_default=1)),
        migrations.AddField("event", "rows", models.JSONField(null=True, blank=True)),
    ]
