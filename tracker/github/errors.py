"""From what GitHub, its client or the network said to the errors of this package. Pure but for reading exceptions.

Measured with PyGithub 2.10 and a plain urllib3 Retry; GitHub's own words:
https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import github
import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from tracker.limits import clean_text
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

SECONDARY_PAUSE_SECONDS = 60
"""GitHub asks for at least a minute when it does not say how long."""
_LONGEST_PAUSE = timedelta(hours=2)
_MESSAGE_MAX_CHARS = 300
_SECRETS = re.compile(
    r"gh[a-z]_\w{10,}|github_pat_\w{10,}|eyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?|\b[0-9a-f]{40}\b(?=[^/]*@)"
    r"|(?i:(?:bearer|token|basic)\s+[\w+/=.-]{16,})|//[^/\s@]+@"
)
_LIMIT_WORDS = ("rate limit", "abuse detection", "please retry your request again later", "please wait a few minutes")
_PYGITHUBS_SURPRISE = (AssertionError, RuntimeError, TypeError, ValueError, LookupError, AttributeError)
"""What PyGithub trips over when an answer has another shape. Nothing else: a task's time limit must pass through."""
_TOO_QUICK = "submitted too quickly"
_CHECK = "then run `manage.py github check`"


def refusal(
    status: int, headers: Mapping[str, str] | None, data: object, *, maybe_applied: bool, now: datetime
) -> TrackerError:
    """The error for an answer of 400 or above.

    Args:
        headers: With keys in lower case.
        data: The answer's JSON.
        maybe_applied: Whether a write may have been carried out, should GitHub have failed on its side.
        now: Aware time at which the answer came.
    """
    headers = headers or {}
    message = _message(data)
    if is_limit(status, headers, data):
        retry_at = limit_ends(headers, now=now)
        return RateLimitedError(f"GitHub asks us to wait until {retry_at:%H:%M:%S} UTC: {message}", retry_at=retry_at)
    if status == 401:
        return CredentialError(
            f"GitHub does not accept our credentials ({message}): renew GITHUB_TOKEN, or check GITHUB_APP_ID, "
            f"GITHUB_APP_PRIVATE_KEY and this machine's clock, {_CHECK}"
        )
    if status in (403, 451):
        return ForbiddenError(_forbidden(message, headers))
    if status == 404 or (status == 410 and "deleted" in message.lower()):
        return NotFoundError(f"GitHub does not have it, or does not show it to us: {message}")
    if status == 410:
        return ForbiddenError(
            f"GitHub refuses ({message}): if issues are switched off, switch them on in the repository's settings"
        )
    if status == 409 or (status == 422 and _exists_already(data, message)):
        return ConflictError(f"GitHub has a newer state: {message}")
    if status >= 500 or status == 408:
        return UnavailableError(f"GitHub failed with {status}: {message}", maybe_applied=maybe_applied)
    return InvalidError(f"GitHub refuses this for ever ({status}): {message}", field=_field(data))


def translated(error: Exception, *, maybe_applied: bool, now: datetime) -> TrackerError | None:
    """The error of ours for one raised around a call, or None when it is no business of GitHub's.

    Texts of the network's errors are left out: they may quote headers.
    """
    if isinstance(error, TrackerError):
        return error
    if isinstance(error, github.BadAttributeException | github.IncompletableObject):
        return misfit(type(error).__name__, maybe_applied=maybe_applied)
    if isinstance(error, github.GithubException):
        return refusal(error.status, lower_keys(error.headers), error.data, maybe_applied=maybe_applied, now=now)
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        # A JSON error of requests is one of these, too.
        return UnavailableError(f"GitHub did not answer: {_cause(error)}", maybe_applied=maybe_applied)
    if isinstance(error, _PYGITHUBS_SURPRISE) and _raised_by_pygithub(error):
        return misfit(type(error).__name__, maybe_applied=maybe_applied)
    return None


def misfit(what: str, *, maybe_applied: bool) -> UnavailableError:
    """The error for an answer that no GitHub would give: another host's URLs, a page of HTML, another shape."""
    return UnavailableError(
        f"The server's answer does not fit GitHub's API ({what}): check that GITHUB_API_URL is its address exactly as "
        "it names itself, and that no proxy answers instead.",
        maybe_applied=maybe_applied,
    )


