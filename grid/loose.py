"""A pack of the few loose objects that a short run has made, put together here instead of by `git pack-objects`.

They come from a repository that somebody else wrote. Nothing is judged here beyond what is needed to find the way:
`git unpack-objects --strict` checks each object, and that nothing it refers to is missing. What is not small and plain is
left to git altogether.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator

from grid import trees

_TYPES = {b"commit": 1, b"tree": 2, b"blob": 3}
_HEADER = re.compile(rb"(commit|tree|blob) (\d{1,10})\0")
_IDS_OF_COMMIT = re.compile(rb"^(?:tree|parent) ([0-9a-f]{40})$", re.MULTILINE)
_ID_BYTES = 20
_NAMED_MAX = 20_000
"""Objects that all of these may refer to: each is looked for."""


def pack(objects: int, tip: str, *, at_most: int, limit: int) -> bytes | None:
    """A pack of the loose objects that a commit leads to without leaving them.

    Args:
        objects: Descriptor of the object directory.
        tip: Id of the commit.
        at_most: Number of objects.
        limit: Bytes that they may unfold to, together.

    Returns:
        None when the commit is no loose object, when there is more, or when something is not as git writes it.
    """
    entries: list[bytes] = []
    left, pending, seen, named = limit, [tip], {tip}, 0
    while pending:
        read = _read(objects, pending.pop(), limit=left)
        if read is None:
            return None
        kind, data = read
        left -= len(data)
        entries.append(_entry(kind, data))
        names = {*_referred(kind, data)}
        named += len(names)
        if named > _NAMED_MAX:
            return None
        fresh = {name for name in names - seen if _is_loose(objects, name)}
        pending += fresh
        seen |= fresh
        if len(seen) > at_most:
            return None
    body = b"PACK" + (2).to_bytes(4) + len(entries).to_bytes(4) + b"".join(entries)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _is_loose(objects: int, name: str) -> bool:
    return trees.status(objects, f"{name[:2]}/{name[2:]}") is not None


def _read(objects: int, name: str, *, limit: int) -> tuple[bytes, bytes] | None:
    """Type and content of a loose object; None when it is missing, too large or not what its name says."""
    packed = trees.read_bytes(objects, f"{name[:2]}/{name[2:]}", limit=limit + 1024)
    unfolding = zlib.decompressobj()
    try:
        data = unfolding.decompress(packed, limit + 64)
    except zlib.error:
        return None
    header = _HEADER.match(data)
    # Names are compared so that the store gets what was asked for; git names the objects itself.
    if header is None or not unfolding.eof or hashlib.sha1(data, usedforsecurity=False).hexdigest() != name:
        return None
    content = data[header.end() :]
    return (header[1], content) if len(content) == int(header[2]) <= limit else None


def _referred(kind: bytes, data: bytes) -> Iterator[str]:
    """Ids of the objects that one refers to, as far as they can be made out."""
    if kind == b"commit":
        for found in _IDS_OF_COMMIT.finditer(data.partition(b"\n\n")[0]):
            yield found[1].decode()
    elif kind == b"tree":
        at = 0
        while (end := data.find(b"\0", at)) >= 0:
            at = end + 1 + _ID_BYTES
            yield data[end + 1 : at].hex()


def _entry(kind: bytes, data: bytes) -> bytes:
    """An object as packs hold it: type and size, four and then seven bits at a time, and the content."""
    size = len(data)
    header, size = [_TYPES[kind] << 4 | size & 15], size >> 4
    while size:
        header[-1] |= 128
        header.append(size & 127)
        size >>= 7
    return bytes(header) + zlib.compress(data, 1)
