"""Texts that commands take from a file or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from coordinator.public_errors import InvalidInputError


def read(name: str, *, argument: str, limit: int) -> str:
    """A text file, or standard input for `-`, read no further than it may be long.

    Raises:
        InvalidInputError: It cannot be read, is longer than `limit` bytes, or is no UTF-8.
    """
    try:
        if name == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise InvalidInputError(f"{argument} {name}: {error.strerror or error}") from error
    if len(data) > limit:
        raise InvalidInputError(f"{argument} {name} is longer than {limit >> 10} KiB; shorten it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{argument} {name} is not UTF-8 text (byte {error.start}); convert it") from error
