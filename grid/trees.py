"""Directories that somebody else wrote: surveying, reading and copying from them without being led astray.

Nothing here follows a symbolic link below the directory it is given, opens a device or waits on a FIFO.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grid.public_errors import WorkspaceError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_ENTRIES = 1_000_000
_KEPT_ENTRIES = 20_000
"""More files of a work tree are not told one by one."""
_READ_BY_GIT = frozenset({".gitignore", ".gitattributes"})
_LOOSE = re.compile(r"[0-9a-f]{38}")
_PACK = re.compile(r"pack-[0-9a-f]{40}\.(pack|idx)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What git should know before it looks at a work tree."""

    nested: tuple[str, ...]
    """Directories below the root that hold a `.git` of their own, relative."""
    is_settled: bool
    """Whether each file is either as old as the index or shows by its times that it is not; see `survey`."""
    files: Mapping[str, os.stat_result] | None
    """All that are no directories, relative, as they were found; None where they are very many, or not all were to be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Objects that were copied."""

    loose_sizes: tuple[int, ...]
    """Bytes that each loose object says it unfolds to."""
    packs: int


@contextlib.contextmanager
def opened(path: str | Path, *, within: int | None = None) -> Iterator[int]:
    """A descriptor of a real directory; OSError when it is something else, also a link to a directory."""
    descriptor = os.open(path, _DIRECTORY, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def survey(root: Path, *, index_ns: int | None) -> Survey:
    """Walk a work tree once, prepare it for git and tell what git must keep out of.

    Git opens `.gitignore` and `.gitattributes` without looking, and would wait for ever on a FIFO: such a special file is
    removed. Own directories that their owner may not enter are made accessible. The root's `.git` is left alone.

    Git compares times by the second, so it must read every file written in the second in which its index was: all of a
    fresh workspace, three times in one harvest. We know better: a file changed after `index_ns` (nanoseconds), yet
    within that second, gets an old time here, so that git sees by its time that it was touched. Then no file needs reading.

    Raises:
        WorkspaceError: The root is no directory, or holds a million entries.
    """
    nested: list[str] = []
    files: dict[str, os.stat_result] | None = {}
    pending, seen, is_settled = ["."], 0, index_ns is not None
    try:
        with opened(root) as root_fd:
            while pending:
                place = pending.pop()
                listing = _listing(place, root_fd)
                if listing is None or seen + len(listing) > _KEPT_ENTRIES:
                    files = None
                for name, found in listing or ():
                    seen += 1
                    path = name if place == "." else f"{place}/{name}"
                    if name == ".git":
                        nested += [place] if place != "." else []
                    elif stat.S_ISDIR(found.st_mode):
                        pending.append(path)
                    else:
                        is_settled &= _made_ready(path, found, root_fd, index_ns or 0)
                        if files is not None:
                            files[path] = found
                if seen > _MAX_ENTRIES:
                    raise WorkspaceError(f"{root} holds more than {_MAX_ENTRIES} files; its work is not taken over")
    except OSError as error:
        raise WorkspaceError(f"cannot look through {root}: {error}") from error
    return Survey(nested=_outermost(nested), is_settled=is_settled, files=files)


def _made_ready(path: str, found: os.stat_result, root_fd: int, index_ns: int) -> bool:
    """Prepare a file for git; False when its times do not show whether it was changed."""
    if path.rpartition("/")[2] in _READ_BY_GIT and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        os.unlink(path, dir_fd=root_fd)
        return True
    is_of_that_second = index_ns <= found.st_ctime_ns < (index_ns // 10**9 + 1) * 10**9
    return not is_of_that_second or _made_old(path, root_fd, index_ns)


def _made_old(path: str, root_fd: int, index_ns: int) -> bool:
    before = index_ns - 10 * 10**9
    try:
        os.utime(path, ns=(before, before), dir_fd=root_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _outermost(places: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for place in sorted(places, key=lambda text: (text.count("/"), text)):
        parents = place.split("/")
        if not any("/".join(parents[:depth]) in found for depth in range(1, len(parents))):
            found.append(place)
    return tuple(found)


def _listing(place: str, root_fd: int) -> list[tuple[str, os.stat_result]] | None:
    """What a directory holds; None when it vanished, cannot be entered or lies too deep for a path."""
    for _ in range(2):
        try:
            with opened(place, within=root_fd) as place_fd, os.scandir(place_fd) as entries:
                return [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        except PermissionError:
            if not make_accessible(place, root_fd, 0o700):
                return None
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def make_accessible(path: str, root_fd: int, bits: int) -> bool:
    """Add permission bits to something we own; False when we may not. Links are left alone."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    except OSError:
        return False
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode) or mode & bits == bits:
            return False
        # There is no fchmodat that neither follows links nor needs an open file.
        Path(f"/proc/self/fd/{descriptor}").chmod(stat.S_IMODE(mode) | bits)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def status(root_fd: int, path: str) -> os.stat_result | None:
    """Like `lstat` below a directory; None when nothing is there, or only by way of a link.

    A file that its owner may not read is made readable.
    """
    with _parent(path, root_fd) as (folder, name):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None
        if stat.S_ISREG(found.st_mode) and not found.st_mode & stat.S_IRUSR:
            make_accessible(name, folder, stat.S_IRUSR)
    return found


def read_small(root_fd: int, path: str, *, limit: int) -> str:
    """Text of a regular file below a directory, no component a link; empty when there is none or it is larger than `limit`."""
    return read_bytes(root_fd, path, limit=limit).decode("utf-8", "surrogateescape")


def read_bytes(root_fd: int, path: str, *, limit: int) -> bytes:
    """The same as bytes."""
    with _parent(path, root_fd) as (folder, name):
        try:
            descriptor = os.open(name, _REGULAR, dir_fd=folder)
        except OSError:
            return b""
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b""
            data = file.read(limit + 1)
    return data if len(data) <= limit else b""


@contextlib.contextmanager
def _parent(path: str, root_fd: int) -> Iterator[tuple[int, str]]:
    """Descriptor of the directory that holds `path`, and the last name; no component may be a link.

    A directory that is missing or a link gives the descriptor -1, with which every call fails.
    """
    *folders, name = path.split("/")
    current = root_fd
    with contextlib.ExitStack() as stack:
        try:
            for folder in folders:
                current = stack.enter_context(opened(folder, within=current))
        except OSError:
            current = -1
        yield current, name


def copy_objects(git_dir: int, target: Path, *, limit: int) -> Copied:
    """Copy a repository's own objects, loose ones and packs, and nothing else, into a fresh directory of ours.

    Raises:
        WorkspaceError: There are more than `limit` bytes.
        OSError: There is no object directory.
    """
    left, packs = limit, 0
    loose_sizes: list[int] = []
    with opened("objects", within=git_dir) as objects:
        with os.scandir(objects) as entries:
            folders = [entry.name for entry in entries if re.fullmatch("[0-9a-f]{2}|pack", entry.name)]
        for folder in folders:
            wanted = _PACK if folder == "pack" else _LOOSE
            with contextlib.suppress(OSError), opened(folder, within=objects) as folder_fd:
                (target / folder).mkdir()
                with os.scandir(folder_fd) as entries:
                    names = [entry.name for entry in entries if wanted.fullmatch(entry.name)]
                for name in names:
                    size, start = _copy(folder_fd, name, target / folder / name, limit=left)
                    left -= size
                    if folder == "pack":
                        packs += name.endswith(".pack")
                    else:
                        loose_sizes.append(_announced_size(start))
    return Copied(loose_sizes=tuple(loose_sizes), packs=packs)


def _announced_size(start: bytes) -> int:
    """Size in the header of a loose object; 0 for what git is going to refuse."""
    try:
        header = zlib.decompressobj().decompress(start, 40)
    except zlib.error:
        return 0
    found = re.match(rb"[a-z]+ (\d+)\0", header)
    return int(found[1]) if found else 0


def _copy(folder: int, name: str, target: Path, *, limit: int) -> tuple[int, bytes]:
    """Copy a regular file; returns its size and its first bytes."""
    try:
        descriptor = os.open(name, _REGULAR, dir_fd=folder)
    except OSError:
        return 0, b""
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return 0, b""
        if found.st_size > limit:
            raise WorkspaceError("the workspace's commits add more data than is accepted")
        start = b""
        with target.open("wb", buffering=0) as file:
            # Bounded by the size seen above: the file may be growing.
            left = found.st_size
            while left > 0 and (chunk := source.read(min(left, 1 << 20))):
                start = start or chunk[:256]
                file.write(chunk)
                left -= len(chunk)
    return found.st_size, start
