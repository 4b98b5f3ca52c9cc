"""One session with one prompt, which always ends with a terminal event.

{"type": "start", "agent": "name version", "session": "…"}
{"sessionUpdate": "agent_message_chunk", …}          the agent's updates as they come
{"type": "inbox", "id": "…", "state": "seen"}          a message was given to the agent
{"type": "permission", "allowed": false, "kind": "execute", "toolCallId": "…", "title": "…"}
{"type": "result", "status": "ok", "stop_reason": "end_turn", "error": "", "usage": {…}}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import acp
from acp.schema import ClientCapabilities, HttpHeader, HttpMcpServer, Implementation, PromptResponse

from grid.agents.acp_client.client import GridClient, plain, print_line
from grid.agents.acp_client.inbox import Inbox, Lines, read_prompt
from grid.agents.acp_client.locks import PathLocks

Status = Literal["ok", "failed", "interrupted"]

_MAX_MESSAGE_BYTES = 16 << 20
_START_SECONDS = 60.0
_CANCEL_SECONDS = 3.0
"""How long an agent may take to end a cancelled turn; below the shim's own grace."""
_LATE_SECONDS = 0.3
"""Some agents tell usage and cost just after the end of the turn."""
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the session ended."""

    status: Status
    error: str = ""
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


class _SetupError(Exception):
    """The run cannot begin; the message says what to do."""


class _StoppedError(Exception):
    """A signal came before the prompt was given."""


def main(argv: list[str]) -> int:
    """Run the session. Returns the process's exit code; the terminal event is what counts."""
    try:
        config = json.loads(Path(argv[1]).read_bytes())
        lines = Lines(sys.stdin.fileno())
        prompt = read_prompt(lines)
        servers = _mcp_servers(config["mcp"])
        ending = asyncio.run(_run(config, servers, prompt, lines))
    except (IndexError, KeyError, OSError, ValueError, _SetupError) as error:
        ending = Ending(status="failed", error=str(error))
        _print_result(ending)
    return 0 if ending.status == "ok" else 1


