"""Django's registration of this package."""

from django.apps import AppConfig


class CoordinatorConfig(AppConfig):
    """Names the app; nothing happens at start."""

    name = "coordinator"
    default_auto_field = "django.db.models.BigAutoField"
