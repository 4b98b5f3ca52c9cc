"""What ends an execution by time alone. Pure: it is told the time (seconds since boot) and never asks for it."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself costs milliseconds at each cold start
if TYPE_CHECKING:
    from collections.abc import Mapping

FENCE_MARGIN_S = 15.0
"""The agent is dead this long before anyone else may claim the execution, unless the spec says otherwise."""
NEVER = float("inf")


class Deadlines:
    """Lease, wall clock, silence, and the next step of a ladder under way."""

    def __init__(
        self, *, began: float, limits: Mapping[str, float], lease_at: float, ttl: float, margin: float = FENCE_MARGIN_S
    ) -> None:
        self.hold = ttl - margin
        self.fence = min(lease_at, began) + self.hold
        self.wall = began + (limits.get("wall_s") or NEVER)
        self.silence = limits.get("idle_s") or NEVER
        self.idle = began + self.silence
        self.step = NEVER

    def heard(self, t: float) -> None:
        """The agent said something."""
        self.idle = t + self.silence

    def renewed(self, at: float, t: float) -> None:
        """The lease was renewed at `at`, read before the renewal was written; never later than the present `t`."""
        self.fence = max(self.fence, min(at, t) + self.hold)

    def next(self, *, stopping: bool) -> float:
        """When to look again."""
        return min(self.fence, self.step) if stopping else min(self.fence, self.wall, self.idle)

    def overdue(self, t: float, *, stopping: bool) -> str | None:
        """The most urgent thing that is due; fence and step are told once."""
        if self.fence <= t:
            self.fence = self.hold = NEVER
            return "fence"
        if stopping:
            if self.step > t:
                return None
            self.step = NEVER
            return "step"
        if self.wall <= t:
            return "wall"
        return "idle" if self.idle <= t else None
