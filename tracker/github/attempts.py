"""Creations under way: what makes one survive a lost answer, a kill and a listing that lags behind.

The row is committed before the request and goes with its answer. One found before a request means that an earlier one
may have been carried out: then we look first, and create again only when the listings must have caught up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.utils import timezone

from tracker.models import Creation, Repository
from tracker.public_errors import TrackerError, UnavailableError

MARGIN = timedelta(minutes=2)
"""Between our clock and GitHub's, and then some."""


def earlier(repository: Repository, name: str) -> Creation | None:
    """The attempt whose answer was lost, if there was one."""
    return Creation.objects.filter(repository=repository, name=name).first()


def since(attempt: Creation) -> datetime:
    """Nothing that the attempt created is older."""
    return attempt.since - MARGIN


def check_rest(attempt: Creation, *, rest: timedelta) -> None:
    """Give listings time to show what the last attempt may have created.

    Raises:
        UnavailableError: It is too early to create again.
    """
    until = attempt.attempted_at + rest
    if timezone.now() < until:
        raise UnavailableError(
            f"The answer to an earlier creation was lost; looking for its result until {until:%H:%M:%S} UTC.",
            maybe_applied=True,
        )


@contextmanager
def creating(repository: Repository, name: str) -> Iterator[None]:
    """The request that creates is made in here. The caller calls `done` when its answer is stored."""
    now = timezone.now()
    attempt, is_new = Creation.objects.get_or_create(
        repository=repository, name=name, defaults={"since": now, "attempted_at": now}
    )
    if not is_new:
        Creation.objects.filter(pk=attempt.pk).update(attempted_at=now)
    try:
        yield
    except UnavailableError as error:
        if not error.maybe_applied:
            done(repository, name)
        raise
    except TrackerError:  # a refusal: nothing was created
        done(repository, name)
        raise


def done(repository: Repository, name: str) -> None:
    """Nothing is under way any more."""
    Creation.objects.filter(repository=repository, name=name).delete()
