"""The tables of version 0.1, in place of the six migrations that built them change by change.

A database that has those goes on from here. `replaces` names only the last of them, as Django looks for each that it
names: where not all had been applied, this fails on the first table that exists instead of being passed over in
silence. CHANGELOG.md says what to do then.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
import grid.public_types
import uuid
from django.db import migrations, models

_EVENT_XID = """
ALTER TABLE grid_event ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX event_by_xid ON grid_event (xid, id);
CREATE INDEX event_of_kind_by_xid ON grid_event (kind, xid, id);
"""


def order_events_by_transaction(apps, schema_editor):
    """Let readers leave events of unfinished transactions for later; SQLite has no transaction ids and needs none.

    The model does not know the column.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_EVENT_XID)


class Migration(migrations.Migration):
    replaces = [("grid", "0006_events")]

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("stream", models.CharField(max_length=64)),
                ("seq", models.PositiveIntegerField()),
                ("root", models.CharField(max_length=200)),
                ("kind", models.CharField(max_length=40)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("v", models.PositiveSmallIntegerField(db_default=1)),
                ("body", models.JSONField(default=dict)),
                ("rows", models.JSONField(blank=True, null=True)),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(fields=["kind", "id"], name="event_by_kind"),
                    models.Index(fields=["root", "id"], name="event_of_root"),
                ],
                "constraints": [models.UniqueConstraint(fields=("stream", "seq"), name="event_seq_once_per_stream")],
            },
        ),
        migrations.CreateModel(
            name="EventStream",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("root", models.CharField(max_length=200)),
                ("seq", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="EventCursor",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("xid", models.BigIntegerField(default=0)),
                ("event_id", models.BigIntegerField(default=0)),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Execution",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("subject", models.CharField(max_length=200)),
                ("root", models.CharField(max_length=200)),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            ("work", "work"),
                            ("resume", "resume"),
                            ("resolve", "resolve"),
                            ("bench", "bench"),
                            ("chat", "chat"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("claimed", "claimed"),
                            ("running", "running"),
                            ("stopping", "stopping"),
                            ("succeeded", "succeeded"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("timed_out", "timed out"),
                            ("over_budget", "over budget"),
                            ("interrupted", "interrupted"),
                            ("lost", "lost"),
                            ("quarantined", "quarantined"),
                        ],
                        default=grid.public_types.State["QUEUED"],
                        max_length=16,
                    ),
                ),
                ("priority", models.IntegerField(default=0)),
                ("attempt", models.PositiveIntegerField(default=1)),
                ("crashes", models.PositiveIntegerField(default=0)),
                ("is_held", models.BooleanField(default=False)),
                ("spec", models.JSONField()),
                ("prompt", models.TextField(blank=True)),
                ("agent", models.CharField(max_length=40)),
                ("repository", models.CharField(max_length=64)),
                ("branch", models.CharField(max_length=250)),
                ("host", models.CharField(blank=True, max_length=64)),
                ("token", models.PositiveIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("phase", models.CharField(blank=True, max_length=40)),
                ("record", models.PositiveIntegerField(default=0)),
                ("seq", models.PositiveIntegerField(default=0)),
                ("progress", models.JSONField(blank=True, default=dict)),
                ("bearer_sha256", models.CharField(blank=True, max_length=64)),
                ("bearer_fence", models.PositiveIntegerField(default=0)),
                ("connected_at", models.DateTimeField(blank=True, null=True)),
                ("report", models.JSONField(blank=True, null=True)),
                ("inbox_count", models.PositiveIntegerField(default=0)),
                ("sandbox", models.CharField(blank=True, max_length=20)),
                ("stop_reason", models.CharField(blank=True, max_length=40)),
                ("result", models.JSONField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-created_at"],
                "indexes": [
                    models.Index(fields=["state", "is_held", "-priority", "created_at"], name="execution_next_queued"),
                    models.Index(fields=["state", "lease_until"], name="execution_lease_expiry"),
                    models.Index(fields=["host", "state"], name="execution_of_host"),
                    models.Index(fields=["subject", "created_at"], name="execution_history"),
                    models.Index(fields=["root", "created_at"], name="execution_of_root"),
                    models.Index(fields=["-ended_at"], name="execution_last_ended"),
                    models.Index(fields=["bearer_sha256"], name="execution_of_bearer"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                [
                                    grid.public_types.State["CLAIMED"],
                                    grid.public_types.State["QUEUED"],
                                    grid.public_types.State["RUNNING"],
                                    grid.public_types.State["STOPPING"],
                                ],
                            )
                        ),
                        fields=("subject",),
                        name="one_live_execution_per_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                [
                                    grid.public_types.State["CANCELLED"],
                                    grid.public_types.State["CLAIMED"],
                                    grid.public_types.State["FAILED"],
                                    grid.public_types.State["INTERRUPTED"],
                                    grid.public_types.State["LOST"],
                                    grid.public_types.State["OVER_BUDGET"],
                                    grid.public_types.State["QUARANTINED"],
                                    grid.public_types.State["QUEUED"],
                                    grid.public_types.State["RUNNING"],
                                    grid.public_types.State["STOPPING"],
                                    grid.public_types.State["SUCCEEDED"],
                                    grid.public_types.State["TIMED_OUT"],
                                ],
                            )
                        ),
                        name="execution_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                (
                                    "state__in",
                                    [
                                        grid.public_types.State["CLAIMED"],
                                        grid.public_types.State["RUNNING"],
                                        grid.public_types.State["STOPPING"],
                                    ],
                                ),
                                _negated=True,
                            ),
                            models.Q(("lease_until__isnull", False), models.Q(("host", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="execution_on_host_has_lease",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Host",
            fields=[
                ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("slots", models.PositiveIntegerField(default=0)),
                ("pid", models.PositiveIntegerField(default=0)),
                ("boot_id", models.CharField(blank=True, max_length=64)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("draining_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="InboxItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "execution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="inbox", to="grid.execution"
                    ),
                ),
                ("key", models.CharField(max_length=100)),
                ("sender", models.CharField(max_length=150)),
                ("text", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("taken", "Taken"), ("refused", "Refused")],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("execution", "key"), name="inbox_item_once"),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["waiting", "taken", "refused"])), name="inbox_state_is_known"
                    ),
                ],
            },
        ),
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
                (
                    "execution",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="locks",
                        to="grid.execution",
                    ),
                ),
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
            ],
            options={
                "ordering": ["pk"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["held", "waiting"])),
                        fields=["repository", "key"],
                        name="lock_open_of_repository",
                    ),
                    models.Index(fields=["execution", "state"], name="lock_of_execution"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("token", 0), _negated=True),
                        fields=("repository", "token"),
                        name="lock_token_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["waiting", "held", "released", "expired", "broken", "withdrawn"])
                        ),
                        name="lock_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("mode__in", ["read", "write"])), name="lock_mode_is_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["waiting", "withdrawn", "expired", "broken"]),
                            models.Q(("token", 0), _negated=True),
                            _connector="OR",
                        ),
                        name="held_lock_has_token",
                    ),
                ],
            },
        ),
        migrations.RunPython(order_events_by_transaction, migrations.RunPython.noop),
    ]