def nothing_was_sent(error: Exception) -> bool:
    """True when no connection came about, so that the request cannot have had an effect."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError | ConnectTimeoutError)


def is_limit(status: int, headers: Mapping[str, str], data: object) -> bool:
    """Whether an answer says that we asked too much: primary, secondary and content limits."""
    if status == 429:
        return True
    message = _message(data).lower()
    if status == 403:
        return "retry-after" in headers or any(words in message for words in _LIMIT_WORDS)
    return status == 422 and _TOO_QUICK in message


def limit_ends(headers: Mapping[str, str], *, now: datetime) -> datetime:
    """When to ask again after a limit: between a second and two hours from now.

    A reset is read against the answer's own Date, so that a wrong clock of ours does not matter.
    """
    retry_after = headers.get("retry-after", "").strip()
    pause = timedelta(seconds=SECONDARY_PAUSE_SECONDS)
    if retry_after.isdecimal() and len(retry_after) < 9:
        pause = timedelta(seconds=int(retry_after))
    elif retry_after and (moment := http_date(retry_after)):
        pause = moment - (http_date(headers.get("date", "")) or now)
    elif headers.get("x-ratelimit-remaining") == "0" and (reset := reset_at(headers, now=now)):
        pause = reset - now
    return now + min(max(pause, timedelta(seconds=1)), _LONGEST_PAUSE)


def reset_at(headers: Mapping[str, str], *, now: datetime) -> datetime | None:
    """When the quota is full again, by our clock; None when the answer does not say."""
    try:
        reset = datetime.fromtimestamp(float(headers["x-ratelimit-reset"]), tz=UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    theirs = http_date(headers.get("date", ""))
    return now + (reset - theirs) if theirs else reset


def http_date(text: str) -> datetime | None:
    """An HTTP header's time, aware; None when it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def lower_keys(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """Headers by name in lower case."""
    return {str(name).lower(): str(value) for name, value in (headers or {}).items()}


def without_secrets(text: str) -> str:
    """Text for people: one clean line, short, without anything that looks like a token."""
    line = " ".join(clean_text(_SECRETS.sub("[secret]", text)).split())
    return line if len(line) <= _MESSAGE_MAX_CHARS else line[: _MESSAGE_MAX_CHARS - 1] + "…"


def _message(data: object) -> str:
    if not isinstance(data, Mapping):
        return "no reason given"
    said = [data.get("message")] + [
        item.get("message") or " ".join(str(item[name]) for name in ("resource", "field", "code") if name in item)
        if isinstance(item, Mapping)
        else item
        for item in _errors(data)
    ]
    return without_secrets("; ".join(str(text) for text in said if text)) or "no reason given"


def _errors(data: object) -> list[Any]:
    found = data.get("errors") if isinstance(data, Mapping) else None
    return found[:10] if isinstance(found, list) else []


def _field(data: object) -> str:
    fields = [item.get("field") for item in _errors(data) if isinstance(item, Mapping)]
    return next((without_secrets(field)[:50] for field in fields if isinstance(field, str)), "")


def _exists_already(data: object, message: str) -> bool:
    codes = [item.get("code") for item in _errors(data) if isinstance(item, Mapping)]
    return "already_exists" in codes or "already exists" in message.lower()


def _forbidden(message: str, headers: Mapping[str, str]) -> str:
    if "resource not accessible" in message.lower():
        needed = without_secrets(headers.get("x-accepted-github-permissions", "")) or "see docs/github.md"
        return (
            f"GitHub refuses ({message}). The permission it needs: {needed}. Grant it in the App's or the token's "
            f"settings, accept it where the App is installed, {_CHECK}"
        )
    return f"GitHub refuses ({message}). Check our rights in this repository, {_CHECK}"


def _cause(error: BaseException) -> str:
    """The names of the error and of what caused it, the innermost last."""
    names = [type(error).__name__]
    inner = error.args[0] if error.args else None
    if isinstance(inner, MaxRetryError) and inner.reason is not None:
        names.append(type(inner.reason).__name__)
    elif isinstance(inner, BaseException):
        names.append(type(inner).__name__)
    return ", ".join(dict.fromkeys(names))


def _raised_by_pygithub(error: Exception) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # The innermost frame that is not the standard library's: PyGithub parses JSON and dates with it.
    modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    ours_or_theirs = [name for name in modules if name.split(".")[0] in ("github", "tracker", "coordinator", "tests")]
    return bool(ours_or_theirs) and ours_or_theirs[-1].split(".")[0] == "github"
