"""An agent's report, read with suspicion.

{"outcome": "split", "summary": "…", "comment": "…",
 "children": [{"key": "parser", "title": "…", "body": "…", "blocked_by": [], "acceptance": []}]}
"""

from __future__ import annotations

import errno
import graphlib
import json
import os
import stat
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from grid.agents import validation
from grid.agents.base import OUTCOME_FILE
from grid.agents.bounds import clean_json
from grid.agents.errors import InvalidOutcomeError
from grid.locks.patterns import parse
from grid.public_errors import LockPatternError
from grid.public_types import ChildProposal, Outcome, OutcomeKind

MAX_BYTES = 256 * 1024
MAX_CHILDREN = 100

_Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]{0,59})?$")]
_Command = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


def _place(text: str) -> str:
    try:
        return parse(text).text
    except LockPatternError as error:
        raise ValueError(str(error)) from error


_Footprint = Annotated[str, AfterValidator(_place)]


class _Child(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: _Key
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
    body: Annotated[str, StringConstraints(max_length=65_536)] = ""
    blocked_by: list[_Key] = Field(default_factory=list, max_length=MAX_CHILDREN)
    acceptance: list[_Command] = Field(default_factory=list, max_length=20)
    profile: _Name = ""
    prompt: _Name = ""
    footprint: list[_Footprint] = Field(default_factory=list, max_length=50)


class _Resolution(BaseModel):
    model_config = ConfigDict(extra="forbid")

    conflict: Annotated[int, Field(ge=1, le=2**53)]
    choice: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,20}$")]
    order: list[Annotated[int, Field(ge=1, le=2**53)]] = Field(default_factory=list, max_length=2)
    reason: Annotated[str, StringConstraints(max_length=1_000)] = ""


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: OutcomeKind
    summary: Annotated[str, StringConstraints(max_length=20_000)] = ""
    children: list[_Child] = Field(default_factory=list, max_length=MAX_CHILDREN)
    comment: Annotated[str, StringConstraints(max_length=65_536)] = ""
    resolutions: list[_Resolution] = Field(default_factory=list, max_length=20)

    @model_validator(mode="after")
    def _children_fit(self) -> _Report:
        if self.outcome == OutcomeKind.SPLIT and not self.children:
            raise ValueError("outcome 'split' needs at least one entry in 'children'")
        if self.outcome != OutcomeKind.SPLIT and self.children:
            raise ValueError(f"outcome '{self.outcome}' may not have 'children'; report 'split' or leave them out")
        _check_keys(self.children)
        return self


_KNOWN_KEYS = frozenset(_Report.model_fields) | frozenset(_Child.model_fields) | frozenset(_Resolution.model_fields)


def _check_keys(children: list[_Child]) -> None:
    """Refuse keys that are used twice, unknown blockers and cycles."""
    keys = [child.key for child in children]
    for index, child in enumerate(children):
        if child.key in keys[:index]:
            raise ValueError(f"children.{index}.key: '{child.key}' is used twice")
        for blocker in child.blocked_by:
            if blocker not in keys:
                raise ValueError(f"children.{index}.blocked_by: there is no sibling with the key '{blocker}'")
    try:
        graphlib.TopologicalSorter({child.key: child.blocked_by for child in children}).prepare()
    except graphlib.CycleError as error:
        raise ValueError(f"'blocked_by' goes in a circle: {' -> '.join(error.args[1][:10])}") from error


def parse_outcome(data: bytes) -> Outcome:
    """Read a report of an agent.

    Raises:
        InvalidOutcomeError: The message names the place and the broken rule, so that an agent can correct itself.
    """
    if len(data) > MAX_BYTES:
        raise InvalidOutcomeError(f"{len(data)} bytes are too many; at most {MAX_BYTES} are read")
    try:
        value = clean_json(json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant))
    except UnicodeDecodeError as error:
        raise InvalidOutcomeError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise InvalidOutcomeError("nested too deeply") from error
    except ValueError as error:
        raise InvalidOutcomeError(f"not JSON: {error}") from error
    try:
        report = _Report.model_validate(value)
    except ValidationError as error:
        raise InvalidOutcomeError(validation.in_words(error, _KNOWN_KEYS)) from error
    children = tuple(
        ChildProposal(
            key=child.key,
            title=child.title,
            body=child.body,
            blocked_by=tuple(dict.fromkeys(child.blocked_by)),
            acceptance=tuple(child.acceptance),
            profile=child.profile,
            prompt=child.prompt,
            footprint=tuple(dict.fromkeys(child.footprint)),
        )
        for child in report.children
    )
    return Outcome(
        kind=report.outcome,
        summary=report.summary,
        children=children,
        comment=report.comment,
        resolutions=tuple(one.model_dump() for one in report.resolutions),
    )


def encode_outcome(value: dict[str, Any]) -> bytes:
    """A report as `parse_outcome` reads it."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def report_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome in the shape that people and agents write."""
    children = [
        {
            "key": child.key,
            "title": child.title,
            "body": child.body,
            "blocked_by": list(child.blocked_by),
            "acceptance": list(child.acceptance),
            **{name: value for name, value in _optional(child) if value},
        }
        for child in outcome.children
    ]
    more = {"resolutions": [dict(one) for one in outcome.resolutions]} if outcome.resolutions else {}
    shown = {"outcome": outcome.kind, "summary": outcome.summary, "children": children, "comment": outcome.comment}
    return {**shown, **more}


def _optional(child: ChildProposal) -> tuple[tuple[str, Any], ...]:
    return ("profile", child.profile), ("prompt", child.prompt), ("footprint", list(child.footprint))


def read_outcome_file(workspace: Path) -> Outcome | None:
    """The report at `.agentgrid/outcome.json`; None when there is none.

    The workspace belongs to the agent, who may have put anything there: no symbolic link is followed, nothing but a
    regular file is read, and nothing can make this wait.

    Raises:
        InvalidOutcomeError: There is something, but not a valid report.
    """
    folder_name, file_name = OUTCOME_FILE.split("/")
    opened: list[int] = []
    try:
        opened.append(os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        opened.append(os.open(folder_name, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
        opened.append(os.open(file_name, flags, dir_fd=opened[-1]))
        found = os.fstat(opened[-1])
        if not stat.S_ISREG(found.st_mode):
            raise InvalidOutcomeError("not a regular file")
        return parse_outcome(_read_bounded(opened[-1]))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise InvalidOutcomeError("reached through a symbolic link or something that is no folder") from error
        raise InvalidOutcomeError(f"cannot be read: {error.strerror}") from error
    finally:
        for fd in reversed(opened):
            os.close(fd)


def _read_bounded(fd: int) -> bytes:
    """At most one byte more than the limit, so that `parse_outcome` can refuse it."""
    data = b""
    while len(data) <= MAX_BYTES and (chunk := os.read(fd, MAX_BYTES + 1 - len(data))):
        data += chunk
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
