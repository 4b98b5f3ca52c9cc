"""Sending queued webhooks to those who listen, as unreliably as asked for."""

from __future__ import annotations

import http.client
import random
import time
import urllib.parse
from dataclasses import replace

from tracker.fake_github import events
from tracker.fake_github.errors import ApiError
from tracker.fake_github.hook_records import Delivery
from tracker.fake_github.store import Store

_TIMEOUT_SECONDS = 10
_ANSWER_MAX_BYTES = 65_536


def send_all(
    store: Store, *, duplicate: bool = False, shuffle: int | None = None, drop: bool = False
) -> list[Delivery]:
    """Send what is queued now, each at most once (twice with `duplicate`).

    Args:
        duplicate: Send everything twice under the same GUID, whatever the hooks say.
        shuffle: Seed for another order than that of the events.
        drop: Send nothing; record failures, which a redelivery can repair.

    Returns:
        The attempts made, in the order of sending.
    """
    with store.lock:
        batch = list(store.outbound.queue)
        store.outbound.queue.clear()
        store.something_queued.clear()
        for delivery in list(batch):
            hook = store.hooks.get(delivery.hook_id)
            if duplicate or (hook and hook.duplicate and not delivery.redelivery):
                twin = replace(delivery, id=store.new_id())
                store.outbound.remember(twin)
                batch.append(twin)
        seeds = [hook.shuffle for hook in store.hooks.values() if hook.shuffle is not None]
        seed = shuffle if shuffle is not None else next(iter(seeds), None)
    if seed is not None:
        random.Random(seed).shuffle(batch)  # noqa: S311 - an order, no secret
    for delivery in batch:
        _send(store, delivery, drop=drop)
    return batch


def made(store: Store, hook_ids: set[int], *, wanted: str | None) -> list[Delivery]:
    """The attempts made for these hooks, newest first.

    Args:
        wanted: `success` or `failure`; anything else: all.
    """
    done = [one for one in reversed(store.outbound.all) if one.hook_id in hook_ids and one.status_code is not None]
    if wanted not in ("success", "failure"):
        return done
    return [one for one in done if (200 <= (one.status_code or 0) < 400) == (wanted == "success")]


def redeliver(store: Store, hook_ids: set[int], delivery_id: int) -> Delivery:
    """Queue another attempt of a delivery of one of these hooks, under the same GUID and the hook's secret of now.

    Raises:
        ApiError: 404 when these hooks have no such delivery.
    """
    for found in store.outbound.all:
        if found.id == delivery_id and found.hook_id in hook_ids:
            hook = store.hooks[found.hook_id]
            again = replace(
                found,
                id=store.new_id(),
                url=hook.url,
                headers=found.headers | events.signatures(hook.secret, found.body),
                created_at=store.timestamp(),
                status_code=None,
                delivered_at=None,
                duration_seconds=0.0,
                redelivery=True,
            )
            events.enqueue(store, again)
            return again
    raise ApiError(404, "Not Found")


def _send(store: Store, delivery: Delivery, *, drop: bool) -> None:
    started = time.monotonic()
    hook = store.hooks.get(delivery.hook_id)
    dropped = drop or (hook is not None and hook.drop)
    code = 0 if dropped else _post(delivery)
    with store.lock:
        delivery.duration_seconds = time.monotonic() - started
        delivery.delivered_at = store.timestamp()
        delivery.status_code = code


def _post(delivery: Delivery) -> int:
    """The listener's status; 0 when there was no answer."""
    parts = urllib.parse.urlsplit(delivery.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("POST", target, delivery.body, delivery.headers)
        answer = connection.getresponse()
        answer.read(_ANSWER_MAX_BYTES)
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return answer.status
    finally:
        connection.close()
