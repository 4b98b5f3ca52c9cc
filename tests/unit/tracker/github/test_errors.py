from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import github
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from tracker.github import errors
from tracker.public_errors import (
    ConflictError,
    CredentialError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RateLimitedError,
    TrackerError,
    UnavailableError,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


def refusal(status: int, message: str = "x", *, headers: dict[str, str] | None = None, **data: Any) -> TrackerError:
    return errors.refusal(status, headers, {"message": message, **data}, maybe_applied=True, now=NOW)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (401, "Bad credentials", CredentialError),
        (403, "Resource not accessible by integration", ForbiddenError),
        (403, "Must have admin rights to Repository.", ForbiddenError),
        (403, "API rate limit exceeded for installation ID 1.", RateLimitedError),
        (403, SECONDARY, RateLimitedError),
        (403, "You have triggered an abuse detection mechanism.", RateLimitedError),
        (404, "Not Found", NotFoundError),
        (408, "", UnavailableError),
        (409, "Conflict", ConflictError),
        (410, "Issues are disabled for this repo", ForbiddenError),
        (410, "This issue was deleted", NotFoundError),
        (413, "Payload too large", InvalidError),
        (422, "Validation Failed", InvalidError),
        (422, "Reference already exists", ConflictError),
        (422, "Comment was submitted too quickly", RateLimitedError),
        (429, "", RateLimitedError),
        (451, "Repository access blocked", ForbiddenError),
        (500, "", UnavailableError),
        (503, "", UnavailableError),
    ],
)
def test_each_answer_has_its_error(status: int, message: str, expected: type[TrackerError]) -> None:
    found = refusal(status, message)
    assert type(found) is expected
    assert str(found)


def test_a_name_that_is_taken_is_a_conflict() -> None:
    assert (
        type(refusal(422, errors=[{"resource": "Label", "code": "already_exists", "field": "name"}])) is ConflictError
    )


def test_an_invalid_field_is_named() -> None:
    found = refusal(422, "Validation Failed", errors=[{"resource": "Issue", "field": "title", "code": "missing_field"}])
    assert isinstance(found, InvalidError) and found.field == "title"
    assert "Issue title missing_field" in str(found)


def test_a_missing_permission_is_named() -> None:
    headers = {"x-accepted-github-permissions": "issues=write"}
    assert "issues=write" in str(refusal(403, "Resource not accessible by integration", headers=headers))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 60),
        ({"retry-after": "8"}, 8),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "999999"}, 7_200),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "soon"}, 60),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 120)}, 120),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": str(int(NOW.timestamp()) + 120)}, 60),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1e400"}, 60),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "nan"}, 60),
    ],
)
def test_a_limit_ends_when_github_says(headers: dict[str, str], seconds: int) -> None:
    assert errors.limit_ends(headers, now=NOW) == NOW + timedelta(seconds=seconds)


def test_a_wrong_clock_of_ours_does_not_move_the_end() -> None:
    theirs = NOW + timedelta(minutes=20)
    headers = {
        "date": theirs.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(theirs.timestamp()) + 90),
    }
    assert errors.limit_ends(headers, now=NOW) == NOW + timedelta(seconds=90)


@given(
    st.integers(400, 599),
    st.dictionaries(st.sampled_from(["retry-after", "date", "x-ratelimit-reset", "x-ratelimit-remaining"]), st.text()),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "errors", "field", "code"]), inner),
    ),
)
def test_no_answer_is_too_strange(status: int, headers: dict[str, str], data: Any) -> None:
    found = errors.refusal(status, headers, data, maybe_applied=True, now=NOW)
    assert len(str(found)) < 800 and "\n" not in str(found)
    if isinstance(found, RateLimitedError):
        assert timedelta(0) < found.retry_at - NOW <= timedelta(hours=2)


SECRETS = [
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0abcdefghij_abcdefgh",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.c2lnbmF0dXJl",
    "Bearer abcdefghijklmnopqrstuvwxyz",
    "token abcdefghijklmnopqrstuvwxyz",
    "https://x-access-token:hunter2hunter2@github.com/acme",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_messages_show_no_secret(secret: str) -> None:
    shown = str(refusal(422, f"Refused: {secret} is no good"))
    assert "[secret]" in shown
    assert not any(part in shown for part in ("16C7e42F", "abcdefghij", "eyJpc3M", "hunter2"))


def test_ordinary_words_stay() -> None:
    said = "No commit found for SHA: 3b18e512dba79e4c8300dd08aeb37f8e728b8dad; see https://docs.github.com/rest"
    assert said in str(refusal(422, said))


def test_the_networks_own_words_are_left_out() -> None:
    error = requests.exceptions.InvalidHeader('Header part ("token ghp_x\\n") from Authorization is invalid')
    found = errors.translated(error, maybe_applied=True, now=NOW)
    assert isinstance(found, UnavailableError) and found.maybe_applied
    assert "ghp" not in str(found) and "InvalidHeader" in str(found)


def test_only_a_connection_that_never_came_about_is_certain() -> None:
    refused = MaxRetryError(None, "/x", NewConnectionError(None, "refused"))
    silent = MaxRetryError(None, "/x", ReadTimeoutError(None, "/x", "silent"))
    assert errors.nothing_was_sent(requests.ConnectionError(refused))
    assert errors.nothing_was_sent(requests.ConnectTimeout(refused))
    for error in (requests.ConnectionError(silent), requests.ReadTimeout(), requests.ConnectionError(), OSError()):
        assert not errors.nothing_was_sent(error)


def test_other_peoples_errors_are_not_translated() -> None:
    for error in (ValueError("mine"), AssertionError("mine"), OSError("mine")):
        assert errors.translated(error, maybe_applied=False, now=NOW) is None


def test_an_answer_of_another_shape_is_unavailable() -> None:
    error = github.BadAttributeException("list", dict, None)
    assert isinstance(errors.translated(error, maybe_applied=False, now=NOW), UnavailableError)


def test_our_own_errors_pass() -> None:
    error = NotFoundError("x")
    assert errors.translated(error, maybe_applied=False, now=NOW) is error
