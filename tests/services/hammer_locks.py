"""Many processes that take, wait for, give back and lose locks of the same files as fast as they can.

    python -m tests.services.hammer_locks PROCESSES SECONDS FOLDER [--without-turn]

While a process holds a write lock, it keeps a mark for each file of it in FOLDER, made so that only one can exist. A mark
that is there already proves two writers. Each process has runs of its own, which it ends and begins anew. Prints one JSON
object for each process. `--without-turn` takes the repository's turn away, which must be noticed.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import django

django.setup()

from django.utils import timezone  # noqa: E402 - Django must be set up first

from grid import executions, lifecycle  # noqa: E402
from grid import public_locks as locks  # noqa: E402
from grid.locks import sql, turns  # noqa: E402
from grid.models import Execution, Host  # noqa: E402
from grid.public_types import State  # noqa: E402
from tests.factories import make_execution  # noqa: E402
from tests.services import forks  # noqa: E402

FILES = ("d/a", "d/b", "d/c", "e/a")
PATTERNS = {"d": FILES[:3], "d/*": FILES[:3], "**/a": ("d/a", "e/a"), **{name: (name,) for name in FILES}}
ACTS = 40


class Runner:
    """One process with one run after the other."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng, self.seed, self.folder = random.Random(seed), seed, folder
        self.doubles: list[str] = []
        self.number = 0
        self.held: dict[str, list[Path]] = {}
        self.begin()

    def begin(self) -> None:
        """A new run."""
        self.number += 1
        row = make_execution(f"issue:{self.seed}-{self.number}")
        claimed = executions.claim(row.pk, host=f"h{self.seed}")
        assert claimed is not None
        assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=claimed.token)
        self.run = claimed

    def act(self) -> str:
        """Do one thing."""
        pattern = self.rng.choice(list(PATTERNS))
        match self.rng.choice(["take"] * 5 + ["release"] * 4 + ["renew", "end"]):
            case "take":
                return self.take(pattern)
            case "release":
                pattern = self.rng.choice(list(self.held) or [pattern])
                self.unmark(pattern)
                return "released" if locks.release(self.run.pk, fence=1, path=pattern) else "not held"
            case "renew":
                executions.renew(host=f"h{self.seed}", tokens={self.run.pk: 1}, slots=9)
                return "renewed"
            case _:
                for held in list(self.held):
                    self.unmark(held)
                lifecycle.move(self.run.pk, old={State.RUNNING}, new=State.SUCCEEDED, reason="done", token=1)
                self.begin()
                return "ended"

    def take(self, pattern: str) -> str:
        """Ask, and mark what was granted."""
        mode = self.rng.choice(["write", "write", "read"])
        answer = locks.acquire(self.run.pk, fence=1, path=pattern, mode=mode, wait=self.rng.random() < 0.5)
        if not answer.granted:
            return answer.code
        if answer.lock is not None and answer.lock.mode == "write" and answer.lock.pattern not in self.held:
            self.mark(answer.lock.pattern)
        return "granted"

    def mark(self, pattern: str) -> None:
        """Show that nobody else writes here."""
        made = self.held.setdefault(pattern, [])
        for name in PATTERNS[pattern]:
            place = self.folder / name.replace("/", "-")
            if any(place in others for others in self.held.values()):
                continue  # by another lock of ours
            try:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL))
                made.append(place)
            except FileExistsError:
                self.doubles.append(name)

    def unmark(self, pattern: str) -> None:
        """Before it is given back. What another lock of ours covers as well goes, too: marks are for noticing, not for keeping."""
        for place in self.held.pop(pattern, []):
            place.unlink(missing_ok=True)


def hammer(seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """What one process did."""
    runner = Runner(seed, folder)
    counts = forks.again_and_again(runner.act, seconds=seconds, least=ACTS)
    for pattern in list(runner.held):
        runner.unmark(pattern)
    return {"counts": counts, "doubles": runner.doubles}


def without_turn() -> None:
    """Let everybody act at once: the mutation run."""

    def turn(execution_id: Any, *, fence: int) -> turns.Turn:
        row = Execution.objects.get(pk=execution_id)
        now = timezone.now()
        return turns.Turn(row.repository, random.randrange(1, 2**60), now, sql.stored(now))

    turns.turn_of_execution = turn


def main(count: int, seconds: float, folder: Path) -> int:
    """0 when all processes did their work."""
    for seed in range(count):
        Host.objects.get_or_create(pk=f"h{seed}", defaults={"slots": 100})
    if "--without-turn" in sys.argv:
        without_turn()
    return forks.report(forks.all_at_once(count, lambda seed: hammer(seed, seconds, folder)))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
