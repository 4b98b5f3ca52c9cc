"""What a dialect is: how one provider's requests and answers look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from grid.fake_model.script import Json, Reply, Request

type Events = Iterator[tuple[str, Any]]
"""Name (empty: none) and payload of the parts of a stream; a payload of text is sent as it is."""


class Dialect(Protocol):
    """One API."""

    name: ClassVar[str]
    path: ClassVar[re.Pattern[str]]
    is_lines: ClassVar[bool] = False
    """A stream is JSON lines instead of server-sent events."""

    def read(self, body: Json, path: str) -> Request:
        """The request."""
        ...

    def whole(self, reply: Reply) -> Json:
        """The answer in one piece."""
        ...

    def stream(self, reply: Reply) -> Events:
        """The answer in parts."""
        ...

    def error(self, status: int, message: str) -> Json:
        """A refusal."""
        ...
