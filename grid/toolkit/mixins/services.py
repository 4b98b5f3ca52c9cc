"""What mixins need of the world around them; whoever runs tools hands it in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """Why a path cannot be had now."""

    holder: str
    """Who holds it, in words for a model: `agent 12 ("Add the parser")`."""
    until: str = ""
    """When that ends by itself, in words: `12:31 UTC`."""
    advice: str = ""
    """What to do now; empty: the usual."""


class Locks(Protocol):
    """Leases on paths of the repository, for whoever makes the calls."""

    async def acquire(self, path: str) -> Blocker | None:
        """Take the write lock of a path, or renew one that is held; None: it is ours now."""
        ...

    async def release(self, path: str) -> None:
        """Give a path back; nothing happens when it is not held."""
        ...


class NoLocks:
    """Nobody else works on these files: every path can be had."""

    async def acquire(self, path: str) -> Blocker | None:
        """Always granted."""
        return None

    async def release(self, path: str) -> None:
        """Nothing was held."""


def _forget(record: Mapping[str, Any]) -> None:
    """Recorder of those who want no records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Given to every mixin of a run. The defaults are harmless."""

    record: Callable[[Mapping[str, Any]], None] = _forget
    """Takes plain JSON: `name`, `id`, `ok`, `ms` of a call."""
    locks: Locks = field(default_factory=NoLocks)
    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
