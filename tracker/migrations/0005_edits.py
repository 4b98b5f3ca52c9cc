"""A write that replaces an issue's texts."""

from django.db import migrations, models

KINDS = {
    "create_issue": "create issue",
    "link_child": "link child",
    "set_blockers": "set blockers",
    "set_state": "set state",
    "upsert_comment": "comment",
    "close": "close",
    "assign": "assign",
    "react": "react",
    "set_label": "label",
    "reopen": "reopen",
    "open_change": "open pull request",
    "mark_ready": "mark ready for review",
    "edit": "edit texts",
}


class Migration(migrations.Migration):
    dependencies = [("tracker", "0004_creation")]

    operations = [
        migrations.RemoveConstraint(model_name="operation", name="tracker_operation_kind_is_known"),
        migrations.AlterField(
            model_name="operation", name="kind", field=models.CharField(choices=list(KINDS.items()), max_length=32)
        ),
        migrations.AddConstraint(
            model_name="operation",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", list(KINDS))), name="tracker_operation_kind_is_known"
            ),
        ),
    ]
