"""When a row that waits counts as forgotten, and what people do about it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

STALE = timedelta(minutes=3)
"""What waits longer than this, although nothing keeps it, breaks a law."""
START = "start `beat` and a `control` worker"
"""The remedy for what a sweep would have done."""


def long_ago() -> datetime:
    """What is older than this has waited too long."""
    return timezone.now() - STALE
