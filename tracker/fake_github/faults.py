"""What can be told to go wrong, and which of it hits a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KINDS = ("502", "timeout", "403-secondary", "429", "403-primary", "stale", "disconnect")


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault, used up by the first `times` requests that it fits.

    Raises:
        ValueError: An unknown `kind` or `when`, or `stale` with `when="after"`.
    """

    kind: str
    """`502` (any 5xx): the server fails. `timeout`: says nothing for `seconds`, then hangs up. `disconnect`: hangs up at
    once. `403-secondary`, `403-primary`, `429`: limits. `stale`: a read sees the world as it was before the last write."""
    method: str = ""
    """Empty: any method."""
    path: str = ""
    """Regular expression, searched in the request's path."""
    when: str = "before"
    """`before`: the request does nothing. `after`: it is carried out, and only its answer is lost."""
    times: int = 1
    retry_after: int | None = None
    """Seconds: the `Retry-After` of 403-secondary and 429; the distance of the reset for 403-primary."""
    seconds: float = 30.0
    """How long a `timeout` keeps the client waiting."""
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not re.fullmatch(r"5\d\d", self.kind):
            raise ValueError(f"{self.kind!r} is no kind of fault; use a 5xx or one of {', '.join(KINDS)}")
        if self.when not in ("before", "after"):
            raise ValueError(f"when={self.when!r}: use 'before' or 'after'")
        if self.kind == "stale" and self.when == "after":
            raise ValueError("A stale read changes nothing; use when='before'")

    def fits(self, method: str, path: str) -> bool:
        """Whether this fault hits such a request now."""
        if self.fired >= self.times or (self.method and self.method != method):
            return False
        if self.kind == "stale" and method != "GET":
            return False
        return re.search(self.path, path) is not None


def take(faults: list[Fault], *, method: str, path: str) -> Fault | None:
    """The first fault that fits, counted as fired; None when nothing is to go wrong."""
    for fault in faults:
        if fault.fits(method, path):
            fault.fired += 1
            return fault
    return None
