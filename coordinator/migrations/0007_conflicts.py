"""Conflicts and their resolutions."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("coordinator", "0006_conversations")]

    operations = [
        migrations.AlterField(
            model_name='nudge',
            name='source',
            field=models.CharField(choices=[('operator', 'operator'), ('webhook', 'webhook'), ('sweep', 'sweep'), ('parent', 'parent'), ('child', 'child'), ('blocker', 'blocker'), ('retry', 'retry'), ('conflict', 'conflict')], max_length=16),
        ),
        migrations.CreateModel(
            name='Conflict',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('lock', 'lock'), ('overlap', 'overlap'), ('merge', 'merge'), ('deadlock', 'deadlock')], max_length=10)),
                ('repository', models.CharField(max_length=100)),
                ('patterns', models.JSONField(default=list)),
                ('pair', models.CharField(max_length=50)),
                ('thread_id', models.BigIntegerField(blank=True, null=True)),
                ('facts', models.JSONField(default=dict)),
                ('detail', models.JSONField(default=dict)),
                ('joined', models.PositiveIntegerField(default=0)),
                ('state', models.CharField(choices=[('open', 'open'), ('decided', 'decided'), ('carried-out', 'carried-out'), ('failed', 'failed'), ('cancelled', 'cancelled')], default='open', max_length=12)),
                ('choice', models.CharField(blank=True, choices=[('release', 'release'), ('sequence', 'sequence'), ('fork', 'fork'), ('merge_plan', 'merge_plan')], max_length=12)),
                ('order', models.JSONField(default=list)),
                ('decided_by', models.CharField(blank=True, max_length=150)),
                ('words', models.CharField(blank=True, max_length=1000)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decisions', models.PositiveIntegerField(default=0)),
                ('step', models.PositiveIntegerField(default=0)),
                ('act_at', models.DateTimeField(blank=True, null=True)),
                ('default_at', models.DateTimeField()),
                ('announced_at', models.DateTimeField(blank=True, null=True)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('arbiter', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='conflicts_to_decide', to='coordinator.agent')),
                ('holder', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conflicts_held', to='coordinator.agent')),
                ('requester', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conflicts', to='coordinator.agent')),
                ('waiter', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='conflicts_waited_for', to='coordinator.agent')),
            ],
            options={
                'ordering': ['-pk'],
                'indexes': [models.Index(fields=['state', 'id'], name='conflict_by_state'), models.Index(fields=['waiter', 'state'], name='conflict_waited_for'), models.Index(fields=['arbiter', 'state'], name='conflict_to_decide'), models.Index(fields=['pair', 'state'], name='conflict_of_pair')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('pair', 'kind'), name='one_open_conflict_per_pair')],
            },
        ),
    ]
