"""The queues. Light to import: every process needs them, also those that never talk to a broker."""

from __future__ import annotations

from kombu import Exchange, Queue

QUEUES = ("control", "executions")
"""`control`: short decisions. `executions`: launches, on machines that run agents."""


def celery_queues() -> list[Queue]:
    """The declaration of the queues for Celery, each with an exchange of its own.

    A shared exchange is one more table that two first users could race for (file system broker).
    """
    return [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES]
