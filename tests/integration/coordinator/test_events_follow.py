"""`events follow`: from any place in the log, on again later, through a restart of the database, until Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from coordinator.management import following
from grid import event_log
from grid.public_events import Position
from tests.acceptance.test_database_restart import restart
from tests.factories import make_git_repository
from tests.integration.coordinator.command_rows import care, run, submitted

pytestmark = pytest.mark.made_up_events


def happen(*kinds: str, stream: str = "agent:7", root: str = "tree:7") -> None:
    event_log.append(stream=stream, root=root, events=[(kind, {}) for kind in kinds])


def follow(*args: str) -> list[dict[str, Any]]:
    done = run("events", "follow", "--no-wait", "--json", *args)
    assert done.code == 0, done.error
    return done.records


@pytest.mark.django_db(transaction=True)
def test_it_reads_from_the_start_from_a_cursor_or_from_now():
    happen("x.a", "x.b", "y.c", "x.d")
    seen = follow("--from-start")
    assert [one["kind"] for one in seen] == ["x.a", "x.b", "y.c", "x.d"]
    assert [one["seq"] for one in seen] == [1, 2, 3, 4]
    assert follow("--after", seen[-1]["cursor"]) == []
    assert [one["kind"] for one in follow("--after", seen[1]["cursor"])] == ["y.c", "x.d"]
    assert follow() == [], "only what happens from now"
    assert [one["kind"] for one in follow("--from-start", "--kinds", "y.,x.d")] == ["y.c", "x.d"]


@pytest.mark.django_db(transaction=True)
def test_where_to_go_on_is_told_also_when_nothing_was_wanted():
    happen("x.a", "x.b")
    out, errors = io.StringIO(), io.StringIO()
    call_command("events", "follow", "--no-wait", "--from-start", "--kinds", "none.", stdout=out, stderr=errors)
    assert out.getvalue() == ""
    place = errors.getvalue().strip().removeprefix("go on with: --after ")
    assert follow("--after", place) == []
    happen("x.c")
    assert [one["kind"] for one in follow("--after", place)] == ["x.c"]


@pytest.mark.django_db(transaction=True)
def test_of_an_issue_it_shows_its_tree_only(tmp_path: Path):
    agent = submitted(care(tmp_path))
    happen("x.a", stream="agent:999", root="tree:999")
    seen = follow(agent.issue, "--from-start")
    assert seen and {one["root"] for one in seen} == {f"tree:{agent.root_id}"}
    assert {one["issue"] for one in seen} <= {agent.issue, ""}


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_in_the_middle_of_an_event_waits_for_its_end_and_a_second_one_does_not():
    happen("x.a", "x.b", "x.c")

    class Reader(io.StringIO):
        """Ctrl-C comes while it is written to."""

        signals = 1

        def write(self, words: str) -> int:
            for _ in range(self.signals if "x.b" in words else 0):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)  # a handler runs between two instructions of ours
            return super().write(words)

    out, errors = Reader(), io.StringIO()
    with pytest.raises(SystemExit, match="130"):
        call_command("events", "follow", "--from-start", "--json", stdout=out, stderr=errors)
    assert [json.loads(line)["kind"] for line in out.getvalue().splitlines()] == ["x.a", "x.b"]
    place = errors.getvalue().strip().removeprefix("go on with: --after ")
    assert [one["kind"] for one in follow("--after", place)] == ["x.c"], "nothing twice, nothing left out"
    Reader.signals, out, errors = 2, Reader(), io.StringIO()
    with pytest.raises(SystemExit, match="130"):
        call_command("events", "follow", "--from-start", "--json", stdout=out, stderr=errors)
    place = errors.getvalue().strip().removeprefix("go on with: --after ")
    assert [one["kind"] for one in follow("--after", place)] == ["x.b", "x.c"], "rather twice than not at all"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("text", ["", "7", "0.-1", "a.b", "1.2.3", f"0.{2**63}", "9" * 30 + ".1", "1. 2"])
def test_what_is_no_cursor_is_refused_with_an_example(text):
    with pytest.raises(ArgumentTypeError, match=r"like 0\.1234"):
        following.cursor(text)


def test_cursors_survive_being_written():
    for place in (Position(), Position(0, 5), Position(2**40, 2**62)):
        assert following.cursor(following.written(place)) == place


@pytest.mark.timeout(300)
def test_it_goes_on_through_a_restart_of_the_database(new_stack, postgres_server, tmp_path):
    stack = new_stack(database="postgres")
    repository = make_git_repository(tmp_path / "app")
    errors = tmp_path / "errors"

    def submit(title: str) -> None:
        stack.manage("submit", "--repo", str(repository), "--title", title, "--agent", "command", "--command", "true")

    submit("Before")
    reader, writer = os.pipe()
    with errors.open("w") as file, open(os.devnull) as nothing:
        follower = stack.start_command(
            *("events", "follow", "--from-start", "--json"), streams=(nothing.fileno(), writer, file.fileno())
        )
    os.close(writer)
    out = os.fdopen(reader)
    try:
        seen = [json.loads(out.readline())]
        restart(postgres_server)
        submit("After")
        # The numbers of trees may jump: the server gives some away that it had set aside.
        while len({one["root"] for one in seen if one["root"].startswith("tree:")}) < 2:
            seen.append(json.loads(out.readline()))
        follower.send_signal(signal.SIGINT)
        rest = out.read()
        follower.wait(90)
    finally:
        follower.kill()
        follower.wait(90)
        out.close()
    seen += [json.loads(line) for line in rest.splitlines()]
    assert follower.returncode == 130, errors.read_text()
    assert "Traceback" not in errors.read_text()
    place = errors.read_text().splitlines()[-1].removeprefix("go on with: --after ")
    assert place == seen[-1]["cursor"]
    rest = stack.manage("events", "follow", "--json", "--no-wait", "--after", place).stdout
    seen += [json.loads(line) for line in rest.splitlines()]
    whole = stack.manage("events", "follow", "--json", "--no-wait", "--from-start").stdout
    assert seen == [json.loads(line) for line in whole.splitlines()], "nothing twice, nothing left out"
