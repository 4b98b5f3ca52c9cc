"""Any program as an agent: prompt on standard input, work in the working directory, optionally a report in a file.

options {"command": "shell command"}   run as /bin/sh -c
options {"argv": ["program", "--flag"]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from grid.agents import validation
from grid.agents.base import (
    BASE_FILES,
    OUTCOME_FILE,
    Launch,
    OutputLines,
    Parser,
    RunFiles,
    Verdict,
    Wired,
    Wiring,
    base_environment,
    came_from_outside,
    judge_report,
)
from grid.agents.errors import InvalidOptionsError, InvalidOutcomeError
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind

# Linux refuses one argument of 128 KiB and more.
_Argument = Annotated[str, StringConstraints(max_length=30_000, pattern=r"^[^\x00]*$")]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    command: _Argument = ""
    argv: list[_Argument] = Field(default_factory=list, max_length=256)

    @model_validator(mode="after")
    def _one_of_both(self) -> _Options:
        if bool(self.command.strip()) == bool(self.argv):
            raise ValueError('give either {"command": "a shell command"} or {"argv": ["program", "argument"]}')
        if self.argv and not self.argv[0].strip():
            raise ValueError("argv.0 is empty: name the program")
        return self


def _read(options: Mapping[str, Any]) -> _Options:
    try:
        return _Options.model_validate(dict(options))
    except ValidationError as error:
        words = validation.in_words(error, _Options.model_fields)
        raise InvalidOptionsError(f"options of the agent 'command': {words}") from error


class CommandAdapter:
    """Adapter for any program."""

    name = "command"
    connects = False
    listens = False

    def validate(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidOptionsError unless exactly one of `command` and `argv` is given."""
        _read(options)

    def wired(self, *, options: Mapping[str, Any], wiring: Wiring) -> Wired:
        """Options as they are: any program finds address and token in its environment, and `gridctl` in its PATH."""
        return Wired(options=options)

    def launch(self, *, options: Mapping[str, Any], files: RunFiles, prompt: str) -> Launch:
        """Start the command with the prompt on standard input."""
        given = _read(options)
        argv = tuple(given.argv) or ("/bin/sh", "-c", given.command)
        return Launch(
            argv=argv, env=base_environment(files), prompt=prompt.encode("utf-8", "replace"), files=dict(BASE_FILES)
        )

    def parser(self) -> Parser:
        """Lines of output become events as they are."""
        return OutputLines()

    def verdict(
        self, *, parser: Parser, ended: Ended, outcome_file: Outcome | InvalidOutcomeError | None, changed: bool
    ) -> Verdict:
        """The report counts most; without one, exit code 0 together with a change means done."""
        if isinstance(outcome_file, InvalidOutcomeError):
            return Verdict(ok=False, outcome=None, reason=f"invalid {OUTCOME_FILE}: {outcome_file}")
        if came_from_outside(ended):
            return Verdict(ok=False, outcome=outcome_file, reason=ended.in_words())
        if outcome_file is not None:
            return judge_report(outcome_file, ended)
        if not ended.ok:
            return Verdict(ok=False, outcome=None, reason=ended.in_words())
        if not changed:
            return Verdict(ok=False, outcome=None, reason=f"exit 0, but neither a change nor {OUTCOME_FILE}")
        done = Outcome(kind=OutcomeKind.DONE, summary="The command left with exit code 0 and a change.")
        return Verdict(ok=True, outcome=done, reason="exit 0 with a change")
