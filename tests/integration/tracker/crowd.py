"""Processes that act on one database at once: `python -m tests.integration.tracker.crowd`, asked on its input.

Each line is a JSON list, `[act, count, argument, …]`: it forks so many children, which start together, and answers with
1 if any of them failed, else with 0. DATABASE_URL names the database; the process that forks never opens it.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

import django
from django.utils import timezone

os.environ["DJANGO_SETTINGS_MODULE"] = "agentgrid.settings"
django.setup()

from tests.services import forks  # noqa: E402  (models need django.setup)
from tracker import drain, public_writes  # noqa: E402
from tracker.local.tracker import LocalTracker  # noqa: E402
from tracker.public_errors import InvalidError  # noqa: E402
from tracker.public_testing import Fault, kill_process, with_faults  # noqa: E402
from tracker.public_types import IssueDraft, Ref, Write, WriteKind  # noqa: E402


def fill_parent(worker: int, scope: str, parent: str, count: str) -> None:
    """Create issues and link each under one parent; being refused at the limit is fine."""
    tracker = LocalTracker()
    for number in range(int(count)):
        child = tracker.create(scope, IssueDraft(title=f"Child {worker}.{number}"), f"child {worker}.{number}").ref
        try:
            tracker.link_child(Ref(scope, parent), child)
        except InvalidError as error:
            if error.field != "parent":
                raise


def create_same(worker: int, scope: str, count: str) -> None:
    """Create issues under the dedupe keys that everybody uses."""
    for number in range(int(count)):
        LocalTracker().create(scope, IssueDraft(title=f"By {worker}"), f"shared {number}")


def close_circle(worker: int, scope: str, size: str) -> None:
    """Make issue n wait for n + 1 and be its child; whoever would close the circle must be refused."""
    tracker = LocalTracker()
    ring = [Ref(scope, str(key)) for key in range(1, int(size) + 1)]
    for step in range(len(ring)):
        here = (step + worker) % len(ring)
        issue, following = ring[here], ring[(here + 1) % len(ring)]
        with suppress(InvalidError):
            tracker.set_blockers(issue, {following})
        with suppress(InvalidError):
            tracker.link_child(issue, following)


def wish_and_drain(worker: int, repository_id: str, count: str) -> None:
    """Wish for the same creates as everybody, one by one, and drain in between."""
    for number in range(int(count)):
        write = Write(key=f"issue {number}", kind=WriteKind.CREATE_ISSUE, payload={"title": f"Issue {number}"})
        public_writes.wish(int(repository_id), [write])
        public_writes.drain(int(repository_id), now=timezone.now(), limit=3)


def drain_and_die(worker: int, repository_id: str, method: str, when: str) -> None:
    """Drain, and be killed at a call of the tracker."""
    fault = Fault(method=method, when="after" if when == "after" else "before", act=kill_process)
    drain.drain(
        repository_id=int(repository_id),
        tracker=with_faults(LocalTracker(), fault),
        now=timezone.now(),
        limit=50,
        seconds=20,
    )


ACTS = {act.__name__: act for act in (fill_parent, create_same, close_circle, wish_and_drain, drain_and_die)}


def main(act: str, count: str, *arguments: str) -> int:
    """0 when every child did its work, else 1."""
    ended = forks.all_at_once(int(count), lambda worker: ACTS[act](worker, *arguments))
    return int(any(child.code for child in ended))


if __name__ == "__main__":
    for line in sys.stdin:
        print(main(*json.loads(line)), flush=True)
