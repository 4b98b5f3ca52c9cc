"""Real shims around agents in real sandboxes: one command at a time, without workers or a database."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from grid import processes
from grid.conf import GridConf, conf
from grid.processes import StartCode
from grid.public_types import Limits
from grid.sandboxes import network
from grid.sandboxes.base import Request, Sandbox
from tests.hostile.shim_runs import Run, Runs

PRISONER = Path(__file__).parents[1] / "hostile" / "prisoner.py"


class Cells:
    """One host directory, its nursery and proxy, and the runs in it."""

    def __init__(self, runs: Runs, sandbox: Sandbox, **settings: Any) -> None:
        self.runs, self.sandbox = runs, sandbox
        self.settings: GridConf = dataclasses.replace(conf(), state_dir=runs.dir / "state", **settings)
        (self.settings.state_dir / "objects").mkdir(parents=True)
        self.ids: dict[Path, UUID] = {}

    def begin(self, act: str, *words: str, limits: Limits | None = None, **plan: Any) -> Run:
        """The prisoner, started; a plan goes into its workspace."""
        run = self.runs.make("ok", folder=f"cell-{len(self.runs.all)}")
        (run.dir / "home" / "tmp").mkdir(parents=True)
        shutil.copy(PRISONER, run.work / "prisoner.py")
        if plan:
            (run.work / "plan.json").write_text(json.dumps(plan))
            words = ("plan.json", *words)
        python = "python3" if self.sandbox.name == "docker" else sys.executable
        self.ids[run.dir] = uuid4()
        wrapped = self.sandbox.wrap(
            Request(
                execution_id=self.ids[run.dir],
                fence=1,
                phase="agent",
                phase_dir=run.dir,
                workspace=run.work,
                home=run.dir / "home",
                objects=self.settings.state_dir / "objects",
                argv=(python, "-I", "-S", "prisoner.py", act, *words),
                env=dict(run.spec.env) | {"HOME": str(run.dir / "home")},
                limits=limits or Limits(),
                settings=self.settings,
            )
        )
        run.spec = dataclasses.replace(
            run.spec,
            argv=wrapped.argv,
            env=wrapped.env,
            cwd=wrapped.cwd,
            rlimits=wrapped.rlimits,
            drop_caps=wrapped.drop_caps,
            ladder=(("INT", 5.0), ("TERM", 5.0)),
        )
        processes.write_spec(run.dir, run.spec)
        assert run.start() == StartCode.RUNNING, run.log()
        return run

    def told(self, run: Run) -> dict[str, Any]:
        """What the prisoner told, once it has ended well."""
        end = run.exit()
        assert end["code"] == 0, (end, run.lines("err"), run.lines())
        answer: dict[str, Any] = json.loads(run.lines()[-1])
        return answer

    def refused(self, run: Run) -> list[dict[str, Any]]:
        """What the proxy refused it."""
        return network.refusals(self.settings, self.ids[run.dir], known=0)

    def close(self) -> None:
        """End all networks and the proxy."""
        for execution_id in network.opened(self.settings):
            network.close(self.settings, execution_id)
        network.retire(self.settings)


@contextmanager
def cells_in(sandbox: Sandbox, **settings: Any) -> Iterator[Cells]:
    """Cells in a folder of their own, with nothing left of them afterwards."""
    with Runs() as runs:
        cells = Cells(runs, sandbox, **settings)
        try:
            yield cells
        finally:
            cells.close()
