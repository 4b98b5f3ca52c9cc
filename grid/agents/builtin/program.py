"""Sets one run of the built-in agent up, and always ends it with a terminal event."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic_ai.models import Model

from grid.agents.base import TOKEN_ENV
from grid.agents.builtin.grid_tools import GridLostError, GridServer
from grid.agents.builtin.inbox import Inbox
from grid.agents.builtin.locks import GridLocks, usable
from grid.agents.builtin.loop import Ending, report_or_none, run
from grid.agents.builtin.models import ModelUnavailableError, build_model
from grid.agents.builtin.options import KEY_VARIABLES, SCRIPTED, Options, read_options
from grid.agents.builtin.report import Report
from grid.agents.builtin.scripted import ScriptFailedError
from grid.agents.builtin.session import Session
from grid.agents.builtin.tools import local_tools
from grid.agents.builtin.workspace import Workspace
from grid.agents.errors import InvalidOptionsError
from grid.toolkit import mixins

_EXIT_CODES = {"ok": 0, "failed": 1, "limit": 1, "interrupted": 130}
_MAX_PROMPT_BYTES = 4 << 20
_MAX_PROMPT_LINE = 6 * _MAX_PROMPT_BYTES  # every byte of it escaped
_CHUNK = 65_536


def main(argv: list[str]) -> int:
    """Run the agent. Returns the process's exit code; the terminal event is what counts."""
    report = Report(sys.stdout.fileno())
    environment: Mapping[str, str] = os.environ  # noqa: TID251 - a program of its own
    try:
        options, script = _read_files(Path(argv[1]))
        prompt, rest = _read_prompt(sys.stdin.fileno())
        model = build_model(options, script=script, prompt=prompt, env=environment)
    except (IndexError, OSError, ValueError, InvalidOptionsError, ModelUnavailableError, ScriptFailedError) as error:
        report.result(status="failed", outcome=None, error=str(error), usage={})
        return 1
    report.emit("start", model=options.model, pid=os.getpid())
    workspace, locks = Workspace(Path.cwd()), GridLocks()
    session = Session(
        options=options,
        workspace=workspace,
        report=report,
        command_env=_command_env(environment),
        tools=local_tools(options.tools),
        hooks=mixins.build_all(options.mixins, mixins.Services(record=_recorder(report), locks=locks)),
    )
    ending = asyncio.run(_work(session, model, prompt, rest, token=environment.get(TOKEN_ENV, ""), locks=locks))
    outcome = report_or_none(session, ending.status)
    report.result(status=ending.status, outcome=outcome, error=ending.error, usage=ending.usage)
    workspace.close()
    return _EXIT_CODES[ending.status]


async def _work(session: Session, model: Model, prompt: str, rest: bytes, *, token: str, locks: GridLocks) -> Ending:
    """Listen to signals and messages, reach the grid's tools, run the loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, session.stopping.set)
    _listen(sys.stdin.fileno(), session.inbox, session.report, rest)
    if not session.options.grid_url:
        return await run(model=model, prompt=prompt, session=session)
    server = GridServer(url=session.options.grid_url, token=token)
    try:
        session.tools = [*session.tools, *await server.tools(session.options.grid_tools)]
        if usable(session.options.grid_tools):
            locks.connect(server)
        return await run(model=model, prompt=prompt, session=session)
    except GridLostError as lost:
        return Ending(status="failed", error=str(lost), usage={})
    finally:
        await server.close()


def _listen(fd: int, inbox: Inbox, report: Report, rest: bytes) -> None:
    """Feed the inbox with what came with the prompt, and with all that still comes where standard input stays open."""

    def take(data: bytes) -> None:
        for refused in inbox.feed(data):
            report.emit("inbox", id=refused.id, state="refused", reason=refused.reason)

    take(rest)
    mode = os.fstat(fd).st_mode
    while stat.S_ISREG(mode) and (data := os.read(fd, _CHUNK)):
        take(data)
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    loop = asyncio.get_running_loop()

    def ready() -> None:
        data = os.read(fd, _CHUNK)
        if not data:
            loop.remove_reader(fd)
        take(data)

    loop.add_reader(fd, ready)


def _recorder(report: Report) -> Callable[[Mapping[str, Any]], None]:
    """Prints what the mixin `trace` records."""
    return lambda record: report.emit("trace", **record)


def _read_files(path: Path) -> tuple[Options, str]:
    """Options and script, as the adapter placed them."""
    given = json.loads(path.read_bytes())
    script_file = given.pop("script_file", "")
    script = (path.parent.parent / script_file).read_text("utf-8") if script_file else ""
    if given.get("model") == SCRIPTED:
        given["script"] = script
    return read_options(given), script


def _read_prompt(fd: int) -> tuple[str, bytes]:
    """The prompt, which is the first line, and what came after it."""
    data = bytearray()
    while b"\n" not in data and len(data) <= _MAX_PROMPT_LINE and (chunk := os.read(fd, _CHUNK)):
        data += chunk
    line, _, rest = bytes(data).partition(b"\n")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    text = said.get("text") if isinstance(said, dict) and said.get("type") == "prompt" else None
    if not isinstance(text, str):
        raise ValueError('the first line on standard input must be {"type": "prompt", "text": "…"}')
    if len(text.encode("utf-8", "replace")) > _MAX_PROMPT_BYTES:
        raise ValueError(f"the prompt is larger than {_MAX_PROMPT_BYTES} bytes")
    if not text.strip():
        raise ValueError("the prompt is empty")
    return text, rest


def _command_env(environment: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without the model's keys and the token for the grid: the agent has tools for both."""
    hidden = {TOKEN_ENV, *KEY_VARIABLES.values()}
    return {key: value for key, value in environment.items() if key not in hidden}
