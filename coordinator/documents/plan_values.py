"""Single values of a plan: each reader raises ValueError that says what would be right. Pure."""

from __future__ import annotations

import re
import shlex

from coordinator.documents import plan_nodes
from coordinator.documents.strict_yaml import shortened
from coordinator.documents.untrusted import printable

MAX_COMMAND, MAX_PATH = 2_000, 400
_PROFILE = re.compile(r"[a-z][a-z0-9_-]{0,59}")


def command(value: object) -> str:
    """A shell command."""
    text = _shown(value, most=MAX_COMMAND).strip()
    if not text:
        raise ValueError("a command is empty; write one or take the entry out")
    return text


def path(value: object) -> str:
    """A path or pattern of the repository in its plain form: `./src//a/` is `src/a`; empty for the top."""
    text = _shown(value, most=MAX_PATH)
    if text.startswith(("/", "~")) or "\\" in text or (len(text) > 1 and text[1] == ":"):
        raise ValueError(f"{shortened(text)} must be a path inside the repository, written with /, like src/parser")
    if "\n" in text or "\t" in text:
        raise ValueError(f"{shortened(text)} must stand on one line")
    parts = [part for part in text.strip().split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{shortened(text)} must not leave the repository; write it without ..")
    if ".git" in [part.casefold() for part in parts]:
        raise ValueError(f"{shortened(text)} is git's own; name a folder of the work")
    return "/".join(parts)


def existence_of(path: str) -> str:
    """The shell command that fails where a required file is missing."""
    return f"test -e {shlex.quote(f'./{path}')}"


def profile(value: object) -> str:
    """A profile's name."""
    if not isinstance(value, str) or not _PROFILE.fullmatch(value):
        raise ValueError(f"{shortened(value)} is no name of a profile; `manage.py profile list` shows them")
    return value


def reference(value: object) -> str:
    """A node, by its id or the name of a new one."""
    if not isinstance(value, str) or not plan_nodes.NEW.fullmatch(value):
        raise ValueError(f"{shortened(value)} names no node; write an id (a12) or the name of a new node")
    return value


def _shown(value: object, *, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text; put {shortened(value)} in quotes")
    if len(value) > most:
        raise ValueError(f"{len(value):,} characters; at most {most:,}")
    if printable(value) != value:
        raise ValueError("holds characters that nobody can see, such as zero-width or bidi controls; type it again")
    return value
