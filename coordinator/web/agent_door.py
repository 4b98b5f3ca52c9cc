"""Who may come in with an agent's bearer token, and how often. The same for MCP and REST; call it from a worker thread.

Agents may hammer: what is over the rate is refused before the database is asked, and told in one event a second.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time

from django.db import Error as DatabaseError

from coordinator.web import connections
from coordinator.web.rates import Rates
from grid import public_agents as grid_agents
from grid.public_types import Caller

log = logging.getLogger(__name__)
PER_SECOND, BURST = 20, 50
"""Calls of one execution, at each web process."""
TELL_SECONDS = 1.0
BODY_BYTES = 1_000_000
"""Of one call: a report may have 256 KiB, and so may what is asked for."""
_SCHEME = "bearer "
_MANY = 2_000
"""Tokens that are remembered."""


class DoorError(Exception):
    """Somebody is not let in: an HTTP status, words that name the fix, and headers."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class Door:
    """Lets running agents in.

    Args:
        rates: How often.
        tell_seconds: Between events that tell how many calls of one execution were refused.
    """

    def __init__(self, rates: Rates, *, tell_seconds: float = TELL_SECONDS) -> None:
        self._rates, self._tell_seconds = rates, tell_seconds
        self._telling: set[str] = set()
        self._known: dict[str, Caller] = {}
        """By the token's digest: whom it let in first. Never a reason to let somebody in."""
        self._lock = threading.Lock()

    def admit(self, authorization: str) -> Caller:
        """The caller behind an `Authorization` header.

        Raises:
            DoorError: 401 without a token that opens anything, 429 over the rate.
        """
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :].strip()
        if scheme.lower() != _SCHEME or not token:
            raise _unauthorized("send the token of AGENTGRID_TOKEN as 'Authorization: Bearer …'", error="")
        key = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        is_known = key in self._known
        if is_known:  # refused without a look at the database
            self._take(key)
        caller = grid_agents.caller_of(token)
        if caller is None:
            raise _unauthorized("this token opens nothing: it is wrong, or its run is over", error="invalid_token")
        if not is_known:
            # First: who is known is not noted again, and a run that nobody saw connect has failed.
            grid_agents.note_connection(caller.execution_id, fence=caller.fence)
            self._remember(key, caller)
            self._take(key)
        return caller

    def _remember(self, key: str, caller: Caller) -> None:
        with self._lock:
            self._known[key] = caller
            while len(self._known) > _MANY:
                self._known.pop(next(iter(self._known)))

    def _take(self, key: str) -> None:
        wait = self._rates.take(key, now=time.monotonic())
        if not wait:
            return
        with self._lock:
            is_first = key not in self._telling
            self._telling.add(key)
        if is_first:
            timer = threading.Timer(self._tell_seconds, self._tell, [key])
            timer.daemon = True
            timer.start()
        seconds = max(1, round(wait))
        words = (
            f"too many calls: {self._rates.per_second:g} a second are answered; wait {seconds} s, and call less often"
        )
        raise DoorError(429, words, **{"Retry-After": str(seconds)})

    def _tell(self, key: str) -> None:
        """Write down how many calls were refused since the first one that nothing was written about."""
        with self._lock:
            self._telling.discard(key)
            caller = self._known.get(key)
        refused = self._rates.refusals(key)
        if caller is None or not refused:
            return
        body = {"text": f"{refused} calls of the grid's tools refused: too many at once", "refused": refused}
        try:
            with connections.borrowed():
                grid_agents.record_call(caller.execution_id, fence=caller.fence, events=[("tool.refused", body)])
        except DatabaseError as error:
            log.warning(
                "refusals not recorded", extra={"action": "agent-door", "refused": refused, "error": str(error)}
            )


def _unauthorized(words: str, *, error: str) -> DoorError:
    challenge = 'Bearer realm="agent-grid"' + (f', error="{error}"' if error else "")
    return DoorError(401, words, **{"WWW-Authenticate": challenge})


door = Door(Rates(per_second=PER_SECOND, burst=BURST))
admit = door.admit
