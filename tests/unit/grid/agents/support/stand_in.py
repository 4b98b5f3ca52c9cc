"""A stand-in for Claude Code, Codex, OpenCode, Gemini CLI and an ACP agent: takes their flags, prints their lines, works as the scenario says.

    python -I -S stand_in.py {claude|codex|opencode|gemini|acp} FLAGS… < prompt

The scenario is the model's name, for ACP the last argument: `finish-done` and the other outcomes, `silent`, `exit-3`, `kill`,
`noise`, `wait`, and for ACP `ask` (asks for permission before it writes), `hang` (never ends) and `mute` (never answers).
An unknown flag ends the program with code 2, as in the real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def act(scenario: str) -> None:
    """The work itself, in the current directory."""
    if scenario in ("silent", "wait", "hang", "mute"):
        return
    Path("changed").write_text("x")
    name, _, rest = scenario.partition("-")
    if name == "finish":
        Path(".agentgrid").mkdir(exist_ok=True)
        Path(".agentgrid/outcome.json").write_text(json.dumps({"outcome": rest, "summary": "S."}))
    elif name == "exit":
        sys.stdout.flush()
        os._exit(int(rest))
    elif name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def say(line: Json) -> None:
    print(json.dumps(line), flush=True)


def make_noise() -> None:
    for _ in range(2):
        for fd in (1, 2):
            os.write(fd, os.urandom(100_000) + b"\n\0\377" + bytes(1_500_000) + b"\n")


def read_prompt() -> None:
    if not sys.stdin.read().strip():
        sys.exit("no prompt on standard input")


def opencode(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--format", choices=["json"], required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("--log-level", choices=["WARN"], required=True)
    for flag in ("--pure", "--print-logs"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args(arguments)
    read_prompt()
    os.chdir(given.dir)
    config = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
    scenario = config["model"].partition("/")[2]

    def part(kind: str, **fields: Any) -> None:
        say({"type": kind, "sessionID": "ses_1", "part": fields})

    part("step_start", id="prt_1")
    if scenario == "noise":
        make_noise()
    if scenario == "wait":
        time.sleep(60)
    act(scenario)
    state = {"status": "completed", "input": {"command": "true"}, "output": "", "time": {"start": 5, "end": 9}}
    part("tool_use", tool="bash", callID="call_1", state=state)
    tokens = {"input": 10, "output": 2, "reasoning": 0, "cache": {"read": 5, "write": 0}}
    part("step_finish", id="prt_2", reason="tool-calls", tokens=tokens, cost=0.001)
    part("step_start", id="prt_3")
    part("text", text="I stop here.")
    part("step_finish", id="prt_4", reason="stop", tokens=tokens, cost=0.001)


def gemini(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-m", required=True)
    parser.add_argument("--output-format", choices=["stream-json"], required=True)
    parser.add_argument("--approval-mode", choices=["yolo"], required=True)
    parser.add_argument("--skip-trust", action="store_true")
    parser.add_argument("-p", choices=[""], required=True)
    given = parser.parse_args(arguments)
    read_prompt()
    settings = json.loads((Path(os.environ["GEMINI_CLI_HOME"]) / ".gemini" / "settings.json").read_text())
    if settings["security"]["auth"]["selectedType"] != "gemini-api-key":
        sys.exit(41)
    say({"type": "init", "session_id": "s-1", "model": given.m})
    say({"type": "message", "role": "user", "content": "the prompt"})
    if given.m == "noise":
        make_noise()
    if given.m == "wait":
        time.sleep(60)
    say({"type": "tool_use", "tool_name": "run_shell_command", "tool_id": "t-1", "parameters": {"command": "true"}})
    act(given.m)
    say({"type": "tool_result", "tool_id": "t-1", "status": "success", "output": ""})
    say({"type": "message", "role": "assistant", "content": "I stop ", "delta": True})
    say({"type": "message", "role": "assistant", "content": "here.", "delta": True})
    stats = {"total_tokens": 22, "input_tokens": 20, "output_tokens": 2, "cached": 5, "models": {given.m: {}}}
    say({"type": "result", "status": "success", "stats": stats})


def claude(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("-p", "--bare", "--verbose", "--strict-mcp-config"):
        parser.add_argument(flag, action="store_true", required=True)
    parser.add_argument("--no-session-persistence", action="store_true")
    parser.add_argument("--output-format", choices=["stream-json"], required=True)
    parser.add_argument("--permission-mode", choices=["dontAsk"], required=True)
    parser.add_argument("--allowedTools", nargs="+", required=True)
    for flag in ("--model", "--tools", "--mcp-config"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--max-turns", type=int)
    parser.add_argument("--max-budget-usd", type=float)
    parser.add_argument("--resume")
    given = parser.parse_args(arguments)
    read_prompt()
    servers = [{"name": name, "status": "connected"} for name in json.loads(given.mcp_config)["mcpServers"]]
    say({"type": "system", "subtype": "ui_invalidate"})
    say({"type": "system", "subtype": "init", "session_id": "s-1", "model": given.model, "mcp_servers": servers})
    if given.model == "noise":
        make_noise()
    if given.model == "wait":
        time.sleep(60)

    def assistant(number: int, block: Json) -> None:
        usage = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5}
        message = {"id": f"msg_{number}", "model": given.model, "content": [block], "usage": usage}
        say({"type": "assistant", "message": message})

    assistant(1, {"type": "text", "text": "I begin."})
    assistant(1, {"type": "tool_use", "id": "t-1", "name": "Bash", "input": {"command": "true"}})
    act(given.model)
    say({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t-1", "content": "done"}]}})
    assistant(2, {"type": "text", "text": "I stop here."})
    used = {"inputTokens": 20, "outputTokens": 7, "cacheReadInputTokens": 10, "costUSD": 0.01}
    ending = {"is_error": False, "subtype": "success", "terminal_reason": "completed", "permission_denials": []}
    say({**ending, "model_usage_since_last_result": {given.model: used}, "type": "result"})


def codex(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("verb", choices=["exec"])
    for flag in ("--json", "--ignore-user-config", "--ignore-rules", "--skip-git-repo-check"):
        parser.add_argument(flag, action="store_true", required=True)
    parser.add_argument("--ephemeral", action="store_true")
    parser.add_argument("-m", required=True)
    parser.add_argument("-c", action="append", required=True)
    parser.add_argument("--disable", action="append")
    # "resume SESSION -" or "-" alone.
    parser.add_argument("words", nargs="+")
    given = parser.parse_intermixed_args(arguments)
    if given.words not in (["-"], ["resume", *given.words[1:2], "-"]):
        parser.error(f"unexpected words: {given.words}")
    read_prompt()
    home = Path(os.environ["CODEX_HOME"])
    if not home.is_dir() or home.is_relative_to(os.environ["TMPDIR"]):
        sys.exit("Error: CODEX_HOME cannot be used")
    say({"type": "thread.started", "thread_id": given.words[1] if len(given.words) > 1 else "s-1"})
    say({"type": "turn.started"})
    if given.m == "noise":
        make_noise()
    if given.m == "wait":
        time.sleep(60)
    command = {"id": "item_1", "type": "command_execution", "command": "true", "exit_code": None}
    say({"type": "item.started", "item": {**command, "status": "in_progress"}})
    act(given.m)
    done = {"exit_code": 0, "aggregated_output": "", "status": "completed"}
    say({"type": "item.completed", "item": {**command, **done}})
    say({"type": "item.completed", "item": {"id": "item_2", "type": "agent_message", "text": "I stop here."}})
    # A session that was taken up has 20 and 4 tokens behind it.
    earlier = len(given.words) > 1
    usage = {"input_tokens": 50 if earlier else 30, "cached_input_tokens": 5, "output_tokens": 11 if earlier else 7}
    say({"type": "turn.completed", "usage": usage})


class AcpAgent:
    """A synchronous agent: JSON-RPC lines on standard input and output."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if self.scenario != "mute" and "id" in message and "method" in message:
                say(
                    {"jsonrpc": "2.0", "id": message["id"], "result": self.answer(message["method"], message["params"])}
                )
        if self.scenario == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)

    def answer(self, method: str, params: Json) -> Json:
        if method == "initialize":
            http = self.scenario != "no-http"
            return {
                "protocolVersion": 1,
                "agentCapabilities": {"mcpCapabilities": {"http": http}},
                "agentInfo": {"name": "stand-in", "version": "1"},
            }
        if method == "session/new":
            Path("../mcp").write_text(json.dumps(params["mcpServers"]))
            return {"sessionId": "s-1"}
        if method == "session/prompt":
            Path("../got").write_text(params["prompt"][0]["text"])
            return self.turn()
        return {}

    def update(self, name: str, /, **fields: Any) -> None:
        params = {"sessionId": "s-1", "update": {"sessionUpdate": name, **fields}}
        say({"jsonrpc": "2.0", "method": "session/update", "params": params})

    def turn(self) -> Json:
        if self.scenario == "noise":
            os.write(2, os.urandom(300_000) + b"\n" + bytes(3_000_000) + b"\n")
        if self.scenario in ("wait", "hang") and self.cancelled():
            return {"stopReason": "cancelled"}
        self.update(
            "tool_call", toolCallId="c-1", title="write", kind="edit", status="pending", rawInput={"path": "changed"}
        )
        allowed = self.scenario != "ask" or self.permitted()
        if allowed:
            if self.scenario == "kill":
                Path("changed").write_text("x")
                os.kill(os.getppid(), signal.SIGKILL)
            act(self.scenario)
        self.update("tool_call_update", toolCallId="c-1", status="completed" if allowed else "failed", rawOutput="ok")
        for word in ("I stop ", "here."):
            self.update("agent_message_chunk", content={"type": "text", "text": word})
        self.update("usage_update", used=10, size=100, cost={"amount": 0.25, "currency": "USD"})
        usage = {"totalTokens": 17, "inputTokens": 10, "outputTokens": 2, "cachedReadTokens": 5}
        return {"stopReason": "max_tokens" if self.scenario == "cut" else "end_turn", "usage": usage}

    def permitted(self) -> bool:
        options = [
            {"optionId": "always", "name": "Always", "kind": "allow_always"},
            {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
            {"optionId": "no", "name": "No", "kind": "reject_once"},
        ]
        params = {"sessionId": "s-1", "toolCall": {"toolCallId": "c-1", "title": "write"}, "options": options}
        say({"jsonrpc": "2.0", "id": 900, "method": "session/request_permission", "params": params})
        chosen = json.loads(sys.stdin.readline())["result"]["outcome"].get("optionId")
        Path("../chosen").write_text(str(chosen))
        return bool(chosen == "yes")

    def cancelled(self) -> bool:
        """Waits for the client's word; an agent that hangs does not listen to it."""
        return any(json.loads(line).get("method") == "session/cancel" and self.scenario == "wait" for line in sys.stdin)


if __name__ == "__main__":
    program, *rest = sys.argv[1:]
    if program == "acp":
        AcpAgent(rest[-1]).serve()
    else:
        {"claude": claude, "codex": codex, "opencode": opencode, "gemini": gemini}[program](rest)
