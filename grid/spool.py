"""Read a shim's spool while it grows: whole JSON lines only, a torn tail waits for its rest."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from grid.public_errors import SpoolError

CHUNK_BYTES = 1 << 20
LINE_BYTES = 16 << 20
"""A shim cuts lines at 1 MiB; ASCII escapes can make that six times as long."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.ENXIO)


def opened(path: Path) -> int:
    """A descriptor of a file that a shim has written.

    An agent with our user id can put anything in its place: no link is followed, and nothing waits for the other end of a pipe.

    Raises:
        FileNotFoundError: There is none yet.
        SpoolError: It is no file that a shim makes.
    """
    try:
        fd = os.open(path, _FILE)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise SpoolError(f"{path.name} is no file of a shim: {error.strerror}") from error
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise SpoolError(f"{path.name} is no regular file")


class SpoolReader:
    """A cursor into one spool file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._part = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the next whole records, at most about 1 MiB of them; none when nothing is new.

        Raises:
            SpoolError: The file holds what no shim writes; somebody else wrote to it.
        """
        try:
            with os.fdopen(opened(self.path), "rb") as file:
                file.seek(self.offset)
                data = file.read(CHUNK_BYTES)
        except FileNotFoundError:
            return []
        self.offset += len(data)
        whole, end, self._part = (self._part + data).rpartition(b"\n")
        if len(self._part) > LINE_BYTES:
            raise SpoolError(f"a line of more than {LINE_BYTES} bytes in {self.path.name}")
        if not end:
            return []
        try:
            # Decoded in one piece: the parser would look for the encoding of every single line.
            lines = whole.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise SpoolError(f"not a JSON line in {self.path.name}: {whole[error.start :][:80]!r}") from error
        return [self._record(line) for line in lines]

    def _record(self, line: str) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpoolError(f"not a JSON line in {self.path.name}: {line[:80]!r}") from error
        if not isinstance(record, dict) or not isinstance(record.get("n"), int) or not isinstance(record.get("t"), str):
            raise SpoolError(f"not a record in {self.path.name}: {line[:80]!r}")
        return record
