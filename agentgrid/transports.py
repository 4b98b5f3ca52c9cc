"""What Celery's transports are told, by the kind of broker. Pure: the settings bring the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VISIBILITY_TIMEOUT_SECONDS = 120
"""Tasks are short, so a swallowed message comes back this soon."""


_IMPATIENT = {"max_retries": 1, "interval_start": 0.2}
"""Of one who sends: kombu would try for many seconds, and with it whoever has just committed. A sweep finds what was not
announced."""


def gridfs(folder: Path) -> dict[str, Any]:
    """For our own broker, whose messages are files in this folder."""
    return {
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "processed_folder": str(folder / "processed"),
        "control_folder": str(folder / "control"),
        "store_processed": False,
        "polling_interval": 0.02,
    }


def sqs(*, region: str, is_secure: bool, wait_seconds: int, prefix: str) -> dict[str, Any]:
    """For SQS or what speaks like it; all names of queues begin with the prefix."""
    return {
        "region": region,
        "is_secure": is_secure,
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "wait_time_seconds": wait_seconds,
        "polling_interval": 0.1,
        "queue_name_prefix": prefix,
        "client-config": {"connect_timeout": 3, "read_timeout": 10},
        **_IMPATIENT,
    }


def redis() -> dict[str, Any]:
    """For Redis; other transports ignore what they do not know."""
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 3,
        **_IMPATIENT,
    }
