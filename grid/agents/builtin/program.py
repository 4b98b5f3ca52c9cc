"""Sets one run of the built-in agent up, and always ends it with a terminal event."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from grid.agents.builtin.loop import Ending, report_or_none, run
from grid.agents.builtin.models import ModelUnavailableError, build_model
from grid.agents.builtin.options import PROVIDER_KEYS, SCRIPTED, Options, read_options
from grid.agents.builtin.report import Report
from grid.agents.builtin.scripted import ScriptFailedError
from grid.agents.builtin.session import Session
from grid.agents.builtin.workspace import Workspace
from grid.agents.errors import InvalidOptionsError

_EXIT_CODES = {"ok": 0, "failed": 1, "limit": 1, "interrupted": 130}
_MAX_PROMPT_BYTES = 4 << 20


def main(argv: list[str]) -> int:
    """Run the agent. Returns the process's exit code; the terminal event is what counts."""
    report = Report(sys.stdout.fileno())
    try:
        options, script = _read_files(Path(argv[1]))
        prompt = _read_prompt()
        model = build_model(options, script=script, prompt=prompt, env=os.environ)  # noqa: TID251 - a program of its own
    except (IndexError, OSError, ValueError, InvalidOptionsError, ModelUnavailableError, ScriptFailedError) as error:
        report.result(status="failed", outcome=None, error=str(error), usage={})
        return 1
    report.emit("start", model=options.model, pid=os.getpid())
    workspace = Workspace(Path.cwd())
    session = Session(options=options, workspace=workspace, report=report, command_env=_command_env())

    async def work() -> Ending:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, session.stopping.set)
        return await run(model=model, prompt=prompt, session=session)

    ending = asyncio.run(work())
    outcome = report_or_none(session, ending.status)
    report.result(status=ending.status, outcome=outcome, error=ending.error, usage=ending.usage)
    workspace.close()
    return _EXIT_CODES[ending.status]


def _read_files(path: Path) -> tuple[Options, str]:
    """Options and script, as the adapter placed them."""
    given = json.loads(path.read_bytes())
    script_file = given.pop("script_file", "")
    script = (path.parent.parent / script_file).read_text("utf-8") if script_file else ""
    if given.get("model") == SCRIPTED:
        given["script"] = script
    return read_options(given), script


def _read_prompt() -> str:
    data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise ValueError(f"the prompt is larger than {_MAX_PROMPT_BYTES} bytes")
    if not data.strip():
        raise ValueError("there is no prompt on standard input")
    return data.decode("utf-8", "replace")


def _command_env() -> dict[str, str]:
    """The agent's environment without the model's keys."""
    return {key: value for key, value in os.environ.items() if key not in PROVIDER_KEYS}  # noqa: TID251 - see main
