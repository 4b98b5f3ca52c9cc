"""Keeping in step with trackers that live elsewhere: the periodic pass that finds what no webhook told."""

from __future__ import annotations

import logging
import time

from django.db import Error as DatabaseError
from django.utils import timezone

from coordinator import wake
from coordinator.issues import inbound
from tracker import public_api as tracker
from tracker import public_sync
from tracker.public_errors import RateLimitedError, TrackerError, UnavailableError

log = logging.getLogger(__name__)
SECONDS = 25.0
"""No hint is taken up after so long; a task has 45 seconds, one hint may take a while."""
MAX_FAILURES = 3
"""After so many hints that the tracker did not answer for, the pass ends: it is down."""


def sync_all() -> int:
    """Wake a worker for each repository on GitHub, and ask for failed deliveries again; returns how many repositories."""
    found = [row.id for row in tracker.list_repositories() if row.tracker == "github"]
    for repository_id in found:
        wake.sync_repository(repository_id)
    if found:
        try:
            public_sync.redeliver(timezone.now())
        except TrackerError as error:
            log.warning("failed deliveries not looked at", extra={"action": "redeliver", "error": str(error)[:300]})
    return len(found)


def sync(repository_id: int, *, seconds: float = SECONDS) -> bool:
    """Take up what changed in a repository since the last pass; what is not reached is found by the next one.

    Returns:
        Whether there is more, and this pass came further; then another one should follow at once.
    """
    deadline = time.monotonic() + seconds
    try:
        swept = public_sync.sweep(repository_id, timezone.now())
    except RateLimitedError as error:
        log.info("sweep waits", extra={"action": "sync", "repository": repository_id, "until": str(error.retry_at)})
        return False
    except TrackerError as error:
        log.warning("not swept", extra={"action": "sync", "repository": repository_id, "error": str(error)[:300]})
        return False
    taken, failed = 0, 0
    first_failed: int | None = None
    for step in swept.steps:
        if failed > MAX_FAILURES or (taken and time.monotonic() > deadline):
            break
        try:
            is_done = _take_up(repository_id, step)
        except RateLimitedError:
            break
        if not is_done:
            failed += 1
            first_failed = taken if first_failed is None else first_failed
        taken += 1
    # What comes after a hint that failed is taken up all the same, but the cursor waits for it.
    is_late = time.monotonic() > deadline
    taken = taken if first_failed is None else first_failed
    has_moved = public_sync.settle(repository_id, swept, taken=taken)
    if swept.steps:
        facts = {"repository": repository_id, "hints": len(swept.steps), "taken": taken, "failed": failed}
        log.info("swept a tracker", extra={"action": "sync", **facts})
    return has_moved and (is_late or not swept.is_complete) and not failed


def sync_and_go_on(repository_id: int) -> None:
    """`sync`, and a wake-up for the rest when there is more."""
    if sync(repository_id):
        wake.sync_repository(repository_id)


def _take_up(repository_id: int, step: public_sync.Step) -> bool:
    """Whether a hint is done with: it was taken up, or never will be. One bad row must not keep the others waiting.

    Raises:
        RateLimitedError: Nothing can be asked now.
    """
    facts = {"action": "sync", "repository": repository_id, "row": step.hint.key}
    try:
        inbound.take_up_hint(repository_id, step.hint)
    except RateLimitedError:
        raise
    except UnavailableError as error:
        log.warning("a hint has to wait", extra={**facts, "error": str(error)[:300]})
        return False
    except TrackerError as error:
        log.warning("a hint leads nowhere", extra={**facts, "error": str(error)[:300]})
    except DatabaseError:
        raise
    except Exception:
        log.exception("a hint could not be taken up", extra=facts)
    return True
