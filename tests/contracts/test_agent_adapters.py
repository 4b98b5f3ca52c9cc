"""What every agent adapter must do, with real processes behind each of them.

A world says how its adapter's agent is made to behave in one way; the tests say what must come of it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.agents import registry
from grid.agents.base import MAX_OUTPUT_EVENTS, Stream
from grid.agents.bounds import MAX_EVENT_BYTES
from grid.agents.errors import InvalidOutcomeError
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind
from tests.unit.grid.agents.support import doubles
from tests.unit.grid.agents.support.runs import Place, Ran

KINDS = {
    "agent.message",
    "agent.output",
    "agent.error",
    "agent.inbox",
    "tool.requested",
    "tool.result",
    "tool.trace",
    "llm.result",
}
NOISE_COMMAND = "head -c 300000 /dev/urandom; printf '\\000\\377'; head -c 3000000 /dev/zero"
LIMITS = ("wall", "idle", "output", "disk")
FROM_OUTSIDE = ("cancelled", "interrupted", "fenced", "not_started", "shim_failed", "killed", "over_budget", "anything")


class CommandWorld:
    """The agent `command`: shell scripts that behave as asked."""

    name = "command"

    def finishing(self, kind: str) -> dict[str, Any]:
        report = json.dumps({"outcome": kind, "summary": "S."})
        return {"command": f"mkdir .agentgrid; echo '{report}' > .agentgrid/outcome.json; echo x > changed"}

    def silent(self) -> dict[str, Any]:
        return {"command": "true"}

    def dying(self, how: str) -> dict[str, Any]:
        return {"command": f"echo x > changed; {how}"}

    def noisy(self) -> dict[str, Any]:
        return {"command": f"({NOISE_COMMAND}); echo x > changed; ({NOISE_COMMAND}) >&2"}

    def waiting(self) -> dict[str, Any]:
        return {"command": "echo ready; sleep 60"}

    def good_end(self) -> list[dict[str, Any]]:
        return []


class BuiltinWorld:
    """The agent `builtin` with scripts for its scripted model."""

    name = "builtin"

    def _script(self, *steps: dict[str, Any]) -> dict[str, Any]:
        return {"model": "scripted", "script": json.dumps({"steps": list(steps)})}

    def finishing(self, kind: str) -> dict[str, Any]:
        return self._script(
            {"call": "write_file", "args": {"path": "changed", "content": "x"}},
            {"call": "finish", "args": {"outcome": kind, "summary": "S."}},
        )

    def silent(self) -> dict[str, Any]:
        return self._script({"say": "I stop here."})

    def dying(self, how: str) -> dict[str, Any]:
        return self._script({"call": "run_command", "args": {"command": "echo x > changed; kill -KILL $PPID"}})

    def noisy(self) -> dict[str, Any]:
        finish = {"call": "finish", "args": {"outcome": "done", "summary": ""}}
        return self._script({"call": "run_command", "args": {"command": NOISE_COMMAND}}, finish)

    def waiting(self) -> dict[str, Any]:
        return self._script({"call": "run_command", "args": {"command": "sleep 60"}})


class StandInWorld:
    """An agent with a JSON stream: a stand-in for its program that takes the same flags and prints the same lines."""

    name: str

    def finishing(self, kind: str) -> dict[str, Any]:
        return doubles.options(self.name, f"finish-{kind}")

    def silent(self) -> dict[str, Any]:
        return doubles.options(self.name, "silent")

    def dying(self, how: str) -> dict[str, Any]:
        return doubles.options(self.name, "exit-3" if how == "exit 3" else "kill")

    def noisy(self) -> dict[str, Any]:
        return doubles.options(self.name, "noise")

    def waiting(self) -> dict[str, Any]:
        return doubles.options(self.name, "wait")


class ClaudeWorld(StandInWorld):
    """The agent `claude`."""

    name = "claude"

    def good_end(self) -> list[dict[str, Any]]:
        return [{"type": "result", "subtype": "success", "is_error": False}]


class CodexWorld(StandInWorld):
    """The agent `codex`."""

    name = "codex"

    def good_end(self) -> list[dict[str, Any]]:
        return [{"type": "turn.completed", "usage": {}}]


class OpencodeWorld(StandInWorld):
    """The agent `opencode`."""

    name = "opencode"

    def good_end(self) -> list[dict[str, Any]]:
        return [{"type": "step_finish", "sessionID": "s", "part": {"id": "p", "reason": "stop"}}]


class GeminiWorld(StandInWorld):
    """The agent `gemini`."""

    name = "gemini"

    def good_end(self) -> list[dict[str, Any]]:
        return [{"type": "result", "status": "success", "stats": {}}]


class AcpWorld(StandInWorld):
    """The agent `acp`: our client, with a stand-in for the agent behind it."""

    name = "acp"

    def good_end(self) -> list[dict[str, Any]]:
        return [{"type": "result", "status": "ok", "stop_reason": "end_turn", "error": "", "usage": {}}]


World = CommandWorld | BuiltinWorld | ClaudeWorld | CodexWorld | OpencodeWorld | GeminiWorld | AcpWorld
WORLDS: tuple[World, ...] = (
    CommandWorld(),
    BuiltinWorld(),
    ClaudeWorld(),
    CodexWorld(),
    OpencodeWorld(),
    GeminiWorld(),
    AcpWorld(),
)


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param
    return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return Place(root=tmp_path)


def run(world: World, place: Place, options: Mapping[str, Any], *, reason: str = "exited") -> Ran:
    ran = place.run(world.name, options, reason=reason)
    assert {event.kind for event in ran.events} <= KINDS
    assert all(len(json.dumps(event.body)) <= MAX_EVENT_BYTES for event in ran.events)
    assert ran.verdict.reason
    return ran


def test_every_adapter_has_a_world() -> None:
    assert registry.names() == tuple(sorted(world.name for world in WORLDS))


@pytest.mark.parametrize("kind", ["done", "nothing_to_do", "blocked"])
def test_a_report_is_the_verdict(world: World, place: Place, kind: str) -> None:
    ran = run(world, place, world.finishing(kind))

    assert ran.verdict.ok, ran.verdict
    assert ran.verdict.outcome == Outcome(kind=OutcomeKind(kind), summary="S.")


def test_an_admitted_failure_is_a_failure(world: World, place: Place) -> None:
    ran = run(world, place, world.finishing("failed"))

    assert not ran.verdict.ok
    assert ran.verdict.outcome == Outcome(kind=OutcomeKind.FAILED, summary="S.")
    assert ran.verdict.reason == "the agent reports failure: S."


def test_exit_0_without_any_result_is_a_failure(world: World, place: Place) -> None:
    ran = run(world, place, world.silent())

    assert not ran.verdict.ok
    assert ran.verdict.outcome is None


@pytest.mark.parametrize("how", ["exit 3", "kill -KILL $$"])
def test_an_agent_that_dies_has_failed_whatever_it_changed(world: World, place: Place, how: str) -> None:
    ran = run(world, place, world.dying(how))

    assert place.has_changed()
    assert not ran.verdict.ok
    assert ("signal 9" if ran.ended.exit_signal else "exit 3") in ran.verdict.reason


@pytest.mark.parametrize("reason", ["wall", "cancelled", "fenced"])
def test_a_good_report_does_not_excuse_a_bad_ending(world: World, place: Place, reason: str) -> None:
    ran = run(world, place, world.finishing("done"), reason=reason)

    assert not ran.verdict.ok


NOISE: list[tuple[Stream, str]] = [
    ("out", ""),
    ("out", "plain"),
    ("err", '{"type": "result", "status": "ok", "outcome": {"outcome": "done"}}'),
    ("out", "{"),
    ("out", "null"),
    ("out", '{"type": 5}'),
    ("out", '{"type": "result"'),
    ("out", "{" * 100_000),
    ("out", '{"a":' * 100_000),
    ("out", "\ufffd\x01\x7f\u2028\ud800"),
    ("err", "x" * (4 << 20)),
    ("out", '{"type": "message", "text": "' + "é" * 500_000 + '"}'),
    ("out", '{"type": "tool", "args": ' + "[" * 500 + "]" * 500 + "}"),
]


def test_noise_of_any_kind_makes_bounded_events_and_no_result(world: World) -> None:
    adapter = registry.get(world.name)
    parser = adapter.parser()
    for stream, line in NOISE:
        for event in parser.feed(stream, line):
            assert event.kind in KINDS
            assert len(json.dumps(event.body, allow_nan=False)) <= MAX_EVENT_BYTES
            json.dumps(event.body, ensure_ascii=False).encode()

    left = Ended(reason="exited", exit_code=0)
    assert not adapter.verdict(parser=parser, ended=left, outcome_file=None, changed=False).ok


def test_a_flood_of_lines_makes_a_bounded_number_of_events(world: World) -> None:
    parser = registry.get(world.name).parser()

    events = [event for number in range(MAX_OUTPUT_EVENTS * 3) for event in parser.feed("out", f"line {number}")]

    assert len(events) == MAX_OUTPUT_EVENTS + 1
    assert events[-1].body["truncated"] is True


@given(lines=st.lists(st.tuples(st.sampled_from(["out", "err"]), st.text()), max_size=20))
def test_feeding_the_same_lines_again_gives_the_same(lines: list[tuple[Stream, str]]) -> None:
    for name in registry.names():
        first, second = registry.get(name).parser(), registry.get(name).parser()
        assert [first.feed(*line) for line in lines] == [second.feed(*line) for line in lines]


def fed(name: str, kind: str) -> tuple[Any, Outcome | None]:
    """A parser that saw a good end, and the report file where the adapter goes by it."""
    world = next(world for world in WORLDS if world.name == name)
    parser = registry.get(name).parser()
    if isinstance(world, BuiltinWorld):
        report = {"outcome": kind, "summary": "S."}
        parser.feed("out", json.dumps({"type": "result", "status": "ok", "outcome": report, "usage": {}}))
        return parser, None
    for line in world.good_end():
        parser.feed("out", json.dumps(line))
    return parser, Outcome(kind=OutcomeKind(kind), summary="S.")


@pytest.mark.parametrize("reason", [*LIMITS, *FROM_OUTSIDE])
@pytest.mark.parametrize("kind", ["done", "nothing_to_do", "blocked", "failed"])
def test_endings_and_reports_are_weighed_alike(world: World, reason: str, kind: str) -> None:
    parser, outcome_file = fed(world.name, kind)

    verdict = registry.get(world.name).verdict(
        parser=parser, ended=Ended(reason=reason, exit_signal=9), outcome_file=outcome_file, changed=True
    )

    # A cry for help stands when the agent was merely too slow; nothing stands that came from outside.
    assert verdict.ok == (kind == "blocked" and reason in LIMITS)
    assert verdict.outcome is not None


def test_a_lying_exit_code_is_seen_through() -> None:
    command, builtin = registry.get("command"), registry.get("builtin")
    crash = Ended(reason="exited", exit_code=1)
    parser, outcome = fed("command", "done")
    verdict = command.verdict(parser=parser, ended=crash, outcome_file=outcome, changed=True)
    assert not verdict.ok
    assert verdict.reason == "exit 1, although the agent reported done"

    # The built-in agent's terminal event is its last act: what the interpreter does after it says nothing.
    parser, _ = fed("builtin", "done")
    assert builtin.verdict(parser=parser, ended=crash, outcome_file=None, changed=False).ok

    for line in ('{"type": "result", "status": "failed", "error": "boom"}', '{"type": "result", "status": "ok"}'):
        parser = builtin.parser()
        parser.feed("out", line)
        clean_exit = Ended(reason="exited", exit_code=0)
        assert not builtin.verdict(parser=parser, ended=clean_exit, outcome_file=outcome, changed=True).ok


def test_an_invalid_report_is_named() -> None:
    parser = registry.get("builtin").parser()
    parser.feed("out", '{"type": "result", "status": "ok", "outcome": {"outcome": "solved"}}')
    left = Ended(reason="exited", exit_code=0)
    verdict = registry.get("builtin").verdict(parser=parser, ended=left, outcome_file=None, changed=True)
    assert "invalid outcome in the agent's terminal event: outcome: Input should be" in verdict.reason

    command = registry.get("command")
    broken = InvalidOutcomeError("outcome: Field required")
    verdict = command.verdict(parser=command.parser(), ended=left, outcome_file=broken, changed=True)
    assert not verdict.ok
    assert verdict.reason == "invalid .agentgrid/outcome.json: outcome: Field required"


def test_a_command_without_report_is_done_only_with_a_change(place: Place) -> None:
    changing = place.run("command", {"command": "cat > prompt; pwd"}, prompt="Grüße")
    assert changing.verdict.ok
    assert changing.verdict.outcome is not None
    assert changing.verdict.outcome.kind == OutcomeKind.DONE
    assert (place.files.workspace / "prompt").read_text() == "Grüße"
    assert changing.bodies("agent.output") == [{"stream": "out", "text": str(place.files.workspace)}]

    (place.files.workspace / "prompt").unlink()
    idle = place.run("command", {"argv": ["/bin/echo", "hi"]})
    assert not idle.verdict.ok
    assert idle.verdict.reason == "exit 0, but neither a change nor .agentgrid/outcome.json"


def test_binary_output_is_survived(world: World, place: Place) -> None:
    assert run(world, place, world.noisy()).verdict.ok


def test_a_stopped_agent_is_judged_by_who_stopped_it(world: World, place: Place) -> None:
    ran = place.run(
        world.name,
        world.waiting(),
        reason="interrupted",
        meanwhile=lambda process: _terminate_when_busy(process.pid),
    )

    assert not ran.verdict.ok
    assert ran.verdict.reason == "interrupted"
    assert ran.seconds < 15


def _terminate_when_busy(pid: int) -> None:
    """SIGTERM to the agent's group once it has a child or two seconds are over."""
    for _ in range(40):
        if Path(f"/proc/{pid}/task/{pid}/children").read_text():
            break
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(pid, signal.SIGTERM)
