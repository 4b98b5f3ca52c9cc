"""Django's registration of this package."""

from django.apps import AppConfig


class GridConfig(AppConfig):
    """Names the app, and tells the event log of its tables and events."""

    name = "grid"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Nothing is asked of the database here."""
        from grid.events import kinds, own_tables  # noqa: PLC0415 - what they import needs the apps to be there

        kinds.register_all()
        own_tables.register()
