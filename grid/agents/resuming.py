"""Which programs can take up an earlier conversation in another run, and how they find it. Pure.

Both keep a conversation in one file below HOME that they append to while they work. Copied into the HOME of another run it
is found there, wherever the workspace is: tried with the versions that the adapters name. OpenCode keeps conversations in
a database together with their folder, Gemini under a digest of the folder: neither is carried over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_ID = r"(?P<id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
NOTE = """\
You were stopped in the middle of this work, and this is the conversation from then: go on where you were. What you had done \
is committed. You work in {workspace} now; paths that you noted before may have been elsewhere. What follows is the task again, \
as it stands today.

"""
"""Put before the prompt of a run that goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How one program keeps its conversations."""

    state: str
    """Its own folder below HOME."""
    folder: str
    """Where the conversations are, below HOME, in folders of any depth."""
    name: re.Pattern[str]
    """Of a file with one; its group `id` is what the program calls it."""
    place: Callable[[PurePosixPath, Path], PurePosixPath]
    """Where a file belongs below HOME: what it was called below `folder`, and the new workspace."""
    resume: Callable[[str], Any]
    """The adapter's option `resume` for an id."""


def _in_project(found: PurePosixPath, workspace: Path) -> PurePosixPath:
    """Claude Code looks in a folder that is named after the one in which it works."""
    return PurePosixPath(".claude/projects", re.sub(r"[^A-Za-z0-9]", "-", str(workspace)), found.name)


def _where_it_was(found: PurePosixPath, workspace: Path) -> PurePosixPath:
    return PurePosixPath(".codex/sessions", found)


KEEPING: Mapping[str, Keeping] = {
    "claude": Keeping(
        state=".claude",
        folder=".claude/projects",
        name=re.compile(rf"{_ID}\.jsonl"),
        place=_in_project,
        resume=str,
    ),
    "codex": Keeping(
        state=".codex",
        folder=".codex/sessions",
        name=re.compile(rf"rollout-[0-9T-]{{1,40}}-{_ID}\.jsonl"),
        place=_where_it_was,
        # Codex counts tokens from the conversation's beginning, and one that was stopped has reported none.
        resume=lambda session: {"session": session},
    ),
}
"""By adapter."""


def kept(adapter: str, options: Mapping[str, Any], *, home: Path, session: str = "") -> dict[str, Any]:
    """Options with which a program keeps its conversation in HOME, and takes up an earlier one that lies there.

    Options that name a folder or a conversation of their own stay as they are.
    """
    keeping = KEEPING.get(adapter)
    if keeping is None or options.get("state_dir") or options.get("resume"):
        return dict(options)
    more = {"resume": keeping.resume(session)} if session else {}
    return {**options, "state_dir": str(home / keeping.state), **more}
