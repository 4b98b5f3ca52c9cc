"""Django's registration of this package."""

from django.apps import AppConfig
from django.core import checks


class CoordinatorConfig(AppConfig):
    """Names the app, tells the event log of its tables and events, and `manage.py check` of its limits."""

    name = "coordinator"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Nothing is asked of the database here."""
        from coordinator import event_kinds, state_tables  # noqa: PLC0415 - models are there only now
        from coordinator.care import limits  # noqa: PLC0415 - models are there only now

        state_tables.register()
        event_kinds.register()
        checks.register(limits.check)
