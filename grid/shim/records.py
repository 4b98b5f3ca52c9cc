"""The spool: what the agent said and what the shim did, as numbered JSON lines on disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from json.encoder import encode_basestring_ascii as quoted

LINE_BYTES = 1 << 20
"""A longer line is cut and marked."""
TAIL_BYTES = 128 << 10
"""Kept from the end of each stream once the spool is full: the terminal event is there."""
RESERVE_BYTES = 512 << 10
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Spool:
    """Append-only, numbered from 1, one writer. A full disk drops output; it never tears a record or skips a number."""

    def __init__(self, limit_bytes: int) -> None:
        self.number = self.size = self.dropped = 0
        self.limit, self.full, self.disk_full = limit_bytes, False, False
        self.waiting: list[str] = []
        scratch = f"spool.{os.getpid()}"
        try:
            os.unlink(scratch)  # of a dead shim that had our number; it must not look like a second launch
        except FileNotFoundError:
            pass
        self.fd = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)  # whoever gets this lock knows that the shim is gone
        try:
            os.link(scratch, "spool.jsonl")  # appears locked; FileExistsError: this run has happened
        finally:
            os.unlink(scratch)
        with open("reserve", "wb") as reserve:  # given back when the disk is full, for the last records
            os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTES)

    def add(self, kind: str, text: str) -> None:
        """Queue one record; `text` is its own part of the JSON object, without braces."""
        self.number += 1
        at = time.time()  # for people; nothing is decided by it
        self.waiting.append(f'{{"n":{self.number},"at":{at:.3f},"t":"{kind}",{text}}}\n')

    def record(self, kind: str, **facts: object) -> None:
        """Write one record of the shim's own at once."""
        self.add(kind, json.dumps(facts)[1:-1])
        self.flush()

    def flush(self) -> None:
        """Write what waits in one call. ASCII only: no reader can mistake U+2028 for the end of a line."""
        data = "".join(self.waiting).encode("ascii")
        count, written = len(self.waiting), 0
        self.waiting = []
        try:
            while written < len(data):
                written += os.write(self.fd, data[written:] if written else data)
            self.size += written
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            os.ftruncate(self.fd, self.size)  # nothing torn under the next record
            self.number, self.dropped = self.number - count, self.dropped + len(data)
            if not self.disk_full:
                self.disk_full = True
                os.unlink("reserve")
        self.full = self.full or self.disk_full or self.size >= self.limit


class Stream:
    """One output pipe of the agent, cut into lines."""

    def __init__(self, kind: str) -> None:
        self.kind, self.part, self.tail = kind, bytearray(), b""
        self.over = self.lines = self.bytes = self.cut = 0

    def take(self, chunk: bytes, spool: Spool) -> None:
        """Queue the lines that this chunk completes; past the spool's limit only remember the end of the stream."""
        self.bytes += len(chunk)
        if spool.full:
            spool.dropped += len(chunk)
            self.tail = (self.tail + chunk)[-TAIL_BYTES:]
            return
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self.extend(piece)
            self.end_line(spool)
        self.extend(rest)

    def extend(self, piece: bytes) -> None:
        """Grow the line in progress up to LINE_BYTES and count the rest."""
        room = LINE_BYTES - len(self.part)
        self.part += piece[:room] if len(piece) > room else piece
        self.over += max(0, len(piece) - room)

    def end_line(self, spool: Spool) -> None:
        """Queue the line in progress as valid text without NUL, which PostgreSQL refuses; `cut` = bytes left out."""
        text = quoted(self.part.decode("utf-8", "replace").replace("\0", "").removesuffix("\r"))
        spool.add(self.kind, f'"line":{text},"cut":{self.over}' if self.over else f'"line":{text}')
        self.lines, self.cut, self.over = self.lines + 1, self.cut + (self.over > 0), 0
        self.part.clear()

    def finish(self, spool: Spool) -> None:
        """Queue what the stream ended with: an unfinished line, or the whole lines of the tail."""
        if self.part:
            self.end_line(spool)
        for line in filter(None, self.tail.split(b"\n")[1:]):
            spool.dropped -= len(line) + 1
            self.extend(line)
            self.end_line(spool)
        self.tail = b""
