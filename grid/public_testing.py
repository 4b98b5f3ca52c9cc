"""Doubles that are part of the product: what stands for the outside world in tests, demos and checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from grid import executions, phases, specs, wiring
from grid.agents import registry
from grid.agents.base import Launch, RunFiles
from grid.conf import conf
from grid.fake_model.script import Script
from grid.fake_model.server import MODEL, FakeModel
from grid.host.watch import Watch
from grid.models import Execution, Host
from grid.public_types import AgentSpec, LaunchSpec

__all__ = ["MODEL", "FakeModel", "Launch", "Script", "Spooled", "plan_start", "spooled"]


def plan_start(spec: AgentSpec, *, profile: Mapping[str, Any], folder: Path, prompt: str) -> Launch:
    """What a run of an agent would start, wired to the grid's offers but without a token; nothing is started or written.

    Args:
        spec: Which agent, and how.
        profile: A frozen profile as a launch spec holds it; may be empty.
        folder: Where its `workspace` and `home` would be.
        prompt: What it would be asked.

    Raises:
        GridError: It cannot be run like this.
    """
    settings, adapter = conf(), registry.get(spec.adapter)
    wired = adapter.wired(options=spec.options, wiring=wiring.wiring_for(profile, settings))
    home = folder / "home"
    files = RunFiles(workspace=folder / "workspace", home=home, python=settings.python, path=settings.agent_path)
    return adapter.launch(options=wired.options, files=files, prompt=prompt)


class Spooled:
    """An execution by its rows alone, whose agent has said everything already: a spool that a host is about to read."""

    def __init__(self, row: Execution, *, phase: str) -> None:
        spec = specs.load_spec(row.spec, row.prompt)
        self._watch = Watch(row, spec, phases.find(spec, phase))
        self._watch.run_dir.mkdir(parents=True, exist_ok=True)
        self.id: UUID = row.pk
        self.fence = row.token
        self.path = self._watch.run_dir / "spool.jsonl"

    def write(self, lines: Iterable[str]) -> int:
        """Make these the lines of its standard output, all that it has, as a shim writes them; returns how many."""
        number = 0
        with self.path.open("w", encoding="ascii") as file:
            for number, line in enumerate(lines, 1):
                file.write(f'{{"n":{number},"at":{number / 1000:.3f},"t":"out","line":{json.dumps(line)}}}\n')
        return number

    def poll(self) -> bool:
        """Take in the next piece of the spool, as a host does; False when there is no more."""
        return self._watch.poll()


def spooled(spec: LaunchSpec, *, phase: str = "agent", host: str = "nobody") -> Spooled:
    """Queue and claim an execution for a host that does not exist, so that nothing is started for it."""
    known: dict[str, Any] = {"slots": 1_000, "pid": 1, "boot_id": "none", "started_at": timezone.now()}
    Host.objects.get_or_create(pk=host, defaults={**known, "heartbeat_at": timezone.now()})
    queued = executions.queue(spec, execution_id=uuid4())
    row = executions.claim(queued, host=host) if queued else None
    if row is None:
        raise ValueError(f"{spec.subject} has a live execution, or the host {host!r} no free slot")
    Execution.objects.filter(pk=row.pk).update(lease_until=executions.in_seconds(86_400))  # nobody renews it
    return Spooled(row, phase=phase)
