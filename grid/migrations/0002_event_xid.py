"""PostgreSQL only: order events by the transaction that wrote them, so that readers can leave unfinished ones for later."""

from django.db import migrations

ADD = """
ALTER TABLE grid_event ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX event_by_xid ON grid_event (xid, id);
CREATE INDEX event_of_kind_by_xid ON grid_event (kind, xid, id);
"""
DROP = "ALTER TABLE grid_event DROP COLUMN xid;"


def _run(sql):
    def operation(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql)

    return operation


class Migration(migrations.Migration):
    """The model does not know the column: SQLite has no transaction ids and needs none."""

    dependencies = [("grid", "0001_initial")]
    operations = [migrations.RunPython(_run(ADD), _run(DROP))]
