"""Runs an agent the way a host does, without a shim: place files, start, feed the lines, judge.

The built-in agent is forked from a Python that has loaded it (see `tests.services.loaded`), which takes hundredths of a
second where its program takes one or more to load; tests that are about the program ask for that.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grid.agents import builtin, registry
from grid.agents.base import Launch, ParsedEvent, RunFiles, Verdict
from grid.agents.errors import InvalidOutcomeError
from grid.agents.outcome import read_outcome_file
from grid.phases import Ended
from grid.public_types import Outcome
from tests.services import loaded

type Process = subprocess.Popen[bytes] | loaded.Forked
_BUILTIN = ("-I", str(Path(builtin.__file__).with_name("__main__.py")))
"""What the adapter's command begins with, after Python itself."""


@dataclass(kw_only=True)
class Ran:
    """All that is known about a run."""

    events: list[ParsedEvent]
    verdict: Verdict
    ended: Ended
    out: bytes
    err: bytes
    seconds: float

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [event.body for event in self.events if event.kind == kind]


@dataclass(kw_only=True)
class Place:
    """A workspace and a HOME below a temporary folder."""

    root: Path

    @property
    def files(self) -> RunFiles:
        return RunFiles(
            workspace=self.root / "workspace", home=self.root / "home", python=sys.executable, path="/usr/bin:/bin"
        )

    def start(self, launch: Launch, env: Mapping[str, str], *, is_forked: bool = True) -> Process:
        """Prompt and output are files, as under a shim: nobody else can take bytes out of them."""
        self.files.workspace.mkdir(exist_ok=True)
        for name, data in launch.files.items():
            target = self.files.home / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o600)
        (self.root / "prompt").write_bytes(launch.prompt)
        with (
            (self.root / "prompt").open("rb") as prompt,
            (self.root / "out").open("wb") as out,
            (self.root / "err").open("wb") as err,
        ):
            environment = {**launch.env, **env}
            if is_forked and launch.argv[1:3] == _BUILTIN:
                return loaded.of_agent().start(
                    "grid.agents.builtin.__main__",
                    *launch.argv[3:],
                    environment=environment,
                    streams=(prompt.fileno(), out.fileno(), err.fileno()),
                    folder=self.files.workspace,
                )
            return subprocess.Popen(
                launch.argv,
                env=environment,
                cwd=self.files.workspace,
                stdin=prompt,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def run(
        self,
        adapter_name: str,
        options: Mapping[str, Any],
        *,
        prompt: str = "Do it.",
        env: Mapping[str, str] | None = None,
        reason: str = "exited",
        meanwhile: Callable[[Process], None] | None = None,
        wrap: tuple[str, ...] = (),
        is_forked: bool = True,
        timeout: float = 90,
    ) -> Ran:
        """Run to the end; `meanwhile` is called once with the process, `reason` is what a shim would report, `wrap` starts it."""
        adapter = registry.get(adapter_name)
        launch = adapter.launch(options=options, files=self.files, prompt=prompt)
        begun = time.monotonic()
        process = self.start(dataclasses.replace(launch, argv=(*wrap, *launch.argv)), env or {}, is_forked=is_forked)
        if meanwhile is not None:
            threading.Thread(target=meanwhile, args=[process], daemon=True).start()
        try:
            process.wait(timeout)
        finally:
            process.kill()
            process.wait()
        out, err = (self.root / "out").read_bytes(), (self.root / "err").read_bytes()
        code = process.returncode
        ended = Ended(
            reason=reason,
            exit_code=code if code >= 0 else None,
            exit_signal=-code if code < 0 else None,
            seconds=time.monotonic() - begun,
        )
        parser, events = adapter.parser(), []
        for stream, data in (("out", out), ("err", err)):
            for line in data.decode("utf-8", "replace").replace("\0", "").split("\n"):
                events += parser.feed("out" if stream == "out" else "err", line)
        verdict = adapter.verdict(parser=parser, ended=ended, outcome_file=self.report(), changed=self.has_changed())
        return Ran(events=events, verdict=verdict, ended=ended, out=out, err=err, seconds=ended.seconds)

    def report(self) -> Outcome | InvalidOutcomeError | None:
        try:
            return read_outcome_file(self.files.workspace)
        except InvalidOutcomeError as error:
            return error

    def has_changed(self) -> bool:
        return any(path.name != ".agentgrid" for path in self.files.workspace.iterdir())
