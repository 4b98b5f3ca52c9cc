"""What the host looks after for sandboxes: networks and containers of runs that are over, and the proxy of those that are not."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from grid.conf import GridConf
from grid.models import Execution
from grid.public_types import ON_HOST
from grid.sandboxes import docker, network

HOUSEKEEPING = UUID(int=0)
"""Stands for no execution among the host's errands."""


def keep_networks(settings: GridConf, known: Collection[UUID]) -> None:
    """Close the networks of ended executions, and have a proxy while there are others.

    Args:
        settings: Of the host.
        known: Executions that were on this host a moment ago; others are looked up.
    """
    opened = network.opened(settings)
    if not opened:
        return
    live = {*known, *_live([pk for pk in opened if pk not in known])}
    for execution_id in opened:
        if execution_id not in live:
            network.close(settings, execution_id)
    if live & set(opened):
        network.ensure(settings)


def remove_containers(settings: GridConf) -> None:
    """Remove the containers of executions that are over: their keepers were killed before they could."""
    found = docker.containers(settings)
    # Asked after the engine: whatever it named and is live was live then, too.
    docker.remove(settings, set(found) - _live(found))


def _live(execution_ids: Collection[UUID]) -> set[UUID]:
    if not execution_ids:
        return set()
    rows = Execution.objects.filter(pk__in=execution_ids, state__in=sorted(ON_HOST))
    return set(rows.values_list("pk", flat=True))
