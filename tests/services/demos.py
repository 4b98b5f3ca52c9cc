"""The demos by their commands, with processes that need not load everything anew, see `tests.services.loaded`.

Everything of a demo runs, in processes of its own; only how they are started differs. `make demo` is tested as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.management import call_command

from agentgrid import supervisor
from agentgrid.demo import stage
from tests.services import loaded


def play(command: str, *, folder: Path, log: Path) -> dict[str, Any]:
    """Play a demo in `folder`; returns its facts. All that it and its commands say is in `log`."""
    with log.open("w+") as said, _forked(said):
        call_command(command, "--folder", str(folder), "--json", stdout=said)
    facts: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return facts


@dataclass(slots=True)
class _Templates:
    """With Django loaded, one for each environment that a demo's processes have."""

    made: list[tuple[dict[str, str], loaded.Template]] = field(default_factory=list)

    def of(self, environment: Mapping[str, str]) -> loaded.Template:
        for known, template in self.made:
            if known == environment:
                return template
        self.made.append((dict(environment), loaded.with_django(environment)))
        return self.made[-1][1]

    def close(self) -> None:
        for _, template in self.made:
            template.close()


@contextlib.contextmanager
def _forked(said: IO[str]) -> Iterator[None]:
    """Have stages fork their commands and processes; what is not wanted elsewhere goes to `said`."""
    templates = _Templates()

    class Commands:
        def __init__(self, environment: Mapping[str, str]) -> None:
            self._environment = environment

        def run(self, args: Sequence[str], streams: Sequence[IO[bytes]]) -> int:
            out, errors = (*(stream.fileno() for stream in streams), said.fileno(), said.fileno())[:2]
            environment = self._environment
            with open(os.devnull, "rb") as nothing:
                started = templates.of(environment).start(
                    "manage", *args, environment=environment, streams=(nothing.fileno(), out, errors)
                )
            return started.wait()

        def close(self) -> None:
            """Nothing: the templates end with the demo."""

    def spawn(spec: supervisor.ProcessSpec, *, environment: Mapping[str, str], output: int) -> loaded.Forked:
        whole = {**environment, **spec.environment}
        _, _, module, *arguments = spec.command
        with open(os.devnull, "rb") as nothing:
            streams = (nothing.fileno(), output, output)
            return templates.of(whole).start(module, *arguments, environment=whole, streams=streams)

    with pytest.MonkeyPatch.context() as patch, contextlib.closing(templates):
        patch.setattr(stage, "_Commands", Commands)
        patch.setattr(supervisor, "spawn", spawn)
        yield
