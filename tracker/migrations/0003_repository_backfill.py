from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tracker", "0002_github")]

    operations = [
        migrations.AddField(
            model_name="repository",
            name="backfill",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="How far reading everything has come; a broken one goes on from there.",
            ),
        ),
    ]
