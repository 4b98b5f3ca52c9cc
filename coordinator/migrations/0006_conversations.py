"""Threads and what is said in them; a message becomes the delivery of a post."""

from __future__ import annotations

from typing import Any, ClassVar

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

_KINDS = ["chat", "status", "question", "answer", "blocked", "handoff", "result", "conflict", "upgrade_request"]
_THREAD_KINDS = ["chat", "conflict", "upgrade", "bridge"]
_AT_ONCE = 500


def words_to_posts(apps: Any, schema_editor: Any) -> None:
    """What each message says becomes a post of its own."""
    message, post = apps.get_model("coordinator", "Message"), apps.get_model("coordinator", "Post")
    rows = message.objects.filter(post=None).order_by("pk")
    while batch := list(rows[:_AT_ONCE]):
        said = post.objects.bulk_create(
            post(sender=row.sender, text=row.text, kind="chat", data={}, created_at=row.created_at) for row in batch
        )
        for row, words in zip(batch, said, strict=True):
            row.post_id = words.pk
        message.objects.bulk_update(batch, ["post"])
    _settle(schema_editor)


def posts_to_words(apps: Any, schema_editor: Any) -> None:
    """The way back: each message says it itself again; threads are forgotten."""
    message = apps.get_model("coordinator", "Message")
    for row in message.objects.select_related("post").iterator(chunk_size=_AT_ONCE):
        message.objects.filter(pk=row.pk).update(sender=row.post.sender, text=row.post.text)
    _settle(schema_editor)


def _settle(schema_editor: Any) -> None:
    """PostgreSQL alters no table while foreign keys of it are still to be checked."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("coordinator", "0005_nested_budgets")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Thread",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[(k, k) for k in _THREAD_KINDS], max_length=16)),
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
                ("created_at", models.DateTimeField(db_default=Now())),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={"ordering": ["-pk"]},
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
                ("joined_at", models.DateTimeField(db_default=Now())),
                ("left_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={"ordering": ["pk"]},
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
                ("kind", models.CharField(choices=[(k, k) for k in _KINDS], default="chat", max_length=16)),
                ("text", models.TextField()),
                ("data", models.JSONField(blank=True, default=dict)),
                ("execution_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={"ordering": ["pk"]},
        ),
        migrations.AddIndex("thread", models.Index(fields=["root", "state", "kind"], name="thread_of_tree")),
        migrations.AddIndex("thread", models.Index(fields=["state", "expires_at"], name="thread_expiring")),
        migrations.AddIndex("post", models.Index(fields=["sender", "id"], name="post_by_sender")),
        migrations.AddIndex("post", models.Index(fields=["execution_id"], name="post_of_run")),
        migrations.AddConstraint(
            "threadmember",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("agent__isnull", False), ("person", "")),
                    models.Q(("agent__isnull", True), models.Q(("person", ""), _negated=True)),
                    _connector="OR",
                ),
                name="member_is_agent_or_person",
            ),
        ),
        migrations.AddConstraint(
            "threadmember",
            models.UniqueConstraint(
                condition=models.Q(("agent__isnull", False)), fields=("thread", "agent"), name="agent_once_per_thread"
            ),
        ),
        migrations.AddConstraint(
            "threadmember",
            models.UniqueConstraint(
                condition=models.Q(("person", ""), _negated=True),
                fields=("thread", "person"),
                name="person_once_per_thread",
            ),
        ),
        migrations.AddField("message", "wakes", models.BooleanField(default=False)),
        migrations.AddField(
            "message",
            "post",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="coordinator.post",
            ),
        ),
        # With a value for old rows on the way back.
        migrations.AlterField("message", "sender", models.CharField(default="", max_length=150)),
        migrations.AlterField("message", "text", models.TextField(default="")),
        migrations.RunPython(words_to_posts, posts_to_words),
        migrations.RemoveField("message", "sender"),
        migrations.RemoveField("message", "text"),
        migrations.AlterField(
            "message",
            "post",
            models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="coordinator.post"
            ),
        ),
        migrations.AddIndex("message", models.Index(fields=["state", "wakes", "id"], name="message_by_state")),
        migrations.AddConstraint(
            "message", models.UniqueConstraint(fields=("post", "agent"), name="post_once_per_agent")
        ),
    ]
