"""What `up` prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from agentgrid import console
from agentgrid.supervisor import Event, restart_delay, stack

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def text(kind: str, **facts: Any) -> str:
    return console.as_text(Event(kind=kind, process="control", facts=facts), now=NOW, colour=False)


def test_a_log_line_is_shown_in_words() -> None:
    line = json.dumps(
        {"ts": "t", "level": "WARNING", "logger": "l", "message": "lease lost", "action": "lease", "n": 3}
    )
    assert text("output", line=line) == "03:04:05 control    │ WARNING lease lost  action=lease n=3"


def test_every_line_of_an_exception_carries_the_name() -> None:
    line = json.dumps({"level": "ERROR", "message": "failed", "exception": "Traceback\n  ValueError: x"})
    assert text("output", line=line).count("03:04:05 control    │") == 3


@pytest.mark.parametrize("hostile", ["\x1b[2Jgone", "a\rb", "\x9b31m", "\u202eevil", "{not json \x07"])
def test_no_line_can_steer_the_terminal(hostile: str) -> None:
    for line in (hostile, json.dumps({"level": "INFO", "message": hostile, "extra": hostile})):
        shown = text("output", line=line)
        assert not set(shown) & set("\x1b\r\x9b\u202e\x07")


def test_endings_are_named() -> None:
    assert text("exited", pid=1, signal=9).endswith("ended by SIGKILL")
    assert text("exited", pid=1, code=3).endswith("ended with exit code 3")


def test_json_is_one_object_per_line() -> None:
    shown = console.as_json(Event(kind="exited", process="web", facts={"code": 1, "text": "a\nb"}), now=NOW)
    assert json.loads(shown) == {
        "ts": "2026-01-02T03:04:05.000+00:00",
        "event": "exited",
        "process": "web",
        "code": 1,
        "text": "a\nb",
    }
    assert "\n" not in shown


def test_colour_only_when_asked() -> None:
    event = Event(kind="exited", process="web", facts={"pid": 1, "code": 1})
    assert "\x1b" in console.as_text(event, now=NOW, colour=True)
    assert "\x1b" not in console.as_text(event, now=NOW, colour=False)


def test_pauses_double_up_to_30_seconds() -> None:
    assert [restart_delay(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 5000)] == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(("kind", "pool"), [("gridfs", "threads"), ("sqs", "prefork"), ("redis", "prefork")])
def test_the_pool_follows_the_broker(kind: str, pool: str) -> None:
    control, executions = stack(("control", "executions"), broker_kind=kind)
    for spec in (control, executions):
        assert spec.command[spec.command.index("-P") + 1] == pool
        assert spec.command[spec.command.index("-Q") + 1] == spec.name
        # A cold stop needs a pool of processes; threads cannot be stopped that way.
        assert spec.environment.get("REMAP_SIGTERM") == ("SIGQUIT" if pool == "prefork" else None)
