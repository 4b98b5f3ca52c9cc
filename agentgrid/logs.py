"""Logs for machines: one JSON object per line, with every secret we know of cut out."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.conf import settings

REDACTED = "***"
_SECRET_SETTING = re.compile(r"(^|_)(SECRET|SECRET_KEY|TOKEN|PASSWORD|API_KEY|PRIVATE_KEY)$")
_URL_SETTINGS = ("CELERY_BROKER_URL", "REDIS_URL", "GRID_BUS_URL")
# Shorter values ("x" in sqs://x:y@localhost) would cut holes into ordinary words and protect nothing.
_SHORTEST_SECRET = 6
# What every LogRecord has; anything else came in by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def secret_values() -> list[str]:
    """The values that must never be printed, longest first: keys, tokens, passwords of the configured services."""
    found = {value for value in _configured_secrets() if len(value) >= _SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret replaced, also where JSON or a URL spelled it differently."""
    for secret in secrets:
        for spelling in {
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            quote(secret, ""),
        }:
            text = text.replace(spelling, REDACTED)
    return text


class JsonFormatter(logging.Formatter):
    """Formats a record as `{"ts", "level", "logger", "message", …extra, "exception"?}` on a single line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._secrets: list[str] | None = None

    def format(self, record: logging.LogRecord) -> str:
        """One line; JSON escapes control characters, so no message can forge a second line."""
        entry: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_") and name not in entry:
                entry[name] = value
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        # ensure_ascii stays on: U+2028, bidi overrides and terminal controls above ASCII stay escaped, too.
        line = json.dumps(entry, default=str, skipkeys=True)
        return redact(line, self._known_secrets())

    def _known_secrets(self) -> list[str]:
        if self._secrets is None:
            self._secrets = secret_values()
        return self._secrets


def adopt_uvicorn() -> None:
    """Send uvicorn's own log lines through our handlers; it configures itself before it loads the application."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _configured_secrets() -> Iterator[str]:
    for name in dir(settings):
        if _SECRET_SETTING.search(name) and isinstance(value := getattr(settings, name), str):
            yield value
    yield from getattr(settings, "SECRET_KEY_FALLBACKS", [])
    yield from (provider["key"] for provider in settings.GATEWAY.values())
    for database in settings.DATABASES.values():
        yield str(database.get("PASSWORD") or "")
    for name in _URL_SETTINGS:
        if password := urlsplit(getattr(settings, name, "")).password:
            yield password
            yield unquote(password)
