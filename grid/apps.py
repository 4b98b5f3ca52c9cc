"""Django's registration of this package."""

from django.apps import AppConfig


class GridConfig(AppConfig):
    """Names the app; nothing happens at start."""

    name = "grid"
    default_auto_field = "django.db.models.BigAutoField"
