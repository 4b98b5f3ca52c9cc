"""The built-in agent's own tools. A tool that cannot do what was asked says so to the model, and the loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from grid.agents.builtin import commands
from grid.agents.builtin.session import Session
from grid.agents.builtin.workspace import RefusedError
from grid.agents.errors import InvalidOutcomeError
from grid.agents.outcome import MAX_CHILDREN, encode_outcome, parse_outcome
from grid.public_types import Outcome
from grid.toolkit.errors import ToolRefusedError
from grid.toolkit.tools import Tool, tool

_File = Annotated[str, Field(description="File, relative to the workspace.")]
_OUTCOMES = (
    "'done': the issue is solved; 'split': you proposed children; 'blocked': a human is needed; "
    "'nothing_to_do': it was solved before; 'failed': you give up."
)


class Child(BaseModel):
    """A sub-issue to propose."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(description="Short name of your own, unique: a-z, 0-9 and '-', at most 40 characters.")]
    title: Annotated[str, Field(description="Title, at most 256 characters.")]
    body: Annotated[str, Field(description="All that somebody needs who knows nothing but the repository.")]
    blocked_by: Annotated[list[str], Field(description="Keys of proposed children that must be done first.")] = []
    acceptance: Annotated[list[str], Field(description="Shell commands that exit 0 when it is done.")] = []
    footprint: Annotated[list[str], Field(description="Paths and patterns that it will change.")] = []
    profile: Annotated[str, Field(description="Name of the profile to run under; empty: the usual one.")] = ""
    prompt: Annotated[str, Field(description="Name of a prompt of the library; empty: the usual one.")] = ""


async def list_files(
    session: Session, path: Annotated[str, Field(description="Relative to the workspace.")] = "."
) -> str:
    """List the files below a folder of the workspace."""
    return "\n".join(_allowed(session.workspace.paths, path)) or "(nothing)"


async def read_file(
    session: Session,
    path: _File,
    first_line: Annotated[int, Field(ge=1, description="Where to begin, counted from 1.")] = 1,
    lines: Annotated[int, Field(ge=1, description="How many lines to read at most.")] = 2_000,
) -> str:
    """Read a text file."""
    return _allowed(session.workspace.read, path, first_line=first_line, lines=lines)


async def write_file(
    session: Session, path: _File, content: Annotated[str, Field(description="The whole new content.")]
) -> str:
    """Create or replace a text file; folders are made as needed."""
    return _allowed(session.workspace.write, path, content)


async def edit_file(
    session: Session,
    path: _File,
    old: Annotated[str, Field(description="The exact text to replace; it must occur exactly once.")],
    new: Annotated[str, Field(description="What comes in its place.")],
) -> str:
    """Replace one piece of a text file."""
    return _allowed(session.workspace.edit, path, old, new)


async def run_command(
    session: Session,
    command: Annotated[str, Field(description="For /bin/sh. What it leaves in the background is killed.")],
    timeout_seconds: Annotated[int, Field(ge=1, le=3_600, description="When to give up.")] = 120,
) -> str:
    """Run a shell command in the workspace and wait for it. There is no input and no terminal."""
    limit = min(timeout_seconds, session.options.command_timeout_seconds)
    try:
        ran = await commands.run(
            command,
            cwd=session.workspace.root,
            env=session.command_env,
            timeout_seconds=limit,
            stopping=session.stopping,
        )
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise ToolRefusedError(f"the command could not be started: {error}") from error
    return f"{ran.how}\n{ran.output}"


async def propose_children(
    session: Session, children: Annotated[list[Child], Field(min_length=1, max_length=MAX_CHILDREN)]
) -> str:
    """Propose sub-issues, to be worked on by other agents. Then call finish with the outcome 'split'. Proposing a key again replaces it."""
    merged = {child["key"]: child for child in session.children} | {c.key: c.model_dump() for c in children}
    proposed = list(merged.values())
    # Blockers may still be proposed, so everything but them is checked now.
    _checked({"outcome": "split", "children": [child | {"blocked_by": []} for child in proposed]})
    session.children = proposed
    return f"{len(proposed)} proposed: {', '.join(merged)}"


async def finish(
    session: Session,
    outcome: Annotated[Literal["done", "split", "blocked", "nothing_to_do", "failed"], Field(description=_OUTCOMES)],
    summary: Annotated[str, Field(description="What you did and how to check it, or why you could not.")],
    comment: Annotated[str, Field(description="Optional text to be shown on the issue.")] = "",
) -> str:
    """End your work with a report. Nothing happens after it."""
    if session.children and outcome != "split":
        raise ToolRefusedError(f"you proposed children, so the outcome must be 'split', not '{outcome}'")
    report = {"outcome": outcome, "summary": summary, "children": session.children, "comment": comment}
    session.outcome = _checked(report)
    return "finished"


def _allowed[**P, T](function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of the workspace; its refusals go to the model."""
    try:
        return function(*args, **kwargs)
    except (RefusedError, OSError) as error:
        raise ToolRefusedError(str(error)) from error


def _checked(report: dict[str, Any]) -> Outcome:
    try:
        return parse_outcome(encode_outcome(report))
    except InvalidOutcomeError as error:
        raise ToolRefusedError(f"not accepted: {error}") from error


def local_tools(allowed: Collection[str] | None) -> list[Tool]:
    """The tools that work here; None allows all. `finish` is always there: every run ends by it."""
    tools = (
        tool(list_files, effects={"read"}, path_arguments=("path",)),
        tool(read_file, effects={"read"}, path_arguments=("path",)),
        tool(write_file, effects={"write"}, path_arguments=("path",)),
        tool(edit_file, effects={"write"}, path_arguments=("path",)),
        tool(run_command, effects={"execute"}),
        tool(propose_children, effects={"report"}),
        tool(finish, effects={"report"}),
    )
    return [each for each in tools if allowed is None or each.name in allowed or each.name == "finish"]
