"""What a new installation needs before its workers start: tables and queues, in one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management import call_command

from bench.perf.figures import Figure


def measure(params: Mapping[str, Any]) -> list[Figure]:
    """Prepare this installation; there is nothing to measure."""
    call_command("migrate", interactive=False, verbosity=0)
    call_command("prepare_broker", "--json")
    return []
