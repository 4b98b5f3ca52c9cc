"""Commands as operators meet them: real processes, pipes, terminals, Ctrl-C, workers that do the work."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from agentgrid.supervisor import ROOT
from tests.integration.grid.git_samples import make_source, plain_git
from tests.services.loaded import Forked
from tests.services.stack import Stack

_SECONDS = 90
"""Until a command has ended, on a machine that is busy with other things."""
COMMANDS = (
    "submit", "status", "tree", "tail", "explain", "nudge", "pause", "unpause", "cancel", "retry", "doctor", "budget",
)  # fmt: skip
HOSTILE = "\x1b]0;pwn\x07\x1b[31mred"


@pytest.fixture
def grid(new_stack) -> Stack:
    return new_stack(slots=2)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_source(tmp_path / "app")
    return tmp_path / "app"


@contextlib.contextmanager
def running(grid: Stack, *args: str) -> Iterator[tuple[Forked, TextIO, TextIO]]:
    """A command with its output and errors to read; killed when the block ends."""
    pipes = [os.pipe(), os.pipe()]
    with (
        open(os.devnull) as nothing,
        os.fdopen(pipes[0][0]) as out,
        os.fdopen(pipes[1][0]) as errors,
    ):
        process = grid.start_command(*args, streams=(nothing.fileno(), pipes[0][1], pipes[1][1]))
        for _, writer in pipes:
            os.close(writer)
        try:
            yield process, out, errors
        finally:
            process.kill()
            process.wait(_SECONDS)


def popen(grid: Stack, *args: str, **streams) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", *args], cwd=ROOT, env=grid.env, text=True, start_new_session=True, **streams
    )


def test_every_command_explains_itself_with_examples(grid: Stack) -> None:
    code = f"""
import django, io, contextlib
django.setup()
from django.core.management import load_command_class
for name in {COMMANDS!r}:
    print("===", name)
    load_command_class("coordinator", name).create_parser("manage.py", name).print_help()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=grid.env, capture_output=True, text=True, check=True
    )
    helps = done.stdout.split("=== ")[1:]
    assert len(helps) == len(COMMANDS)
    for text in helps:
        name = text.split()[0]
        assert f"  manage.py {name}" in text.partition("examples:")[2], name
        assert "--json" in text
        assert "exit codes: 0 ok, 1 " in text


