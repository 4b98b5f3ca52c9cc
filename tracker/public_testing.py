"""A tracker with faults, for the tests of whoever builds on trackers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from tracker.base import Tracker
from tracker.fake_github import FakeGithub

__all__ = ["FakeGithub", "Fault", "kill_process", "raising", "with_faults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong once, at the first call of a method."""

    method: str
    """Name of a method of `Tracker`."""
    when: Literal["before", "after"]
    """After: the tracker has done it, the caller never hears of it."""
    act: Callable[[], None]


def with_faults(inner: Tracker, *faults: Fault) -> Tracker:
    """A tracker that behaves like `inner`, but for these faults in this order."""
    return cast(Tracker, _FaultyTracker(inner, list(faults)))


def raising(error: Exception) -> Callable[[], None]:
    """An act that raises this error."""

    def act() -> None:
        raise error

    return act


def kill_process() -> None:
    """The act of a machine that dies: no clean-up runs."""
    os.kill(os.getpid(), signal.SIGKILL)


class _FaultyTracker:
    def __init__(self, inner: Tracker, faults: list[Fault]) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._wrapped(name, found) if callable(found) else found

    def _wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            fault = next((fault for fault in self._faults if fault.method == name), None)
            if fault is not None:
                self._faults.remove(fault)
            if fault is not None and fault.when == "before":
                fault.act()
            answer = method(*args, **kwargs)
            if fault is not None and fault.when == "after":
                fault.act()
            return answer

        return call
