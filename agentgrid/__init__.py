"""The composition root. Loads the Celery application, so that every process publishes to the configured broker."""

from agentgrid.celery import app as celery_app

__all__ = ["celery_app"]
