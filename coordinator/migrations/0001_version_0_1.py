"""The tables of version 0.1, in place of the eight migrations that built them change by change.

A database that has those goes on from here. `replaces` names only the last of them, as Django looks for each that it
names: where not all had been applied, this fails on the first table that exists instead of being passed over in
silence. CHANGELOG.md says what to do then.
"""

import coordinator.public_types
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    replaces = [("coordinator", "0008_plans")]

    initial = True

    dependencies = [
        ("grid", "0001_version_0_1"),
        ("tracker", "0001_version_0_1"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor", models.CharField(max_length=150)),
                ("action", models.CharField(max_length=40)),
                ("target", models.CharField(max_length=200)),
                ("detail", models.JSONField(default=dict)),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="Envelope",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=60, unique=True)),
                (
                    "kind",
                    models.CharField(
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
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="coordinator.envelope",
                    ),
                ),
                ("ancestors", models.CharField(blank=True, db_index=True, max_length=500)),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("paused_by", models.CharField(blank=True, max_length=150)),
                ("rest_until", models.DateTimeField(blank=True, null=True)),
                ("live", models.IntegerField(default=0)),
                ("max_live", models.PositiveIntegerField(blank=True, null=True)),
                ("executions_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("executions_reserved", models.IntegerField(default=0)),
                ("executions_spent", models.IntegerField(default=0)),
                ("wall_limit_seconds", models.PositiveBigIntegerField(blank=True, null=True)),
                ("wall_reserved_seconds", models.BigIntegerField(default=0)),
                ("wall_spent_seconds", models.BigIntegerField(default=0)),
                ("usd_limit_micros", models.BigIntegerField(blank=True, null=True)),
                ("usd_reserved_micros", models.BigIntegerField(default=0)),
                ("usd_spent_micros", models.BigIntegerField(default=0)),
                ("tokens_limit", models.BigIntegerField(blank=True, null=True)),
                ("tokens_reserved", models.BigIntegerField(default=0)),
                ("tokens_spent", models.BigIntegerField(default=0)),
                ("unpriced_tokens", models.BigIntegerField(default=0)),
                ("tool_calls_limit", models.BigIntegerField(blank=True, null=True)),
                ("tool_calls_reserved", models.BigIntegerField(default=0)),
                ("tool_calls_spent", models.BigIntegerField(default=0)),
                ("children_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("children_spent", models.IntegerField(default=0)),
                ("is_counted", models.BooleanField(default=True)),
                ("warned_at", models.DateTimeField(blank=True, null=True)),
                ("warning", models.CharField(blank=True, max_length=200)),
                ("warning_told_at", models.DateTimeField(blank=True, null=True)),
                ("progress_limit_micros", models.BigIntegerField(blank=True, null=True)),
                ("progress_mark_micros", models.BigIntegerField(default=0)),
                ("breaker_opened_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.CheckConstraint(
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
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Agent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="agent", to="tracker.issue"
                    ),
                ),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tracker.repository"
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="coordinator.agent",
                    ),
                ),
                (
                    "root",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="descendants",
                        to="coordinator.agent",
                    ),
                ),
                ("depth", models.PositiveIntegerField(default=0)),
                ("path", models.CharField(max_length=100)),
                (
                    "envelope",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="agent", to="coordinator.envelope"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("new", "new"),
                            ("queued", "queued"),
                            ("running", "running"),
                            ("waiting", "waiting"),
                            ("review", "review"),
                            ("blocked", "blocked"),
                            ("failed", "failed"),
                            ("done", "done"),
                            ("abandoned", "abandoned"),
                        ],
                        default="new",
                        max_length=16,
                    ),
                ),
                ("blocked_reason", models.CharField(blank=True, max_length=1000)),
                ("summary", models.TextField(blank=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("crashes", models.PositiveIntegerField(default=0)),
                ("executions", models.PositiveIntegerField(default=0)),
                ("spec", models.JSONField(default=dict)),
                ("profile", models.CharField(blank=True, max_length=60)),
                ("capability", models.JSONField(blank=True, default=dict)),
                ("priority", models.IntegerField(default=0)),
                ("branch", models.CharField(max_length=250)),
                ("base", models.CharField(blank=True, max_length=40)),
                ("head", models.CharField(blank=True, max_length=40)),
                ("next_mode", models.CharField(blank=True, max_length=16)),
                ("conflict", models.JSONField(blank=True, default=dict)),
                (
                    "execution",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="grid.execution",
                    ),
                ),
                ("is_applied", models.BooleanField(default=True)),
                ("is_splitting", models.BooleanField(default=False)),
                ("approved_sha", models.CharField(blank=True, max_length=64)),
                ("approved_by", models.CharField(blank=True, max_length=100)),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("reworks", models.PositiveIntegerField(default=0)),
                ("decision", models.JSONField(blank=True, null=True)),
                ("not_before", models.DateTimeField(blank=True, null=True)),
                ("resume_due_at", models.DateTimeField(blank=True, null=True)),
                ("resume_backoff_seconds", models.PositiveIntegerField(default=0)),
                ("children_seen", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-created_at"],
                "indexes": [
                    models.Index(fields=["state", "resume_due_at"], name="agent_resume_due"),
                    models.Index(fields=["is_applied", "updated_at"], name="agent_unapplied"),
                    models.Index(fields=["is_splitting", "updated_at"], name="agent_splitting"),
                    models.Index(fields=["state", "updated_at"], name="agent_by_state"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                [
                                    coordinator.public_types.AgentState["ABANDONED"],
                                    coordinator.public_types.AgentState["BLOCKED"],
                                    coordinator.public_types.AgentState["DONE"],
                                    coordinator.public_types.AgentState["FAILED"],
                                    coordinator.public_types.AgentState["NEW"],
                                    coordinator.public_types.AgentState["QUEUED"],
                                    coordinator.public_types.AgentState["REVIEW"],
                                    coordinator.public_types.AgentState["RUNNING"],
                                    coordinator.public_types.AgentState["WAITING"],
                                ],
                            )
                        ),
                        name="agent_state_is_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "envelope",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="coordinator.envelope",
                    ),
                ),
                ("execution_id", models.UUIDField()),
                ("kind", models.CharField(choices=[("reserve", "Reserve"), ("settle", "Settle")], max_length=8)),
                ("executions", models.PositiveIntegerField()),
                ("wall_seconds", models.PositiveBigIntegerField()),
                ("tool_calls", models.PositiveBigIntegerField(default=0)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("execution_id", "envelope", "kind"), name="ledger_entry_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="SpendEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "envelope",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="spend_entries",
                        to="coordinator.envelope",
                    ),
                ),
                ("call_id", models.UUIDField()),
                ("kind", models.CharField(choices=[("reserve", "Reserve"), ("settle", "Settle")], max_length=8)),
                ("usd_micros", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name_plural": "spend entries",
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("call_id", "envelope", "kind"), name="spend_entry_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="ModelCall",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="model_calls", to="coordinator.agent"
                    ),
                ),
                ("execution_id", models.UUIDField()),
                ("owner", models.UUIDField(blank=True, null=True)),
                ("provider", models.CharField(max_length=20)),
                ("model", models.CharField(max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[("reserved", "Reserved"), ("settled", "Settled"), ("refused", "Refused")],
                        max_length=10,
                    ),
                ),
                ("reserved_usd_micros", models.BigIntegerField(default=0)),
                ("reserved_tokens", models.BigIntegerField(default=0)),
                ("usd_micros", models.BigIntegerField(blank=True, null=True)),
                ("input_tokens", models.BigIntegerField(default=0)),
                ("output_tokens", models.BigIntegerField(default=0)),
                ("cache_read_tokens", models.BigIntegerField(default=0)),
                ("cache_write_tokens", models.BigIntegerField(default=0)),
                ("is_estimated", models.BooleanField(default=False)),
                ("status_code", models.PositiveIntegerField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-started_at"],
                "indexes": [
                    models.Index(fields=["execution_id", "started_at"], name="model_call_of_execution"),
                    models.Index(fields=["state", "started_at"], name="model_call_by_state"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["reserved", "settled", "refused"])),
                        name="model_call_state_is_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="GatewayProcess",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=100)),
                ("pid", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name_plural": "gateway processes",
                "ordering": ["-started_at"],
            },
        ),
        migrations.CreateModel(
            name="Command",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tracker.repository"
                    ),
                ),
                ("comment_id", models.CharField(max_length=50)),
                ("issue_key", models.CharField(max_length=50)),
                ("author", models.CharField(max_length=100)),
                ("verbs", models.CharField(max_length=200)),
                ("answer", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["-pk"],
                "constraints": [models.UniqueConstraint(fields=("repository", "comment_id"), name="command_acts_once")],
            },
        ),
        migrations.CreateModel(
            name="Conflict",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("lock", "lock"),
                            ("overlap", "overlap"),
                            ("merge", "merge"),
                            ("deadlock", "deadlock"),
                        ],
                        max_length=10,
                    ),
                ),
                ("repository", models.CharField(max_length=100)),
                ("patterns", models.JSONField(default=list)),
                (
                    "requester",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="conflicts", to="coordinator.agent"
                    ),
                ),
                (
                    "holder",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="conflicts_held",
                        to="coordinator.agent",
                    ),
                ),
                (
                    "arbiter",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="conflicts_to_decide",
                        to="coordinator.agent",
                    ),
                ),
                ("pair", models.CharField(max_length=50)),
                ("thread_id", models.BigIntegerField(blank=True, null=True)),
                ("facts", models.JSONField(default=dict)),
                ("detail", models.JSONField(default=dict)),
                ("joined", models.PositiveIntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("decided", "decided"),
                            ("carried-out", "carried-out"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        default="open",
                        max_length=12,
                    ),
                ),
                (
                    "choice",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("release", "release"),
                            ("sequence", "sequence"),
                            ("fork", "fork"),
                            ("merge_plan", "merge_plan"),
                        ],
                        max_length=12,
                    ),
                ),
                ("order", models.JSONField(default=list)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("words", models.CharField(blank=True, max_length=1000)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decisions", models.PositiveIntegerField(default=0)),
                ("step", models.PositiveIntegerField(default=0)),
                (
                    "waiter",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="conflicts_waited_for",
                        to="coordinator.agent",
                    ),
                ),
                ("act_at", models.DateTimeField(blank=True, null=True)),
                ("default_at", models.DateTimeField()),
                ("announced_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(fields=["state", "id"], name="conflict_by_state"),
                    models.Index(fields=["waiter", "state"], name="conflict_waited_for"),
                    models.Index(fields=["arbiter", "state"], name="conflict_to_decide"),
                    models.Index(fields=["pair", "state"], name="conflict_of_pair"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")),
                        fields=("pair", "kind"),
                        name="one_open_conflict_per_pair",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Definition",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("profile", "Profile"), ("toolset", "Toolset"), ("tiers", "Tiers")], max_length=10
                    ),
                ),
                ("name", models.CharField(max_length=60)),
                ("version", models.PositiveIntegerField()),
                ("body", models.TextField()),
                ("is_current", models.BooleanField(default=True)),
                ("note", models.CharField(blank=True, max_length=300)),
                ("created_by", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["kind", "name", "-version"],
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "name", "version"), name="definition_version_once"),
                    models.UniqueConstraint(
                        condition=models.Q(("is_current", True)), fields=("kind", "name"), name="one_current_definition"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Prompt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60)),
                ("scope", models.CharField(blank=True, max_length=40)),
                ("version", models.PositiveIntegerField()),
                ("body", models.TextField()),
                ("description", models.CharField(blank=True, max_length=300)),
                ("is_current", models.BooleanField(default=True)),
                ("is_frozen", models.BooleanField(default=False)),
                ("author", models.CharField(max_length=150)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["scope", "name", "-version"],
                "constraints": [
                    models.UniqueConstraint(fields=("scope", "name", "version"), name="prompt_version_once"),
                    models.UniqueConstraint(
                        condition=models.Q(("is_current", True)), fields=("scope", "name"), name="one_current_prompt"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Feedback",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="feedback", to="coordinator.agent"
                    ),
                ),
                ("tracker_id", models.CharField(max_length=200)),
                ("kind", models.CharField(max_length=16)),
                ("author", models.CharField(max_length=100)),
                ("text", models.TextField(blank=True)),
                ("path", models.CharField(blank=True, max_length=1000)),
                ("line", models.PositiveIntegerField(blank=True, null=True)),
                ("head_sha", models.CharField(blank=True, max_length=64)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name_plural": "feedback",
                "ordering": ["pk"],
                "indexes": [models.Index(fields=["agent", "execution_id"], name="feedback_waiting")],
                "constraints": [models.UniqueConstraint(fields=("agent", "tracker_id"), name="feedback_once")],
            },
        ),
        migrations.CreateModel(
            name="UpgradeRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="upgrade_requests",
                        to="coordinator.agent",
                    ),
                ),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("wish", models.JSONField()),
                ("reason", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("granted", "Granted"), ("refused", "Refused")],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("granted", models.JSONField(blank=True, null=True)),
                ("answered_by", models.CharField(blank=True, max_length=150)),
                ("answer", models.CharField(blank=True, max_length=1000)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-pk"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "open")), fields=("agent",), name="one_open_upgrade_per_agent"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Nudge",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="nudges", to="coordinator.agent"
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("operator", "operator"),
                            ("webhook", "webhook"),
                            ("sweep", "sweep"),
                            ("parent", "parent"),
                            ("child", "child"),
                            ("blocker", "blocker"),
                            ("retry", "retry"),
                            ("conflict", "conflict"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("is_open", models.BooleanField(default=True)),
                (
                    "answer",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("admitted", "admitted"),
                            ("deferred", "deferred"),
                            ("refused", "refused"),
                            ("coalesced", "coalesced"),
                        ],
                        max_length=16,
                    ),
                ),
                ("decision", models.JSONField(blank=True, null=True)),
                ("not_before", models.DateTimeField(blank=True, null=True)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [models.Index(fields=["is_open", "not_before"], name="nudge_due")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_open", True)), fields=("agent",), name="one_open_nudge_per_agent"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AppliedPlan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
        migrations.CreateModel(
            name="RepositoryPolicy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tracker.repository"
                    ),
                ),
                ("head", models.CharField(blank=True, max_length=40)),
                ("policy", models.JSONField(blank=True, null=True)),
                ("policy_commit", models.CharField(blank=True, max_length=40)),
                ("error", models.TextField(blank=True)),
                ("refreshed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "repository policies",
            },
        ),
        migrations.CreateModel(
            name="SweepSlot",
            fields=[
                ("name", models.CharField(max_length=60, primary_key=True, serialize=False)),
                ("slot", models.BigIntegerField(default=-1)),
            ],
        ),
        migrations.CreateModel(
            name="Thread",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("chat", "chat"),
                            ("conflict", "conflict"),
                            ("upgrade", "upgrade"),
                            ("bridge", "bridge"),
                        ],
                        max_length=16,
                    ),
                ),
                ("subject", models.CharField(max_length=200)),
                (
                    "root",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="threads", to="coordinator.agent"
                    ),
                ),
                (
                    "state",
                    models.CharField(choices=[("open", "Open"), ("closed", "Closed")], default="open", max_length=8),
                ),
                ("opened_by", models.CharField(max_length=150)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("data", models.JSONField(blank=True, default=dict)),
                ("posts", models.PositiveIntegerField(default=0)),
                ("closed_by", models.CharField(blank=True, max_length=150)),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(fields=["root", "state", "kind"], name="thread_of_tree"),
                    models.Index(fields=["state", "expires_at"], name="thread_expiring"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ThreadMember",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "thread",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="members", to="coordinator.thread"
                    ),
                ),
                (
                    "agent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="coordinator.agent",
                    ),
                ),
                ("person", models.CharField(blank=True, max_length=150)),
                ("joined_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("left_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("agent__isnull", False), ("person", "")),
                            models.Q(("agent__isnull", True), models.Q(("person", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="member_is_agent_or_person",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("agent__isnull", False)),
                        fields=("thread", "agent"),
                        name="agent_once_per_thread",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("person", ""), _negated=True),
                        fields=("thread", "person"),
                        name="person_once_per_thread",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Post",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "thread",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="said",
                        to="coordinator.thread",
                    ),
                ),
                ("sender", models.CharField(max_length=150)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("chat", "chat"),
                            ("status", "status"),
                            ("question", "question"),
                            ("answer", "answer"),
                            ("blocked", "blocked"),
                            ("handoff", "handoff"),
                            ("result", "result"),
                            ("conflict", "conflict"),
                            ("upgrade_request", "upgrade_request"),
                        ],
                        default="chat",
                        max_length=16,
                    ),
                ),
                ("text", models.TextField()),
                ("data", models.JSONField(blank=True, default=dict)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["pk"],
                "indexes": [
                    models.Index(fields=["sender", "id"], name="post_by_sender"),
                    models.Index(fields=["execution_id"], name="post_of_run"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="messages", to="coordinator.agent"
                    ),
                ),
                (
                    "post",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="coordinator.post"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("delivered", "Delivered"),
                            ("seen", "Seen"),
                            ("expired", "Expired"),
                            ("undeliverable", "Undeliverable"),
                        ],
                        default="queued",
                        max_length=14,
                    ),
                ),
                ("channel", models.CharField(blank=True, max_length=20)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("wakes", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("seen_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["pk"],
                "indexes": [
                    models.Index(fields=["agent", "state", "id"], name="message_waiting"),
                    models.Index(fields=["state", "wakes", "id"], name="message_by_state"),
                ],
                "constraints": [models.UniqueConstraint(fields=("post", "agent"), name="post_once_per_agent")],
            },
        ),
    ]
