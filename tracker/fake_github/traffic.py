"""What went over the wire, for a check against the API's description."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_KEPT = 20_000

Entry = list[Any]
"""`[method, path template, request, status, response]`."""


class Traffic:
    """The last requests, also written to a file when asked."""

    def __init__(self, record: Path | None = None) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self._file: IO[str] | None = record.open("a", encoding="utf-8", buffering=1) if record else None

    def add(self, entry: Entry) -> None:
        """Remember one request."""
        with self._lock:
            self._entries.append(entry)
            del self._entries[:-_KEPT]
            if self._file:
                self._file.write(json.dumps(entry) + "\n")

    def clear(self) -> None:
        """Forget what was remembered; the file stays."""
        with self._lock:
            self._entries.clear()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file:
                self._file.close()
                self._file = None

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]
