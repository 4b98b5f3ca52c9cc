"""The built-in agent as a process with a scripted model: used, stopped, limited, misled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from grid.public_types import OutcomeKind
from tests.unit.grid.agents.support.runs import Place, Process, Ran

FINISH = {"call": "finish", "args": {"outcome": "done", "summary": "All done."}}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return Place(root=tmp_path)


def play(place: Place, *steps: dict[str, Any], **options: Any) -> Ran:
    """Run a script of one scenario. JSON is YAML."""
    names = ("env", "is_forked", "meanwhile", "prompt", "reason", "wrap")
    run_options = {name: options.pop(name) for name in names if name in options}
    script = json.dumps({"steps": list(steps)})
    return place.run("builtin", {"model": "scripted", "script": script, **options}, **run_options)


def result_texts(ran: Ran) -> list[str]:
    return [body["text"] for body in ran.bodies("tool.result")]


def assert_gone(pid_file: Path) -> None:
    """The process is dead; killed by its id otherwise, so that a failing test leaves nothing behind."""
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} is still there")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def on_first_call(then: Any) -> Any:
    """Act half a second after the agent's first tool call is on its way."""

    def act(process: Process) -> None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not children.read_text():
            time.sleep(0.02)
        time.sleep(0.1)
        then(process)

    return act


def test_a_script_drives_the_whole_loop(place: Place) -> None:
    ran = play(
        place,
        {"say": "I look.", "call": "write_file", "args": {"path": "pkg/a.py", "content": "x = 1\n"}},
        {"call": "edit_file", "args": {"path": "pkg/a.py", "old": "x = 1", "new": "x = 2"}},
        {"call": "run_command", "args": {"command": "cat pkg/a.py"}},
        {"expect": ["exit 0", "x = 2"]} | FINISH,
        is_forked=False,
    )

    assert ran.verdict.ok, ran.verdict
    assert ran.verdict.outcome is not None
    assert ran.verdict.outcome.kind == OutcomeKind.DONE
    assert (place.files.workspace / "pkg/a.py").read_text() == "x = 2\n"
    assert [body["name"] for body in ran.bodies("tool.requested")] == [
        "write_file",
        "edit_file",
        "run_command",
        "finish",
    ]
    assert len(ran.bodies("llm.result")) == 4
    assert ran.ended.exit_code == 0
    assert ran.err == b""


def test_two_runs_of_a_script_print_the_same(place: Place) -> None:
    steps = [{"calls": [{"call": "list_files", "args": {}}, {"call": "read_file", "args": {"path": "a"}}]}]
    (place.files.workspace / "a").write_text("text")

    def stable(ran: Ran) -> list[Any]:
        lines = [json.loads(line) for line in ran.out.splitlines()]
        return [{key: value for key, value in line.items() if key not in ("pid", "ms")} for line in lines]

    assert stable(play(place, *steps, FINISH)) == stable(play(place, *steps, FINISH))


def test_calls_of_one_batch_run_side_by_side(place: Place) -> None:
    sleep = {"call": "run_command", "args": {"command": "sleep 2"}}

    ran = play(place, {"calls": [sleep] * 6}, FINISH)

    assert ran.verdict.ok
    assert ran.seconds < 10  # 12 s of sleep one after the other


