"""The tables of version 0.1, in place of the five migrations that built them change by change.

A database that has those goes on from here. `replaces` names only the last of them, as Django looks for each that it
names: where not all had been applied, this fails on the first table that exists instead of being passed over in
silence. CHANGELOG.md says what to do then.
"""

import django.db.models.deletion
import tracker.public_types
from django.db import migrations, models


class Migration(migrations.Migration):
    replaces = [("tracker", "0005_edits")]

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Repository",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tracker", models.CharField(choices=[("local", "local"), ("github", "GitHub")], max_length=16)),
                ("scope", models.CharField(help_text="The tracker's name for it: acme/widgets.", max_length=200)),
                ("source", models.CharField(help_text="Path or URL that git clones from.", max_length=1000)),
                ("default_branch", models.CharField(max_length=250)),
                (
                    "is_active",
                    models.BooleanField(default=True, help_text="Unset: nothing is listed, started or written."),
                ),
                (
                    "remote_id",
                    models.BigIntegerField(
                        blank=True, help_text="The tracker's own number; survives renames.", null=True
                    ),
                ),
                (
                    "installation_id",
                    models.BigIntegerField(blank=True, help_text="Of our GitHub App on its account.", null=True),
                ),
                (
                    "swept_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Changes before this have been read; the next sweep starts a little earlier.",
                        null=True,
                    ),
                ),
                ("swept_at", models.DateTimeField(blank=True, help_text="When the last sweep ended.", null=True)),
                (
                    "backfill",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="How far reading everything has come; a broken one goes on from there.",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("last_number", models.PositiveBigIntegerField(default=0, help_text="Of the local tracker's issues.")),
                (
                    "outbox_token",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Grows with every drainer; fences the old one."
                    ),
                ),
                (
                    "outbox_lease_until",
                    models.DateTimeField(blank=True, help_text="A drainer is at work until then.", null=True),
                ),
            ],
            options={
                "verbose_name_plural": "repositories",
                "constraints": [
                    models.UniqueConstraint(fields=("tracker", "scope"), name="tracker_repository_one_per_scope"),
                    models.CheckConstraint(
                        condition=models.Q(("tracker__in", ["local", "github"])),
                        name="tracker_repository_tracker_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Issue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="issues", to="tracker.repository"
                    ),
                ),
                (
                    "key",
                    models.CharField(help_text="The tracker's name for it within the repository: 12.", max_length=50),
                ),
                ("title", models.CharField(max_length=256)),
                ("body", models.TextField(blank=True)),
                ("is_open", models.BooleanField(default=True)),
                (
                    "close_reason",
                    models.CharField(
                        blank=True,
                        choices=[("completed", "completed"), ("not_planned", "not planned")],
                        default="",
                        max_length=16,
                    ),
                ),
                ("author", models.CharField(max_length=100)),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="tracker.issue",
                    ),
                ),
                ("position", models.PositiveIntegerField(default=0, help_text="Among its siblings.")),
                (
                    "agent_state",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "none"),
                            ("ready", "ready"),
                            ("running", "running"),
                            ("waiting", "waiting"),
                            ("review", "review"),
                            ("blocked", "blocked"),
                            ("failed", "failed"),
                        ],
                        default=tracker.public_types.AgentState["NONE"],
                        max_length=16,
                    ),
                ),
                (
                    "dedupe_key",
                    models.CharField(
                        blank=True, default="", help_text="Creating with it again finds this.", max_length=220
                    ),
                ),
                (
                    "remote_id",
                    models.BigIntegerField(
                        blank=True, help_text="The tracker's own number for it, unlike its key.", null=True
                    ),
                ),
                ("url", models.CharField(blank=True, default="", max_length=500)),
                (
                    "author_trust",
                    models.CharField(
                        blank=True, default="", help_text="What its author might do when it was read.", max_length=8
                    ),
                ),
                (
                    "synced_at",
                    models.DateTimeField(
                        blank=True, help_text="When it was last read whole from its tracker.", null=True
                    ),
                ),
                (
                    "written_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When we last wrote to it; reads begun before may not show that.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["repository", "updated_at", "id"], name="tracker_issue_changed"),
                    models.Index(fields=["parent", "position", "id"], name="tracker_issue_children"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("repository", "key"), name="tracker_issue_one_per_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("remote_id__isnull", False)),
                        fields=("repository", "remote_id"),
                        name="tracker_issue_one_per_remote_id",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("dedupe_key", ""), _negated=True),
                        fields=("repository", "dedupe_key"),
                        name="tracker_issue_one_per_dedupe_key",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("agent_state__in", ["", "ready", "running", "waiting", "review", "blocked", "failed"])
                        ),
                        name="tracker_issue_agent_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("close_reason", ""), ("closed_at__isnull", True), ("is_open", True)),
                            models.Q(
                                ("close_reason__in", ["", "completed", "not_planned"]),
                                ("closed_at__isnull", False),
                                ("is_open", False),
                            ),
                            _connector="OR",
                        ),
                        name="tracker_issue_closed_fields_agree",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("parent", models.F("id")), _negated=True),
                        name="tracker_issue_not_its_own_parent",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="IssueLabel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="labels", to="tracker.issue"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("issue", "name"), name="tracker_label_once_per_issue")],
            },
        ),
        migrations.CreateModel(
            name="IssueAssignee",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="assignees", to="tracker.issue"
                    ),
                ),
                ("login", models.CharField(max_length=100)),
                ("is_ours", models.BooleanField(default=False)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("issue", "login"), name="tracker_assignee_once_per_issue")
                ],
            },
        ),
        migrations.CreateModel(
            name="Dependency",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="blocker_links", to="tracker.issue"
                    ),
                ),
                (
                    "blocker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="waiting_links", to="tracker.issue"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "dependencies",
                "constraints": [
                    models.UniqueConstraint(fields=("issue", "blocker"), name="tracker_dependency_once"),
                    models.CheckConstraint(
                        condition=models.Q(("issue", models.F("blocker")), _negated=True),
                        name="tracker_dependency_not_on_itself",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Comment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="comments", to="tracker.issue"
                    ),
                ),
                ("author", models.CharField(max_length=100)),
                ("is_ours", models.BooleanField(default=False)),
                ("slot", models.CharField(blank=True, default="", max_length=40)),
                ("body", models.TextField(blank=True)),
                (
                    "data",
                    models.JSONField(blank=True, default=dict, help_text="Facts behind the text of a comment of ours."),
                ),
                (
                    "remote_id",
                    models.BigIntegerField(blank=True, help_text="The tracker's own number for it.", null=True),
                ),
                (
                    "author_trust",
                    models.CharField(
                        blank=True, default="", help_text="What its author might do when it was read.", max_length=8
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("edited_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["issue", "created_at", "id"], name="tracker_comment_of_issue")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("remote_id__isnull", False)),
                        fields=("issue", "remote_id"),
                        name="tracker_comment_one_per_remote_id",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("slot", ""), _negated=True),
                        fields=("issue", "slot"),
                        name="tracker_comment_one_per_slot",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("slot", ""), ("is_ours", True), _connector="OR"),
                        name="tracker_comment_slots_are_ours",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reaction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "issue",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="reactions", to="tracker.issue"
                    ),
                ),
                (
                    "comment",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reactions",
                        to="tracker.comment",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("+1", "+1"),
                            ("-1", "-1"),
                            ("laugh", "laugh"),
                            ("confused", "confused"),
                            ("heart", "heart"),
                            ("hooray", "hooray"),
                            ("rocket", "rocket"),
                            ("eyes", "eyes"),
                        ],
                        max_length=16,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("comment", None)),
                        fields=("issue", "kind"),
                        name="tracker_reaction_once_per_issue",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("comment", None), _negated=True),
                        fields=("comment", "kind"),
                        name="tracker_reaction_once_per_comment",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind__in", ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"))
                        ),
                        name="tracker_reaction_kind_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "guid",
                    models.CharField(
                        help_text="X-GitHub-Delivery; the same on a redelivery.", max_length=100, unique=True
                    ),
                ),
                ("event", models.CharField(max_length=60)),
                ("action", models.CharField(blank=True, default="", max_length=60)),
                ("scope", models.CharField(blank=True, default="", max_length=200)),
                ("key", models.CharField(blank=True, default="", help_text="Issue or pull request.", max_length=50)),
                ("sender", models.CharField(blank=True, default="", max_length=100)),
                ("payload", models.JSONField(help_text="As sent.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "received"),
                            ("done", "done"),
                            ("ignored", "ignored"),
                            ("failed", "failed for ever"),
                        ],
                        default="received",
                        max_length=16,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("not_before", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True, default="")),
                ("received_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "indexes": [
                    models.Index(fields=["received_at"], name="tracker_delivery_by_age"),
                    models.Index(
                        condition=models.Q(("state", "received")), fields=["id"], name="tracker_delivery_open"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("state", "received")),
                            models.Q(("finished_at__isnull", False), ("state__in", ["done", "ignored", "failed"])),
                            _connector="OR",
                        ),
                        name="tracker_delivery_finished_fields_agree",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("installation_id", models.BigIntegerField(unique=True)),
                ("account", models.CharField(max_length=100)),
                ("is_suspended", models.BooleanField(default=False)),
                ("is_deleted", models.BooleanField(default=False)),
                ("permissions", models.JSONField(blank=True, default=dict)),
                ("updated_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Permission",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="permissions", to="tracker.repository"
                    ),
                ),
                ("login", models.CharField(max_length=100)),
                (
                    "trust",
                    models.CharField(
                        choices=[
                            ("admin", "admin"),
                            ("write", "write"),
                            ("triage", "triage"),
                            ("read", "read"),
                            ("none", "none"),
                        ],
                        max_length=8,
                    ),
                ),
                ("checked_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("repository", "login"), name="tracker_permission_one_per_login")
                ],
            },
        ),
        migrations.CreateModel(
            name="Quota",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.CharField(help_text="`installation:12` or `token:agent-bot`.", max_length=100, unique=True),
                ),
                ("limit", models.PositiveIntegerField(default=5000)),
                ("remaining", models.IntegerField(default=5000)),
                ("reset_at", models.DateTimeField(blank=True, null=True)),
                (
                    "blocked_until",
                    models.DateTimeField(blank=True, help_text="A limit was hit: nothing is sent before.", null=True),
                ),
                ("minute_at", models.DateTimeField(blank=True, null=True)),
                ("minute_writes", models.PositiveIntegerField(default=0, help_text="Content writes since minute_at.")),
                ("hour_at", models.DateTimeField(blank=True, null=True)),
                ("hour_writes", models.PositiveIntegerField(default=0, help_text="Content writes since hour_at.")),
                ("updated_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="changes", to="tracker.repository"
                    ),
                ),
                ("key", models.CharField(help_text="Its number.", max_length=50)),
                ("remote_id", models.BigIntegerField()),
                ("title", models.CharField(max_length=256)),
                ("head_branch", models.CharField(max_length=250)),
                ("head_sha", models.CharField(max_length=64)),
                ("base_branch", models.CharField(max_length=250)),
                ("is_open", models.BooleanField(default=True)),
                ("is_merged", models.BooleanField(default=False)),
                ("is_draft", models.BooleanField(default=True)),
                (
                    "is_ours",
                    models.BooleanField(
                        default=False, help_text="Opened by us from a branch of the repository itself."
                    ),
                ),
                ("url", models.CharField(blank=True, default="", max_length=500)),
                (
                    "checks",
                    models.CharField(
                        blank=True,
                        choices=[("", ""), ("pending", "pending"), ("success", "success"), ("failure", "failure")],
                        default=tracker.public_types.ChecksState["NONE"],
                        max_length=8,
                    ),
                ),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["repository", "head_branch"], name="tracker_change_of_branch")],
                "constraints": [
                    models.UniqueConstraint(fields=("repository", "key"), name="tracker_change_one_per_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Creation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="creations", to="tracker.repository"
                    ),
                ),
                ("name", models.CharField(help_text="`issue:KEY`, `comment:NUMBER:SLOT`.", max_length=300)),
                ("since", models.DateTimeField(help_text="When it was tried first.")),
                ("attempted_at", models.DateTimeField(help_text="When it was tried last.")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("repository", "name"), name="tracker_creation_one_per_name")
                ],
            },
        ),
        migrations.CreateModel(
            name="Operation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="operations", to="tracker.repository"
                    ),
                ),
                ("key", models.CharField(max_length=200, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("create_issue", "create issue"),
                            ("link_child", "link child"),
                            ("set_blockers", "set blockers"),
                            ("set_state", "set state"),
                            ("upsert_comment", "comment"),
                            ("close", "close"),
                            ("assign", "assign"),
                            ("react", "react"),
                            ("set_label", "label"),
                            ("reopen", "reopen"),
                            ("open_change", "open pull request"),
                            ("mark_ready", "mark ready for review"),
                            ("edit", "edit texts"),
                        ],
                        max_length=32,
                    ),
                ),
                ("payload", models.JSONField()),
                ("coalesce", models.CharField(blank=True, default="", max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("done", "done"),
                            ("superseded", "superseded by a later edit"),
                            ("failed", "failed for ever"),
                        ],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, help_text="Counted before each call.")),
                (
                    "subject",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Key of the issue it is about, as far as it existed when wished for.",
                        max_length=50,
                    ),
                ),
                (
                    "not_before",
                    models.DateTimeField(
                        blank=True, help_text="Of a failed one: it and those behind it wait.", null=True
                    ),
                ),
                (
                    "rests_until",
                    models.DateTimeField(blank=True, help_text="It alone waits; those behind it go first.", null=True),
                ),
                ("error", models.TextField(blank=True, default="")),
                (
                    "failed_with",
                    models.CharField(
                        blank=True, default="", help_text="Key of the write whose failure made it fail.", max_length=200
                    ),
                ),
                ("value", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("attempted_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "pending")), fields=["repository", "id"], name="tracker_op_pending"
                    ),
                    models.Index(
                        condition=models.Q(("state", "pending"), models.Q(("coalesce", ""), _negated=True)),
                        fields=["repository", "coalesce", "id"],
                        name="tracker_op_coalesce",
                    ),
                    models.Index(
                        condition=models.Q(("state", "failed")), fields=["finished_at"], name="tracker_op_failed"
                    ),
                    models.Index(
                        condition=models.Q(("failed_with", ""), _negated=True),
                        fields=["failed_with"],
                        name="tracker_op_failed_with",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "create_issue",
                                    "link_child",
                                    "set_blockers",
                                    "set_state",
                                    "upsert_comment",
                                    "close",
                                    "assign",
                                    "react",
                                    "set_label",
                                    "reopen",
                                    "open_change",
                                    "mark_ready",
                                    "edit",
                                ],
                            )
                        ),
                        name="tracker_operation_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("state", "pending")),
                            models.Q(("finished_at__isnull", False), ("state__in", ["done", "superseded", "failed"])),
                            _connector="OR",
                        ),
                        name="tracker_operation_finished_fields_agree",
                    ),
                ],
            },
        ),
    ]
