"""Content negotiation for endpoints that programs call."""

from __future__ import annotations

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request


class AlwaysJson(BaseContentNegotiation):
    """Answers are JSON, whatever a client says it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        """None: the body is read as bytes."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        """The only one."""
        return renderers[0], renderers[0].media_type