def test_children_are_proposed_and_reported(place: Place) -> None:
    parts = [{"key": "a", "title": "A", "body": ""}, {"key": "b", "title": "B", "body": "", "blocked_by": ["a"]}]
    wrong = {"call": "finish", "args": {"outcome": "done", "summary": ""}}

    ran = play(
        place,
        {"call": "propose_children", "args": {"children": parts}},
        wrong,
        {"expect": "must be 'split'", "call": "finish", "args": {"outcome": "split", "summary": "Two parts."}},
    )

    assert ran.verdict.ok
    assert ran.verdict.outcome is not None
    assert [child.key for child in ran.verdict.outcome.children] == ["a", "b"]
    assert ran.verdict.outcome.children[1].blocked_by == ("a",)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("read_file", {"path": "../home/.agentgrid/builtin.json"}, "leaves the workspace"),
    ("read_file", {"path": "/etc/passwd"}, "is absolute"),
    ("read_file", {"path": "link/passwd"}, "symbolic link"),
    ("read_file", {"path": "fifo"}, "not a regular file"),
    ("write_file", {"path": "link/owned", "content": ""}, "symbolic link"),
    ("write_file", {"path": ".git/hooks/post-commit", "content": ""}, "out of reach"),
    ("write_file", {"path": "sub/.GIT/config", "content": ""}, "out of reach"),
    ("write_file", {"path": "a\0b", "content": ""}, "that is no path"),
    ("write_file", {"path": "", "content": ""}, "name a file"),
    ("write_file", {"path": "x" * 300, "content": ""}, "name too long"),
    ("write_file", {"path": "a", "content": 5}, "valid string"),
    ("write_file", {"path": "a"}, "Field required"),
    ("run_command", {"command": "a\0b"}, "could not be started"),
    ("run_command", {"command": "x" * 200_000}, "could not be started"),
    ("run_command", {"command": "true", "timeout_seconds": -1}, "greater than or equal"),
    ("no_such_tool", {}, "Unknown tool name"),
    ("propose_children", {"children": []}, "at least 1 item"),
    ("propose_children", {"children": [{"key": "A!", "title": "", "body": ""}]}, "children.0"),
    ("finish", {"outcome": "split", "summary": ""}, "needs at least one entry in 'children'"),
    ("finish", {"outcome": "solved", "summary": ""}, "Input should be 'done'"),
    ("finish", {"summary": ""}, "Field required"),
    ("finish", {"outcome": "done", "summary": "x" * 20_001}, "at most 20000 characters"),
]


def test_hostile_arguments_are_refused_and_the_loop_goes_on(place: Place) -> None:
    (place.files.workspace / "link").symlink_to("/etc")
    os.mkfifo(place.files.workspace / "fifo")
    steps: list[dict[str, Any]] = [{"call": tool, "args": args} for tool, args, _ in REFUSED]
    for step, (_, _, complaint) in zip([*steps[1:], finish := dict(FINISH)], REFUSED, strict=True):
        step["expect"] = f"(?i){complaint}"

    ran = play(place, *steps, finish)

    assert ran.verdict.ok, ran.verdict
    assert [body["ok"] for body in ran.bodies("tool.result")] == [False] * len(REFUSED) + [True]
    assert not Path("/etc/owned").exists()


def test_modules_of_the_workspace_are_not_loaded(place: Place) -> None:
    for name in ("pydantic", "asyncio", "yaml", "grid", "sitecustomize", "usercustomize"):
        (place.files.workspace / f"{name}.py").write_text("raise SystemExit('loaded from the workspace')")

    assert play(place, FINISH, is_forked=False, env={"PYTHONPATH": str(place.files.workspace)}).verdict.ok


def test_the_agent_does_not_load_django(place: Place) -> None:
    (place.files.home / "probe.py").write_text(
        "import sys, runpy; sys.argv[:] = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('DJANGO' if 'django' in sys.modules else 'CLEAN', 'anthropic' in sys.modules, file=sys.stderr)"
    )
    play(place, FINISH)  # places the files
    program = Path(__file__).parents[3] / "grid/agents/builtin/__main__.py"
    done = subprocess.run(
        [
            place.files.python,
            "-I",
            place.files.home / "probe.py",
            program,
            place.files.home / ".agentgrid/builtin.json",
        ],
        cwd=place.files.workspace,
        input=b'{"type": "prompt", "text": "Do it."}\n',
        capture_output=True,
        timeout=30,
    )
    assert done.stderr.split()[-2:] == [b"CLEAN", b"False"]


