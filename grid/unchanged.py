"""Whether a work tree is as an agent committed it, told without a git process: of a short run it is, as a rule.

Our own index of the fresh work tree holds the times, size and number of each file as they were then. Nobody can set the time
of a file's last change, so a file that agrees in all of them, and is older than our copy of that index, was not touched. What
the agent's commits changed is read and hashed. Whatever is not plain here is left to git, which looks at everything.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from pygit2.enums import FileMode

from grid import trees
from grid.objects import Changed

OURS = ".agentgrid/"
"""What lies there is for us and never a part of the work."""
_HEADER = struct.Struct(">4sII")
_ENTRY = struct.Struct(">10I20sH")
_FEW = 200
"""Files changed by commits; more are left to git."""
_FILE_BYTES = 1 << 20
_PLAIN_FLAGS = 0x0FFF
"""The length of a name: anything else is a merge, or a file that git was told not to look at."""

type _Stat = tuple[int, ...]


def is_as_committed(root: Path, index: Path, survey: trees.Survey, committed: Sequence[Changed]) -> bool:
    """Whether nothing in a work tree differs from what was checked out there and committed since; False for not knowing.

    Args:
        root: The work tree.
        index: Ours, of when it was fresh.
        survey: What it holds now.
        committed: What the agent's commits changed.
    """
    if survey.files is None or survey.nested or len(committed) > _FEW:
        return False
    if committed and any(path.rpartition("/")[2] == ".gitattributes" for path in survey.files):
        return False  # what git stores of a file may be another thing than the file
    expected = _entries(index)
    if expected is None:
        return False
    made_ns = index.stat().st_mtime_ns
    files = {path: found for path, found in survey.files.items() if not path.startswith(OURS)}
    with trees.opened(root) as root_fd:
        for one in committed:
            expected.pop(one.path, None)
            if one.now is not None and not _holds(root_fd, one, files.pop(one.path, None)):
                return False
    return files.keys() == expected.keys() and all(
        found.st_ctime_ns < made_ns and _seen(found) == expected[path] for path, found in files.items()
    )


def _entries(index: Path) -> dict[str, _Stat] | None:
    """What an index says of each file; None for an index that has anything unusual in it."""
    try:
        data = index.read_bytes()
    except FileNotFoundError:
        return None
    magic, version, count = _HEADER.unpack_from(data) if len(data) >= _HEADER.size else (b"", 0, 0)
    if magic != b"DIRC" or version != 2:
        return None
    found: dict[str, _Stat] = {}
    at = _HEADER.size
    for _ in range(count):
        *seen, _, flags = _ENTRY.unpack_from(data, at)
        start = at + _ENTRY.size
        end = data.index(b"\0", start)
        if flags & ~_PLAIN_FLAGS or stat.S_IFMT(seen[6]) not in (stat.S_IFREG, stat.S_IFLNK):
            return None
        path = os.fsdecode(data[start:end])
        if not path.startswith(OURS):
            found[path] = (*seen[:4], seen[5], stat.S_IFMT(seen[6]), *seen[7:])
        at += (end - at + 8) & ~7  # one to eight zeros, up to a multiple of eight
    return found


def _seen(found: os.stat_result) -> _Stat:
    """The same of a file as it is now: 32 bits of each number, as git keeps them."""
    numbers = (
        *divmod(found.st_ctime_ns, 10**9),
        *divmod(found.st_mtime_ns, 10**9),
        found.st_ino,
        stat.S_IFMT(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size,
    )
    return tuple(number & 0xFFFFFFFF for number in numbers)


def _holds(root_fd: int, one: Changed, found: os.stat_result | None) -> bool:
    """Whether the work tree has a file just as a commit has it."""
    if found is None or one.now is None or not stat.S_ISREG(found.st_mode) or found.st_size > _FILE_BYTES:
        return False
    oid, mode = one.now
    is_executable = bool(found.st_mode & stat.S_IXUSR)
    if mode != (FileMode.BLOB_EXECUTABLE if is_executable else FileMode.BLOB):
        return False
    data = trees.read_bytes(root_fd, one.path, limit=_FILE_BYTES)
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == str(oid)