async def _run(config: dict[str, Any], servers: list[HttpMcpServer], prompt: str, lines: Lines) -> Ending:
    """Start the agent, hold the session, print the terminal event, end the agent."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        # In a session of its own: a signal to our group reaches this program alone, which can then end the turn politely.
        process = await asyncio.create_subprocess_exec(
            *config["argv"], stdin=PIPE, stdout=PIPE, limit=_MAX_MESSAGE_BYTES, start_new_session=True
        )
    except OSError as error:
        raise _SetupError(f"cannot start '{config['argv'][0]}': {error.strerror}") from error
    inbox = Inbox()
    locks = PathLocks(str(Path.cwd()), tell=inbox.add) if config.get("ask_locks") else None
    client = cast(acp.Client, GridClient(frozenset(config["allow"]), locks))
    connection = acp.connect_to_agent(client, process.stdin, process.stdout)
    try:
        inbox.listen(lines)
        ending = await _converse(connection, config.get("mode") or "", servers, prompt, stopping, inbox)
    except acp.RequestError as error:
        ending = Ending(status="failed", error=f"{error}{_details(error)}")
    except TimeoutError:
        ending = Ending(status="failed", error=f"no answer in {_START_SECONDS:.0f} s: does this program speak ACP?")
    except (ConnectionError, ValueError) as error:
        ending = Ending(status="failed", error=await _why_gone(process) or f"the connection broke: {error}")
    except _SetupError as error:
        ending = Ending(status="failed", error=str(error))
    except _StoppedError:
        ending = Ending(status="interrupted", error="stopped by a signal before the prompt was given")
    # Before the agent is ended: one that hangs must not take the result with it.
    _print_result(ending)
    await _end(process)
    with contextlib.suppress(Exception):
        await connection.close()
    return ending


async def _converse(
    connection: acp.ClientSideConnection,
    mode: str,
    servers: list[HttpMcpServer],
    prompt: str,
    stopping: asyncio.Event,
    inbox: Inbox,
) -> Ending:
    opening = asyncio.create_task(_open(connection, mode, servers))
    await _first(opening, stopping)
    if not opening.done():
        opening.cancel()
        raise _StoppedError
    session = opening.result()

    while True:
        turn = asyncio.create_task(connection.prompt(session_id=session, prompt=[acp.text_block(prompt)]))
        await _first(turn, stopping)
        if not turn.done():
            break
        answer = turn.result()
        await asyncio.sleep(_LATE_SECONDS)
        # The protocol takes no words within a turn: what came meanwhile makes another one.
        if answer.stop_reason != "end_turn" or not (prompt := inbox.take()):
            return _ending(answer)
    await connection.cancel(session_id=session)
    await asyncio.wait({turn}, timeout=_CANCEL_SECONDS)
    polite = turn.done() and not turn.cancelled() and turn.exception() is None
    turn.cancel()
    return Ending(
        status="interrupted",
        error="stopped by a signal" if polite else "stopped by a signal; the agent did not end its turn",
        usage=_usage(turn.result()) if polite else {},
    )


async def _open(connection: acp.ClientSideConnection, mode: str, servers: list[HttpMcpServer]) -> str:
    """Begin a session. Returns its id."""
    async with asyncio.timeout(_START_SECONDS):
        about = await connection.initialize(
            protocol_version=acp.PROTOCOL_VERSION,
            client_capabilities=ClientCapabilities(),
            client_info=Implementation(name="agent-grid", version="0"),
        )
        can = about.agent_capabilities and about.agent_capabilities.mcp_capabilities
        if servers and not (can and can.http):
            raise _SetupError("this agent takes no MCP servers over HTTP: leave 'mcp' out")
        session = await connection.new_session(cwd=str(Path.cwd()), mcp_servers=list(servers))
        if mode:
            await connection.set_session_mode(session_id=session.session_id, mode_id=mode)
    info = about.agent_info
    name = f"{info.name} {info.version}" if info else "an ACP agent"
    print_line({"type": "start", "agent": name, "session": session.session_id})
    return str(session.session_id)


async def _first(task: asyncio.Task[Any], stopping: asyncio.Event) -> None:
    """Wait for the task or for a signal."""
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


def _ending(answer: PromptResponse) -> Ending:
    words = {
        "max_tokens": "the model's answer was cut off at its longest",
        "max_turn_requests": "the agent reached its limit of model requests",
        "refusal": "the model refused",
        "cancelled": "the agent cancelled the turn itself",
    }
    error = "" if answer.stop_reason == "end_turn" else words.get(answer.stop_reason, answer.stop_reason)
    status: Status = "failed" if error else "ok"
    return Ending(status=status, error=error, stop_reason=answer.stop_reason, usage=_usage(answer))


def _usage(answer: PromptResponse) -> dict[str, Any]:
    return plain(answer.usage) if answer.usage else {}


def _details(error: acp.RequestError) -> str:
    """What a JSON-RPC error says beside its message."""
    return f": {json.dumps(error.data)[:500]}" if error.data else ""


async def _why_gone(process: Process) -> str:
    """How the agent's process left; empty when it still runs."""
    try:
        code = await asyncio.wait_for(process.wait(), _CLOSE_SECONDS)
    except TimeoutError:
        return ""
    return f"the agent left before the end of its turn: {f'exit {code}' if code >= 0 else f'signal {-code}'}"


async def _end(process: Process) -> None:
    """Close the agent's input, then TERM, then KILL to its group. What moved to other groups is left to the shim."""
    if process.stdin is not None:
        process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            await asyncio.wait_for(process.wait(), _CLOSE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
    await process.wait()


def _mcp_servers(servers: dict[str, dict[str, str]]) -> list[HttpMcpServer]:
    """The servers of tools with their tokens, which come from the environment."""
    found = []
    for name, server in servers.items():
        token = os.environ.get(server["token_env"], "")  # noqa: TID251 - a program of its own
        if not token:
            raise _SetupError(
                f"the variable {server['token_env']} with the token for the MCP server '{name}' is not set"
            )
        header = HttpHeader(name="Authorization", value=f"Bearer {token}")
        found.append(HttpMcpServer(type="http", name=name, url=server["url"], headers=[header]))
    return found


def _print_result(ending: Ending) -> None:
    print_line(
        {
            "type": "result",
            "status": ending.status,
            "stop_reason": ending.stop_reason,
            "error": ending.error[:2_000],
            "usage": ending.usage,
        }
    )
