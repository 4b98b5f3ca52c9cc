"""Deliveries are taken up: each says where to look, and whoever decides there looks for himself.

Taking the same delivery up twice, or two of them in the wrong order, does no harm: a hint changes nothing by itself.
Nothing here runs inside a transaction, because looking means asking the tracker.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta

from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from coordinator import wake
from coordinator.care import repositories
from coordinator.issues import pulls, steering
from coordinator.operating import control
from tracker import public_api as tracker
from tracker import public_inbound, public_sync
from tracker.public_errors import ForbiddenError, InvalidError, NotFoundError, RateLimitedError, TrackerError
from tracker.public_inbound import Claimed
from tracker.public_types import Hint, HintKind

log = logging.getLogger(__name__)
SECONDS = 20.0
"""Of a pass over what is due. One delivery more may be under way then, and a task is ended after 45 seconds."""
_BATCH = 50
_FIRST_PAUSE_SECONDS = 5
_LONGEST_PAUSE_SECONDS = 900


class UnfinishedError(Exception):
    """A delivery names more repositories than fit into one task; another one goes on."""


def take_up(delivery_id: int) -> bool:
    """Take up a stored delivery, unless it is finished, has to wait, or another worker has it.

    Returns:
        Whether this call finished it.
    """
    claimed = public_inbound.claim(delivery_id, now=timezone.now())
    if claimed is None:
        return False
    facts = {"action": "delivery", "delivery": delivery_id, "event": claimed.event, "attempt": claimed.attempt}
    try:
        is_ignored = not _act(claimed)
    except DatabaseError:
        raise  # nothing can be written down now; the lease ends, and a sweep comes back to it
    except (ForbiddenError, InvalidError) as error:
        log.warning("delivery refused by the tracker", extra={**facts, "error": str(error)[:300]})
        public_inbound.fail(claimed, error=str(error), now=timezone.now())
        return False
    except Exception as error:
        if not isinstance(error, TrackerError | UnfinishedError):
            log.exception("delivery not taken up", extra=facts)
        now = timezone.now()
        text = f"{type(error).__name__}: {error}"
        public_inbound.put_back(claimed, error=text, not_before=_next_try(claimed.attempt, error, now=now), now=now)
        return False
    public_inbound.finish(claimed, is_ignored=is_ignored, now=timezone.now())
    return True


def take_up_due(*, seconds: float = SECONDS) -> int:
    """Take up what waits, oldest first, and start none after so many seconds; returns how many were finished."""
    deadline = time.monotonic() + seconds
    finished = 0
    while ids := public_inbound.due(timezone.now(), limit=_BATCH):
        for delivery_id in ids:
            if time.monotonic() > deadline:
                wake.take_up_deliveries()
                return finished
            finished += take_up(delivery_id)
    return finished


def replay(delivery_id: int, *, actor: str) -> None:
    """Let a stored delivery be taken up again, however it ended.

    Raises:
        NotFoundError: There is none.
    """
    with transaction.atomic():
        if not public_inbound.reset(delivery_id):
            raise NotFoundError(f"There is no delivery {delivery_id}; they are kept for a while only.")
        control.audit(actor, "replay_delivery", f"delivery:{delivery_id}", {})
        wake.take_up_delivery(delivery_id)


def take_up_hint(repository_id: int, hint: Hint) -> None:
    """Look where a delivery or a sweep says that something happened. Call it outside a transaction.

    Raises:
        TrackerError: The tracker cannot be asked now, or does not let us.
    """
    match hint.kind:
        case HintKind.ISSUE | HintKind.COMMENT:
            steering.take_up(repository_id, hint)
        case HintKind.CHANGE:
            pulls.take_up(repository_id, hint)
        case HintKind.PUSH:
            if hint.branch == tracker.get_repository(repository_id).default_branch:
                repositories.refresh(repository_id)
        case HintKind.INSTALLATION | HintKind.PING:
            pass  # about no repository; `_act` sees to the former


def _act(claimed: Claimed) -> bool:
    """Whether there was anything to do."""
    hints = public_inbound.hints(claimed)
    problems: list[Exception] = []
    acted = False
    for hint in hints:
        # Each on its own: an edge has two ends, and one that cannot be read must not hide the other.
        try:
            if hint.kind == HintKind.INSTALLATION:
                _look_at_installation(claimed)
                acted = True
            elif (repository_id := _repository(hint)) is not None:
                take_up_hint(repository_id, hint)
                acted = True
        except DatabaseError:
            raise
        except Exception as error:
            problems.append(error)
    if problems:
        # What may be tried again decides over what may not.
        raise min(problems, key=lambda error: isinstance(error, ForbiddenError | InvalidError))
    return acted


def _repository(hint: Hint) -> int | None:
    """The repository's id; None when it is not under care any more."""
    for row in tracker.list_repositories():
        if row.tracker == "github" and row.scope == hint.scope:
            return row.id
    return None


def _look_at_installation(claimed: Claimed) -> None:
    """Take the repositories of an account of ours under care, and leave those that we cannot reach any more alone."""
    named = public_inbound.record_installation(claimed, now=timezone.now())
    deadline = time.monotonic() + SECONDS
    under_care = {row.scope for row in tracker.list_repositories() if row.tracker == "github"}
    # New ones first: with many, another attempt goes on where this one ended.
    for scope in sorted({*named.wanted, *named.gone}, key=lambda scope: (scope in under_care, scope)):
        if time.monotonic() > deadline:
            raise UnfinishedError("this installation has many repositories; the rest follows")
        # Asked, not believed: what is said to be gone may have come back since, and the other way round.
        try:
            repository = public_sync.add_repository(scope)
        except (NotFoundError, ForbiddenError):
            if public_inbound.deactivate(scope):
                log.info("repository left alone", extra={"action": "installation", "repository": scope})
        else:
            if scope not in under_care:
                log.info("repository taken under care", extra={"action": "installation", "repository": scope})
                wake.refresh_repository(repository.id)


def _next_try(attempt: int, error: Exception, *, now: datetime) -> datetime:
    if isinstance(error, RateLimitedError):
        return max(now, error.retry_at)
    if isinstance(error, UnfinishedError):
        return now
    return now + timedelta(seconds=min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)))
