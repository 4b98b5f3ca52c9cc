"""Answers with an error status."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """An answer with an error status, as the API words it.

    Attributes:
        status: HTTP status.
        message: The answer's `message`.
        errors: The answer's `errors`, objects or texts; None leaves the key out.
    """

    def __init__(self, status: int, message: str, errors: list[Any] | None = None) -> None:
        super().__init__(f"{status} {message} {errors or ''}".strip())
        self.status, self.message, self.errors = status, message, errors


def not_found() -> ApiError:
    """What GitHub says of things that are absent, and of private things to people who may not see them."""
    return ApiError(404, "Not Found")


def invalid(*, resource: str, field: str, code: str = "invalid", message: str | None = None) -> ApiError:
    """A 422 with one entry in `errors`."""
    error: Json = {"resource": resource, "field": field, "code": code}
    if message is not None:
        error |= {"code": "custom", "message": message}
    return ApiError(422, "Validation Failed", [error])
