"""The file format of an exported log: JSON lines, each hashed together with all lines before it. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

FORMAT, VERSION = "agentgrid-events", 1
MAX_LINE_BYTES = 64 * 1024 * 1024
_CHAIN = b',"chain":"'
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True)
class Chain:
    """The hash of all lines so far. It goes into each line, so that a changed or missing one shows where it is."""

    is_broken: bool = False
    """A link did not fit; from then on none is expected to."""
    _hash: Any = field(default_factory=hashlib.sha256)

    def add(self, line: bytes) -> str:
        """Take in a line without its link, and return the link: the beginning of the hash up to and with it."""
        self._hash.update(line + b"\n")
        return str(self._hash.hexdigest()[:16])

    @property
    def sha256(self) -> str:
        """The whole hash."""
        return str(self._hash.hexdigest())


def written(value: dict[str, Any], chain: Chain) -> bytes:
    """One line of the file, its link and the line's end included."""
    line = _encode(value).encode()
    return line[:-1] + _CHAIN + chain.add(line).encode() + b'"}\n'


def header(root: str, at: str) -> dict[str, Any]:
    """What the first line says; root: empty for the log of all trees."""
    return {"format": FORMAT, "version": VERSION, "root": root, "at": at}


def trailer(*, events: int, base: int, chain: Chain) -> dict[str, Any]:
    """What the last line says, so that a file that was cut off shows."""
    return {"end": {"events": events, "base": base, "sha256": chain.sha256}}


class BrokenLineError(ValueError):
    """A line that is no line of this format; `code` names how."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def _refuse(name: str) -> None:
    """`NaN` and the like, which Python's JSON has and no database takes."""
    raise ValueError(f"{name} is no number of JSON")


def read(line: bytes, chain: Chain) -> dict[str, Any]:
    """Read a line; `chain.is_broken` tells whether it is the one that was written here.

    Raises:
        BrokenLineError: It is torn, or no JSON object.
    """
    if len(line) > MAX_LINE_BYTES:
        raise BrokenLineError("too-long", f"the line is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB")
    if not line.endswith(b"\n"):
        raise BrokenLineError("torn", "the line has no end: the file was cut off here")
    plain, found, link = line.rstrip(b"\n").rpartition(_CHAIN)
    try:
        value = json.loads(plain + b"}" if found else line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BrokenLineError("no-json", f"the line is no JSON ({str(error)[:100]})") from error
    if not isinstance(value, dict):
        raise BrokenLineError("no-json", "the line is no JSON object")
    expected = chain.add(plain + b"}")
    chain.is_broken = chain.is_broken or not found or link != expected.encode() + b'"}'
    return value
