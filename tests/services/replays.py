"""The standing check on the event log: what a stack has done is exported, verified, replayed and compared, when it is over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from grid import public_events as events
from tests.services.stack import Stack


def differences(stack: Stack, *, new_database: Callable[[Path], str]) -> list[str]:
    """What is wrong with a closed stack's log, and where its replay differs from its database; nothing as a rule.

    Args:
        stack: No process of it runs any more.
        new_database: Makes an empty database with our tables, in a folder if it needs one, and returns its URL.
    """
    url = stack.env.get("DATABASE_URL", f"sqlite:///{stack.state_dir / 'agentgrid.sqlite3'}")
    file = stack.folder / "log.jsonl"
    with events.opened(url, "stack") as theirs, events.opened(new_database(stack.folder), "again") as again:
        with file.open("wb") as out:
            out.writelines(events.export(using=theirs))
        with file.open("rb") as written:
            problems = [str(problem) for problem in events.verify(written)]
        events.replay([file], into=again)
        return problems + [str(difference) for difference in events.compare(again, ours=theirs)]


def copied(template: str) -> Callable[[Path], str]:
    """Makes databases that are copies of a migrated SQLite file."""

    def make(folder: Path) -> str:
        target = folder / "replayed.sqlite3"
        shutil.copy(template, target)
        return f"sqlite:///{target}"

    return make
