"""Where a repository comes from: a path on this machine, or a URL."""

from __future__ import annotations

import re
from pathlib import Path

from grid.public_errors import SourceUnavailableError, WorkspaceError

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/:]+:")
_NOT_IN_A_SOURCE = re.compile(r"[\x00-\x1f]")
_SIGNS = (".git", "HEAD")
"""One of these is in every repository: with a work tree, or bare."""


def locate(source: str) -> tuple[str, bool]:
    """What to give to git for a source, and whether it is on this machine.

    Raises:
        SourceUnavailableError: A path where no repository is now: it was moved, or its disk is not mounted.
        WorkspaceError: Neither a path nor a URL, or what looks like an option.
    """
    if not source or source.startswith("-") or _NOT_IN_A_SOURCE.search(source):
        raise WorkspaceError(f"{source[:200]!r} is neither the path nor the URL of a repository")
    if source.startswith("file://"):
        return source, True
    path = Path(source)
    if not path.is_absolute() and _REMOTE.match(source):
        return source, False
    try:
        if any((path / sign).exists() for sign in _SIGNS):
            return str(path.resolve()), True
    except OSError as error:
        raise SourceUnavailableError(f"{source} cannot be looked at: {error}") from error
    if path.is_absolute():
        raise SourceUnavailableError(f"there is no git repository at {source}; put it back there")
    raise WorkspaceError(f"there is no directory {source}; give the path of a git repository or a URL")
