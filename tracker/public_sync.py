"""Keeping the mirror of a tracker that lives elsewhere in step. All of it goes over the network: never in a transaction."""

from __future__ import annotations

from tracker.sync.backfilling import Backfilled, Progress, backfill
from tracker.sync.board import BoardIssue, branches_of_changes
from tracker.sync.board import read as board
from tracker.sync.comparing import Drift, compare
from tracker.sync.evidence import Deed, Evidence, Standing, evidence, machine_user, standing
from tracker.sync.hooks import findings as check_hooks
from tracker.sync.labels import LabelStatus
from tracker.sync.labels import create as create_labels
from tracker.sync.labels import read as labels
from tracker.sync.redelivery import redeliver
from tracker.sync.refreshing import Seen, refresh
from tracker.sync.registry import add_repository, is_us
from tracker.sync.sweeping import Step, Swept, settle, sweep

__all__ = [
    "Backfilled",
    "BoardIssue",
    "Deed",
    "Drift",
    "Evidence",
    "LabelStatus",
    "Progress",
    "Seen",
    "Standing",
    "Step",
    "Swept",
    "add_repository",
    "backfill",
    "board",
    "branches_of_changes",
    "check_hooks",
    "compare",
    "create_labels",
    "evidence",
    "is_us",
    "labels",
    "machine_user",
    "redeliver",
    "refresh",
    "settle",
    "standing",
    "sweep",
]
