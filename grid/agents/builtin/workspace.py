"""Files of the workspace as the agent's tools see them: confined, bounded, never waiting.

Every path is opened one component at a time with O_NOFOLLOW, starting from a descriptor of the workspace. So neither
`..` nor a symbolic link leads out, also when a command of the agent swaps folders meanwhile. This keeps a model's
mistakes inside; what holds a hostile agent is the sandbox around the whole process.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_FILE_BYTES = 1 << 20
"""Largest file that is edited or written."""
MAX_READ_BYTES = 48 * 1024
"""Most that one `read` returns."""
MAX_ENTRIES = 500
_MAX_SCANNED = 20_000
_MAX_DEPTH = 40
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class RefusedError(Exception):
    """The request cannot be met; the message tells the model what to do instead."""


class Workspace:
    """One folder tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def paths(self, path: str) -> list[str]:
        """Paths of files below a folder, sorted; folders with nothing shown end in `/`, links show their target.

        `.git` is left out. At most MAX_ENTRIES, the last line says when there are more.
        """
        found: list[str] = []
        scanned = 0
        with self._folder(_parts(path)) as top:
            todo = [("", os.dup(top))]
            try:
                while todo and scanned < _MAX_SCANNED:
                    prefix, fd = todo.pop(0)
                    try:
                        names = _names(fd)
                        scanned += len(names)
                        for name in names:
                            _list_entry(prefix, name, fd, found, todo)
                    finally:
                        os.close(fd)
            finally:
                for _, fd in todo:
                    os.close(fd)
        found.sort()
        if len(found) > MAX_ENTRIES or todo:
            return [*found[:MAX_ENTRIES], f"… {len(found) - MAX_ENTRIES}+ more; list a folder below"]
        return found

    def read(self, path: str, *, first_line: int, lines: int) -> str:
        """Lines `first_line`.. of a text file, numbered from 1; bytes that are no UTF-8 become U+FFFD."""
        with self._file(path) as fd, os.fdopen(os.dup(fd), "rb") as file:
            if b"\0" in file.read(8_192):
                raise RefusedError(f"{path} is binary ({os.fstat(fd).st_size} bytes); look at it with run_command")
            file.seek(0)
            kept, size, number = [], 0, 0
            while number < first_line + lines - 1 and (line := file.readline(MAX_READ_BYTES)):
                number += 1
                if number < first_line:
                    continue
                size += len(line)
                kept.append(line)
                if size >= MAX_READ_BYTES:
                    break
            more = bool(file.read(1))
        text = b"".join(kept)[:MAX_READ_BYTES].decode("utf-8", "replace")
        if not more:
            return text
        return f"{text}\n[more follows; read on with first_line={number + 1}]"

    def write(self, path: str, content: str) -> str:
        """Create or replace a file, with its folders; all of it or nothing. Keeps the mode of a replaced one."""
        return self._put(path, _encode(content))

    def edit(self, path: str, old: str, new: str) -> str:
        """Replace the only occurrence of `old`."""
        if not old:
            raise RefusedError("'old' is empty; use write_file to create or replace a whole file")
        with self._file(path) as fd:
            if os.fstat(fd).st_size > MAX_FILE_BYTES:
                raise RefusedError(f"{path} is larger than {MAX_FILE_BYTES} bytes; edit it with run_command")
            data = _read_all(fd)
        count = data.count(_encode(old))
        if count != 1:
            hint = "; its lines end in CRLF" if not count and b"\r\n" in data else ""
            more = "copy the text exactly" if not count else "add surrounding lines until it is unique"
            raise RefusedError(f"'old' occurs {count} times in {path}{hint}; {more}")
        return self._put(path, data.replace(_encode(old), _encode(new)))

    def _put(self, path: str, data: bytes) -> str:
        if len(data) > MAX_FILE_BYTES:
            raise RefusedError(f"{len(data)} bytes are too many for one file; at most {MAX_FILE_BYTES}")
        *folders, name = _file_parts(path)
        with self._folder(folders, create=True) as fd:
            try:
                _replace(fd, name, data, _mode_of(fd, name, path))
            except OSError as error:  # read-only, full, or removed meanwhile
                raise RefusedError(f"{path}: {error.strerror}") from error
        return f"wrote {len(data)} bytes to {path}"

    @contextlib.contextmanager
    def _file(self, path: str) -> Iterator[int]:
        """A descriptor of a regular file."""
        *folders, name = _file_parts(path)
        with self._folder(folders) as folder:
            try:
                fd = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder)
            except OSError as error:
                raise _refusal(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise RefusedError(f"{path} is not a regular file; use list_files to see what is there")
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder, reached without following a link."""
        fd = os.dup(self._fd)
        try:
            for index, name in enumerate(parts):
                try:
                    if create:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(name, dir_fd=fd)
                    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=fd)
                except OSError as error:
                    raise _refusal("/".join(parts[: index + 1]), error) from error
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _names(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return sorted(entry.name for entry in itertools.islice(entries, _MAX_SCANNED))


def _list_entry(prefix: str, name: str, fd: int, found: list[str], todo: list[tuple[str, int]]) -> None:
    """Note one name of a folder; folders go to `todo`, breadth first."""
    shown = prefix + name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        mode = os.lstat(name, dir_fd=fd).st_mode
        if stat.S_ISLNK(mode):
            found.append(f"{shown} -> {os.readlink(name, dir_fd=fd)[:200]}")
        elif not stat.S_ISDIR(mode):
            found.append(shown)
        elif name.lower() == ".git":
            return
        elif prefix.count("/") >= _MAX_DEPTH or len(todo) >= MAX_ENTRIES or len(found) >= MAX_ENTRIES:
            found.append(f"{shown}/")
        else:
            todo.append((f"{shown}/", os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=fd)))
    except OSError:  # gone meanwhile, or not ours to read
        found.append(shown)


def _parts(path: str) -> list[str]:
    """Components of a relative path, checked."""
    if "\0" in path or len(path) > 4_096:
        raise RefusedError("that is no path")
    if path.startswith("/"):
        raise RefusedError(f"{path} is absolute; give a path relative to the workspace")
    parts = [part for part in PurePosixPath(path).parts if part != "."]
    if ".." in parts:
        raise RefusedError(f"{path} leaves the workspace; give a path below it, without '..'")
    if any(part.lower() == ".git" for part in parts):
        raise RefusedError("files of .git are out of reach; use git through run_command")
    return parts


def _file_parts(path: str) -> list[str]:
    parts = _parts(path)
    if not parts or path.endswith("/"):
        raise RefusedError("name a file, not a folder")
    return parts


def _mode_of(folder: int, name: str, path: str) -> int | None:
    """Permission bits of a file about to be replaced; None when there is none yet."""
    try:
        mode = os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refusal(path, error) from error
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{path} is there and not a regular file; remove it with run_command first")
    return stat.S_IMODE(mode) & 0o777


def _replace(folder: int, name: str, data: bytes, mode: int | None) -> None:
    """Put a whole file in place at once, or leave what was there."""
    scratch = f".{secrets.token_hex(8)}.tmp"
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            stream.write(data)
        os.replace(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch, dir_fd=folder)
        raise


def _refusal(path: str, error: OSError) -> RefusedError:
    """What to tell the model about a failed open."""
    if error.errno == errno.ENOENT:
        return RefusedError(f"{path} does not exist; use list_files to see what does")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return RefusedError(f"{path} is a symbolic link or no folder; use the path that it stands for")
    if error.errno == errno.ENXIO:
        return RefusedError(f"{path} is not a regular file")
    return RefusedError(f"{path}: {error.strerror}")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(f"character {error.start} is half of a surrogate pair; send the whole character") from error


def _read_all(fd: int) -> bytes:
    """The whole file, up to one byte more than MAX_FILE_BYTES."""
    data = b""
    while len(data) <= MAX_FILE_BYTES and (chunk := os.read(fd, MAX_FILE_BYTES + 1 - len(data))):
        data += chunk
    return data