def test_commands_see_no_key_of_the_model(place: Place) -> None:
    spy = 'env; tr "\\0" "\\n" < /proc/$PPID/environ; cat /proc/$PPID/maps | head -1'

    ran = play(
        place,
        {"call": "run_command", "args": {"command": spy}},
        FINISH,
        env={"ANTHROPIC_API_KEY": "canary-1", "OPENAI_API_KEY": "canary-2", "OTHER": "seen"},
        is_forked=False,
        wrap=("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else (),  # as the shim does
    )

    assert "OTHER=seen" in result_texts(ran)[0]
    assert b"canary" not in ran.out
    assert result_texts(ran)[0].count("Permission denied") == 2


def test_long_output_keeps_its_head_and_tail(place: Place) -> None:
    command = "echo begin; head -c 50000000 /dev/zero | tr '\\0' x; printf '\\377\\000\\n'; echo end"

    ran = play(place, {"call": "run_command", "args": {"command": command}}, {"expect": "(?s)begin.*cut.*end"} | FINISH)

    assert ran.verdict.ok, ran.verdict
    assert all(len(line) < 20_000 for line in ran.out.splitlines())


def test_a_command_that_takes_too_long_is_ended_with_its_children(place: Place) -> None:
    command = "sleep 4711 & echo $! > child; trap '' TERM; sleep 4711"

    ran = play(place, {"call": "run_command", "args": {"command": command, "timeout_seconds": 1}}, FINISH)

    assert "stopped after 1 s" in result_texts(ran)[0]
    assert ran.seconds < 20
    assert_gone(place.files.workspace / "child")


def test_a_background_process_does_not_hold_the_tool(place: Place) -> None:
    command = "sleep 4712 & echo $! > child; echo started"

    ran = play(place, {"call": "run_command", "args": {"command": command}}, FINISH)

    assert "exit 0\nstarted" in result_texts(ran)[0]
    assert ran.seconds < 15
    assert_gone(place.files.workspace / "child")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_running_command_and_is_reported(place: Place, number: int) -> None:
    ran = play(
        place,
        {"call": "run_command", "args": {"command": "sleep 60", "timeout_seconds": 100}},
        FINISH,
        meanwhile=on_first_call(lambda process: process.send_signal(number)),
    )

    assert ran.seconds < 25
    assert json.loads(ran.out.splitlines()[-1])["status"] == "interrupted"
    assert not ran.verdict.ok
    assert "interrupted" in ran.verdict.reason
    assert result_texts(ran)[0].startswith("interrupted")


def test_a_signal_ends_a_waiting_model_request(place: Place) -> None:
    def interrupt(process: Process) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not catches(process.pid, signal.SIGTERM):
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)

    ran = play(place, {"sleep": 50} | FINISH, meanwhile=interrupt)

    assert ran.seconds < 25
    assert json.loads(ran.out.splitlines()[-1])["status"] == "interrupted"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"requests": 3}, "request_limit"),
        ({"tool_calls": 2}, "limits.tool_calls"),
        ({"total_tokens": 150}, "total_tokens_limit"),
    ],
)
def test_limits_end_the_loop(place: Place, limits: dict[str, int], words: str) -> None:
    ran = play(place, *[{"call": "list_files", "args": {}}] * 6, FINISH, limits=limits)

    assert not ran.verdict.ok
    assert ran.verdict.reason.startswith("limit: ")
    assert words in ran.verdict.reason


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"call": "list_files", "args": {}}], "all 1 steps are played"),
        ([{"call": "run_command", "args": {"command": "exit 3"}}, {"expect": "exit 0"} | FINISH], "expected /exit 0/"),
        ([{"call": "read_file", "args": {"path": "gone"}}, FINISH], "read_file failed before this step: gone does not"),
    ],
)
def test_a_script_that_the_run_leaves_fails_clearly(place: Place, steps: list[Any], words: str) -> None:
    ran = play(place, *steps)

    assert not ran.verdict.ok
    assert words in ran.verdict.reason


def test_the_prompt_chooses_the_scenario(place: Place) -> None:
    def scenario(when: str, summary: str) -> dict[str, Any]:
        return {"when": when, "steps": [{"call": "finish", "args": {"outcome": "done", "summary": summary}}]}

    script = json.dumps({"scenarios": [scenario("^Title: a", "first"), scenario("^Title: b", "second")]})
    options = {"model": "scripted", "script": script}

    ran = place.run("builtin", options, prompt="Issue 7\nTitle: b\n")
    assert ran.verdict.reason == "done: second"
    unknown = place.run("builtin", options, prompt="Title: c")
    assert "no scenario matches the prompt" in unknown.verdict.reason


def test_a_step_of_a_script_is_played_until_its_result_says_so(place: Place) -> None:
    counted = {"call": "run_command", "args": {"command": "echo x >> n; wc -l < n"}, "until": "^2$"}
    ran = play(place, {**counted, "say": "I wait."}, {"expect": "^2$", **FINISH})
    assert ran.verdict.ok, ran.verdict
    assert (place.files.workspace / "n").read_text() == "x\nx\n"
    assert [body.get("text") for body in ran.bodies("agent.message")].count("I wait.") == 1, "it says so once"
