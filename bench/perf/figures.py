"""Figures: what was measured, beside a floor of the same run, against a goal. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_KEYS = ("name", "value", "unit", "floor", "ratio", "goal", "met", "note")
"""Of every figure in JSON, in this order; programs rely on them."""


class PerfError(Exception):
    """A benchmark could not be carried out; the message says what to do."""


class SkippedError(PerfError):
    """A benchmark is not possible on this machine; the message says what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its context."""

    name: str
    """Stable: programs compare it over time."""
    unit: str
    value: float | None = None
    """None when it could not be measured; `note` says why."""
    floor: float | None = None
    """What the raw machine does, measured in the same run, in the same unit."""
    goal: float | None = None
    """In the same unit; None when there is none."""
    met: bool | None = None
    """None without a goal or without a value."""
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Whatever explains the value: number of samples, split, spread."""

    @property
    def ratio(self) -> float | None:
        """Value by floor."""
        return self.value / self.floor if self.value is not None and self.floor else None

    def as_json(self) -> dict[str, Any]:
        """A flat object; numbers are rounded to what the measurement can carry."""
        plain = {key: _rounded(getattr(self, key)) for key in _KEYS}
        return {**plain, **{key: _rounded(value) for key, value in self.extra.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """The figure that `as_json` wrote; its ratio is worked out anew."""
        fields = {key: data[key] for key in _KEYS if key != "ratio"}
        return cls(**fields, extra={key: value for key, value in data.items() if key not in _KEYS})


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all are not above. Raises ValueError without values."""
    if not values:
        raise ValueError("no value was measured")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and extremes."""
    return {
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "min": min(values),
        "max": max(values),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, 3)
    return value
