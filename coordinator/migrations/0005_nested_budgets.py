"""Envelopes that nest: an agent's hangs under its parent's, with the sums of what is below it.

The ledgers stay adding up because they move with the rows: whatever an agent's envelope held or used is entered a second
time on each agent's envelope that is above it from now on, and nowhere else, as the levels above those had it already.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

import django.db.models.functions.datetime
from django.db import migrations, models

COUNTERS = (
    *("live", "executions_reserved", "executions_spent", "wall_reserved_seconds", "wall_spent_seconds"),
    *("usd_reserved_micros", "usd_spent_micros", "tokens_reserved", "tokens_spent", "unpriced_tokens"),
    *("tool_calls_reserved", "tool_calls_spent"),
)
LIMITS = {
    "executions_limit": ("executions_reserved", "executions_spent"),
    "wall_limit_seconds": ("wall_reserved_seconds", "wall_spent_seconds"),
    "usd_limit_micros": ("usd_reserved_micros", "usd_spent_micros"),
    "tokens_limit": ("tokens_reserved", "tokens_spent"),
}
LEDGERS = (
    ("coordinator_ledgerentry", "execution_id, kind, executions, wall_seconds, tool_calls, at"),
    ("coordinator_spendentry", "call_id, kind, usd_micros, tokens, at"),
)


def nest(apps: Any, schema_editor: Any) -> None:
    """Give every envelope its place, and those of parents what is below them."""
    envelope_of, parent_of = {}, {}
    rows = apps.get_model("coordinator", "Agent").objects.order_by("depth", "pk")
    for pk, envelope_id, parent_id in rows.values_list("pk", "envelope_id", "parent_id"):
        envelope_of[pk] = envelope_id
        if parent_id is not None:
            parent_of[envelope_id] = envelope_of[parent_id]
    envelopes = apps.get_model("coordinator", "Envelope").objects
    rows = {row.pk: row for row in envelopes.all()}
    for pk, above in parent_of.items():
        rows[pk].parent_id = above
    own = {pk: {name: getattr(row, name) for name in COUNTERS} for pk, row in rows.items()}
    # The shallowest first: so an envelope's entries are still its own when they are entered above it.
    paths = {pk: _path(row, rows) for pk, row in rows.items()}
    for pk, row in sorted(rows.items(), key=lambda item: len(paths[item[0]])):
        row.ancestors = "".join(f"{above}/" for above in paths[pk])
        for above in paths[pk] if row.kind == "agent" else ():
            rows[above].children_spent += 1
            if rows[above].kind == "agent":
                _enter(schema_editor, of=pk, on=above)
                for name in COUNTERS:
                    setattr(rows[above], name, getattr(rows[above], name) + own[pk][name])
    for row in rows.values():
        for limit, used in LIMITS.items():
            if row.kind == "agent" and getattr(row, limit) is not None:
                # It bounded one agent so far; what its children have used is no breach of the law.
                setattr(row, limit, max(getattr(row, limit), sum(getattr(row, name) for name in used)))
        row.save()


def _path(row: Any, rows: dict[int, Any]) -> list[int]:
    path: list[int] = []
    while row.parent_id is not None:
        path.insert(0, row.parent_id)
        row = rows[row.parent_id]
    return path


def _enter(schema_editor: Any, *, of: int, on: int) -> None:
    """Enter the movements of one envelope on another above it, each once, whatever was entered there before."""
    for table, columns in LEDGERS:
        key = columns.partition(",")[0]
        schema_editor.execute(
            f"INSERT INTO {table} (envelope_id, {columns}) SELECT %s, {columns} FROM {table} AS mine "  # noqa: S608 - names of ours
            f"WHERE envelope_id = %s AND NOT EXISTS (SELECT 1 FROM {table} AS there WHERE there.envelope_id = %s "
            f"AND there.{key} = mine.{key} AND there.kind = mine.kind)",
            (on, of, on),
        )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("coordinator", "0004_capabilities_and_calls")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="GatewayProcess",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=100)),
                ("pid", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"verbose_name_plural": "gateway processes", "ordering": ["-started_at"]},
        ),
        migrations.RemoveConstraint(model_name="envelope", name="envelope_not_negative"),
        *(
            migrations.AddField(model_name="envelope", name=name, field=field)
            for name, field in (
                ("ancestors", models.CharField(blank=True, db_index=True, max_length=500)),
                ("breaker_opened_at", models.DateTimeField(blank=True, null=True)),
                ("children_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("children_spent", models.IntegerField(default=0)),
                ("is_counted", models.BooleanField(default=True)),
                ("progress_limit_micros", models.BigIntegerField(blank=True, null=True)),
                ("progress_mark_micros", models.BigIntegerField(default=0)),
                ("tool_calls_limit", models.BigIntegerField(blank=True, null=True)),
                ("tool_calls_reserved", models.BigIntegerField(default=0)),
                ("tool_calls_spent", models.BigIntegerField(default=0)),
                ("warned_at", models.DateTimeField(blank=True, null=True)),
                ("warning", models.CharField(blank=True, max_length=200)),
                ("warning_told_at", models.DateTimeField(blank=True, null=True)),
            )
        ),
        migrations.AddField(
            model_name="ledgerentry", name="tool_calls", field=models.PositiveBigIntegerField(default=0)
        ),
        migrations.AddField(model_name="modelcall", name="owner", field=models.UUIDField(blank=True, null=True)),
        migrations.AlterField(
            model_name="envelope",
            name="kind",
            field=models.CharField(
                choices=[
                    ("fleet", "fleet"),
                    ("repository", "repository"),
                    ("tree", "tree"),
                    ("agent", "agent"),
                    ("day", "day"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="envelope",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("live__gte", 0),
                    ("executions_reserved__gte", 0),
                    ("executions_spent__gte", 0),
                    ("wall_reserved_seconds__gte", 0),
                    ("wall_spent_seconds__gte", 0),
                    ("usd_reserved_micros__gte", 0),
                    ("usd_spent_micros__gte", 0),
                    ("tokens_reserved__gte", 0),
                    ("tokens_spent__gte", 0),
                    ("tool_calls_reserved__gte", 0),
                    ("tool_calls_spent__gte", 0),
                    ("children_spent__gte", 0),
                ),
                name="envelope_not_negative",
            ),
        ),
        migrations.AlterField(
            model_name="ledgerentry",
            name="envelope",
            field=models.ForeignKey(
                db_index=False, on_delete=models.PROTECT, related_name="entries", to="coordinator.envelope"
            ),
        ),
        migrations.AlterField(
            model_name="spendentry",
            name="envelope",
            field=models.ForeignKey(
                db_index=False, on_delete=models.PROTECT, related_name="spend_entries", to="coordinator.envelope"
            ),
        ),
        # Last: PostgreSQL alters no table whose rows were written in the same transaction.
        migrations.RunPython(nest, migrations.RunPython.noop),
    ]