def test_output_in_a_pipe_is_bare_even_when_colours_are_forced_on_others(grid: Stack, source: Path) -> None:
    grid.env |= {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    submit = ("submit", "--repo", str(source), "--title", f"{HOSTILE} title", "--command", "true", "--body-file", "-")
    grid.manage(*submit, stdin="From\nafar")
    for args in (("status",), ("explain", "1", "--prompt")):
        said = grid.manage(*args)
        assert not set(said.stdout + said.stderr) & set("\x1b\x07\r"), args
        assert "red title" in said.stdout
    assert "From\nafar" in said.stdout


def test_bad_input_is_exit_code_2_in_one_line(grid: Stack) -> None:
    for args in (("tree",), ("tree", "99"), ("submit", "--repo", "/nowhere", "--title", "x", "--wait", "soon")):
        said = grid.manage(*args, check=False)
        assert said.returncode == 2, args
        assert "Traceback" not in said.stderr
        assert said.stdout == ""


def test_a_database_without_tables_says_what_to_do(new_stack) -> None:
    bare = new_stack(migrated=False)
    said = bare.manage("status", check=False)
    assert said.returncode == 2
    assert "manage.py migrate" in said.stderr
    assert "Traceback" not in said.stderr
    doctor = bare.manage("doctor", "--json", check=False)
    assert doctor.returncode == 1
    assert "manage.py migrate" in json.loads(doctor.stdout)["violations"][0]["remedy"]


def test_a_reader_that_goes_away_is_no_error(grid: Stack, source: Path) -> None:
    grid.manage("submit", "--repo", str(source), "--title", "x", "--command", "true")
    for args in (("tail", "-f"), ("status", "--watch", "--json")):
        with running(grid, *args) as (process, out, errors):
            assert out.readline()
            out.close()
            grid.manage("nudge", "1")  # something to print
            assert process.wait(_SECONDS) == 141
            assert errors.read() == ""


def test_ctrl_c_is_quiet(grid: Stack, source: Path) -> None:
    grid.manage("submit", "--repo", str(source), "--title", "x", "--command", "true")
    with running(grid, "tail", "-f") as (process, out, errors):
        assert out.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(_SECONDS) == 130
        assert errors.read() == ""


def on_a_terminal(grid: Stack, *args: str, answer: str = "") -> tuple[int, str]:
    """Run a command on a pseudo-terminal; returns its exit code and what it drew."""
    ours, theirs = pty.openpty()
    process = grid.start_command(*args, streams=(theirs, theirs, theirs))
    os.close(theirs)
    os.write(ours, answer.encode())
    drawn = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        drawn += part
    os.close(ours)
    return process.wait(_SECONDS), drawn.decode()


def test_a_terminal_gets_colours_and_may_answer(grid: Stack, source: Path) -> None:
    grid.env |= {"TERM": "xterm-256color"}
    grid.manage("submit", "--repo", str(source), "--title", f"{HOSTILE} title", "--command", "true")
    code, drawn = on_a_terminal(grid, "status")
    assert code == 0
    assert "\x1b[36m" in drawn
    assert "\x1b]0;" not in drawn
    assert "\x1b[31mred" not in drawn
    code, drawn = on_a_terminal(grid, "cancel", "1", answer="n\n")
    assert code == 1
    assert "1 agent, 1 queued and 0 running" in drawn
    code, drawn = on_a_terminal(grid, "cancel", "1", answer="y\n")
    assert code == 0
    assert grid.manage_json("tree", "1")["standing"] == "abandoned"


def test_a_submission_is_followed_until_it_is_done(grid: Stack, source: Path) -> None:
    grid.start()
    work = "cat > prompt.txt; echo one step; sleep 1; echo x > new.txt"
    following = popen(grid, "submit", "--repo", str(source), "--title", "Make it", "--command", work,
                      "--accept", "test -f new.txt", "--wait", "60", stdout=subprocess.PIPE)  # fmt: skip
    grid.wait_until(lambda: grid.manage("tree", "1", check=False).returncode == 0, "the issue is known")
    tail = popen(grid, "tail", "1", "-f", "-n", "1000", "--json", stdout=subprocess.PIPE)
    shown, _ = following.communicate(timeout=_SECONDS)
    events, _ = tail.communicate(timeout=_SECONDS)  # ends by itself
    assert following.returncode == 0, shown
    assert "acceptance command 1 ended: exit 0" in shown
    assert "done: the work is on branch agent/1-make-it" in shown
    assert plain_git(source, "show", "agent/1-make-it:new.txt") == "x"
    records = [json.loads(line) for line in events.splitlines()]
    assert records[-1]["body"]["to"] == "done"
    assert "one step" in json.dumps(records)
    keys = [(record["stream"], record["seq"]) for record in records]
    assert len(keys) == len(set(keys))
    for stream in {stream for stream, _ in keys}:  # nothing is left out
        numbers = sorted(seq for name, seq in keys if name == stream)
        assert numbers == list(range(1, len(numbers) + 1)), stream
    again = grid.manage("submit", "--repo", str(source), "--title", "Make it", "--command", work)
    assert "nothing was started twice; it is done" in again.stdout
    failing = grid.manage(
        "submit", "--repo", str(source), "--title", "Break it", "--command", "exit 3", "--wait", "60", check=False
    )
    assert failing.returncode == 1
    assert "it needs a person" in failing.stdout
    assert "attempt 3 failed: exit 3" in failing.stdout
