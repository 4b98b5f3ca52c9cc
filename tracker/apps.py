"""Django's registration of this package."""

from django.apps import AppConfig


class TrackerConfig(AppConfig):
    """Names the app; nothing happens at start."""

    name = "tracker"
    default_auto_field = "django.db.models.BigAutoField"
