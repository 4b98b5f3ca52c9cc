"""One JSON object per line, nothing forged, nothing secret."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from pytest_django import Settings

from agentgrid.logs import JsonFormatter


def record(message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("grid.host", logging.WARNING, __file__, 1, message, args, None)
    vars(made).update(extra)
    return made


def line(message: str, *args: Any, **extra: Any) -> str:
    return JsonFormatter().format(record(message, *args, **extra))


def test_a_record_becomes_one_object_with_its_extras() -> None:
    entry = json.loads(line("lease lost of %s", "e1", action="lease", token=3))
    assert entry.pop("ts").endswith("+00:00")
    assert entry == {
        "level": "WARNING",
        "logger": "grid.host",
        "message": "lease lost of e1",
        "action": "lease",
        "token": 3,
    }


def test_no_message_can_forge_a_line_or_steer_a_terminal() -> None:
    text = line('first\n{"level": "INFO"}\r\x1b[2J\u2028\u202e')
    assert "\n" not in text
    assert text.isascii()
    assert text.isprintable()


def test_extras_cannot_replace_the_basics() -> None:
    assert json.loads(line("real", level="DEBUG", ts="yesterday"))["level"] == "WARNING"


def test_values_json_does_not_know_are_written_as_text() -> None:
    assert json.loads(line("m", thing={1, 2}.__class__, path=sys.__class__))["thing"] == "<class 'set'>"


def test_an_exception_comes_along() -> None:
    try:
        raise ValueError("broken\nbadly")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    entry = json.loads(JsonFormatter().format(made))
    assert "ValueError: broken\nbadly" in entry["exception"]


def test_configured_secrets_never_appear(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SECRET_KEY = 'key-with-"quote"-and-ü'
    settings.CELERY_BROKER_URL = "sqs://AKIAEXAMPLE:abc%2Fdef%2Bghi@sqs.example.com"
    settings.REDIS_URL = "redis://:redis-password@cache:6379/0"
    settings.GRID_BUS_URL = "sqs://AKIAEXAMPLE:bus%2Fsecret@sqs.example.com/events.fifo"
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "database-password")
    settings.TRACKER_WEBHOOK_SECRET = "webhook-secret"
    settings.GATEWAY = {"anthropic": {"url": "https://api.anthropic.com", "key": "model-key"}}
    secrets = [
        "model-key",
        settings.SECRET_KEY,
        "abc/def+ghi",
        "abc%2Fdef%2Bghi",
        "redis-password",
        "bus/secret",
        "bus%2Fsecret",
        "database-password",
        "webhook-secret",
    ]
    text = line("could not connect: %s", " ".join(secrets), url=settings.CELERY_BROKER_URL, key={"nested": secrets})
    for secret in (*secrets, json.dumps(settings.SECRET_KEY)[1:-1]):
        assert secret not in text
    json.loads(text)
    assert "could not connect" in text


def test_short_values_are_no_secrets(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "sqs://x:y@127.0.0.1:5100"
    assert json.loads(line("yes, my day"))["message"] == "yes, my day"
