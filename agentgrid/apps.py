"""Django's registration of this package."""

from django.apps import AppConfig


class AgentgridConfig(AppConfig):
    """Names the app; nothing happens at start."""

    name = "agentgrid"
    default_auto_field = "django.db.models.BigAutoField"
