import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tracker", "0003_repository_backfill")]

    operations = [
        migrations.AddField(
            model_name="issue",
            name="written_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When we last wrote to it; reads begun before may not show that.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="Creation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="`issue:KEY`, `comment:NUMBER:SLOT`.", max_length=300)),
                ("since", models.DateTimeField(help_text="When it was tried first.")),
                ("attempted_at", models.DateTimeField(help_text="When it was tried last.")),
                (
                    "repository",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="creations", to="tracker.repository"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("repository", "name"), name="tracker_creation_one_per_name")
                ],
            },
        ),
    ]
