"""Which shim this is: a process forked from older sources must not serve newer callers."""

from __future__ import annotations

import os
import zlib


def version() -> str:
    """Eight hex digits that change with any source file of the shim."""
    directory = os.path.dirname(os.path.abspath(__file__))
    total = 0
    for name in sorted(os.listdir(directory)):
        if name.endswith(".py"):
            with open(os.path.join(directory, name), "rb") as source:
                total = zlib.crc32(source.read(), zlib.crc32(name.encode(), total))
    return f"{total:08x}"
