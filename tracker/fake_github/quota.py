"""The primary rate limit: so many requests an hour for each person or installation."""

from __future__ import annotations

import datetime as dt

from tracker.fake_github.store import RATE_WINDOW_SECONDS, Store


def peek(store: Store, identity: str) -> dict[str, int]:
    """`limit`, `remaining`, `used`, and `reset` as Unix time."""
    ends, used = _window(store, identity)
    remaining = max(0, store.rate_limit - used)
    return {"limit": store.rate_limit, "remaining": remaining, "used": used, "reset": int(ends.timestamp())}


def spend(store: Store, identity: str) -> bool:
    """Count one request; False when none is left."""
    ends, used = _window(store, identity)
    if used >= store.rate_limit:
        return False
    store.spent[identity] = (ends, used + 1)
    return True


def give_back(store: Store, identity: str) -> None:
    """Not count the last request after all: answers of 304 are free."""
    ends, used = _window(store, identity)
    store.spent[identity] = (ends, max(0, used - 1))


def _window(store: Store, identity: str) -> tuple[dt.datetime, int]:
    now = store.now()
    ends, used = store.spent.get(identity, (now, 0))
    if ends <= now:
        ends, used = now + dt.timedelta(seconds=RATE_WINDOW_SECONDS), 0
        store.spent[identity] = (ends, used)
    return ends, used
