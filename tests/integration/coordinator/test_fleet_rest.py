"""The fleet rests when everything fails, whatever was cancelled or interrupted in between."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from coordinator import sweeps
from coordinator.agents import roster
from coordinator.models import Envelope
from coordinator.rules import breaker
from grid.models import Execution
from grid.public_types import State
from tests.factories import make_execution

pytestmark = pytest.mark.django_db


def ended(state: State, *, count: int, ago: timedelta) -> None:
    for number in range(count):
        run = make_execution(f"issue:{state}-{number}")
        Execution.objects.filter(pk=run.pk).update(state=state, ended_at=timezone.now() - ago)


def test_cancels_and_interruptions_do_not_hide_twenty_failures():
    roster.ensure_scope("fleet")
    ended(State.FAILED, count=breaker.MIN_RUNS, ago=timedelta(minutes=2))
    for state in sorted(breaker.UNTOLD):
        ended(state, count=breaker.MIN_RUNS, ago=timedelta(minutes=1))
    assert sweeps.check_breaker() == 1
    assert Envelope.objects.get(key="fleet").rest_until > timezone.now()
    ended(State.SUCCEEDED, count=1, ago=timedelta(seconds=30))
    assert sweeps.check_breaker() == 0
    assert Envelope.objects.get(key="fleet").rest_until is None
