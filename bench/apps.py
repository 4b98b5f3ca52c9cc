"""Django's registration of this package."""

from django.apps import AppConfig


class BenchConfig(AppConfig):
    """Names the app; nothing happens at start."""

    name = "bench"
    default_auto_field = "django.db.models.BigAutoField"
