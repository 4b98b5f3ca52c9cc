"""Is our account at GitHub set up well? Looks, changes nothing, and names a remedy for each fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker.conf import conf
from tracker.github import auth, errors
from tracker.github.calls import Calls
from tracker.github.session import Session, open_session
from tracker.models import Repository
from tracker.public_errors import TrackerError

NEEDED = {
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "metadata": "read",
    "checks": "read",
    "statuses": "read",
    "actions": "read",
}
"""Permissions of our App, or of a fine-grained token, by GitHub's names."""
SKEW_MAX_SECONDS = 30
"""GitHub refuses an App's signature from a clock that is a minute off."""
_LOW_SHARE = 0.2
_REPOSITORIES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about our account, and what to do when it is not good."""

    is_ok: bool
    what: str
    remedy: str = ""


def check(*, now: datetime) -> list[Finding]:
    """Everything that can be seen from here; a check that fails does not hide the next."""
    found = [*_secret()]
    try:
        found += _app(now) if auth.has_app() else _token(now)
    except TrackerError as error:
        # Each of these messages names its own remedy.
        return [Finding(is_ok=False, what="Credentials", remedy=str(error)), *found]
    rows = Repository.objects.filter(tracker=Repository.Kind.GITHUB, is_active=True).order_by("scope")
    accounts: set[str] = set()
    for row in rows[:_REPOSITORIES_MAX]:
        found += _repository(row, accounts)
    return found


def missing(granted: Mapping[str, Any]) -> list[str]:
    """What is lacking of `NEEDED`, as `issues: write`."""
    strength = {"read": 1, "write": 2, "admin": 3}
    held = {name: strength.get(str(level), 0) for name, level in granted.items()} | {"metadata": 1}
    return [f"{name}: {level}" for name, level in NEEDED.items() if held.get(name, 0) < strength[level]]


def _secret() -> Iterator[Finding]:
    secrets = conf().webhook_secrets
    if not secrets:
        remedy = (
            "Set GITHUB_WEBHOOK_SECRET to a random text, the same in the webhook's settings at GitHub: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
        yield Finding(is_ok=False, what="No webhook secret is set: every webhook is refused", remedy=remedy)
    elif min(len(secret) for secret in secrets) < 16:
        yield Finding(is_ok=False, what="A webhook secret is short", remedy="Use at least 16 random characters.")
    else:
        yield Finding(is_ok=True, what="Webhook secret")


def _app(now: datetime) -> Iterator[Finding]:
    with auth.app_calls() as calls:
        _, headers, answer = calls.json("GET", "/app")
    body = answer if isinstance(answer, dict) else {}
    yield Finding(is_ok=True, what=f"GitHub App {body.get('slug', '?')}, as {auth.app_login()}")
    yield from _clock(headers, now)
    yield _permissions("The App", body.get("permissions"), "Add it under Permissions in the App's settings.")


def _token(now: datetime) -> Iterator[Finding]:
    with auth.token_calls() as calls:
        _, headers, answer = calls.json("GET", "/user")
    login = answer.get("login", "?") if isinstance(answer, dict) else "?"
    yield Finding(is_ok=True, what=f"Personal token of {login}")
    yield from _clock(headers, now)
    scopes = headers.get("x-oauth-scopes")
    if scopes is not None:  # only classic tokens have scopes; what a fine-grained one may do shows in its repositories
        held = {scope.strip() for scope in scopes.split(",")}
        remedy = "Renew it with the scope repo, or better: make a fine-grained token (docs/github.md)."
        yield Finding(is_ok="repo" in held, what=f"The token's scopes: {scopes or 'none'}", remedy=remedy)


def _clock(headers: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    theirs = errors.http_date(headers.get("date", ""))
    if theirs is None:
        return
    skew = (now - theirs).total_seconds()
    remedy = "Switch on time synchronisation (NTP): GitHub refuses an App whose clock is a minute ahead."
    direction = "ahead of" if skew > 0 else "behind"
    is_ok = abs(skew) <= SKEW_MAX_SECONDS
    what = "Clock" if is_ok else f"This machine's clock is {abs(skew):.0f} s {direction} GitHub's"
    yield Finding(is_ok=is_ok, what=what, remedy=remedy)


def _permissions(who: str, granted: object, remedy: str) -> Finding:
    lacking = missing(granted if isinstance(granted, dict) else {})
    what = f"{who} lacks {', '.join(lacking)}" if lacking else f"{who} has every permission"
    return Finding(is_ok=not lacking, what=what, remedy=remedy)


def _repository(row: Repository, accounts: set[str]) -> Iterator[Finding]:
    try:
        if auth.has_app():
            number = auth.installation_of(row)
            if f"installation:{number}" not in accounts:
                yield _installation(number)
        with open_session(row) as session:
            yield from _reach(session)
            if session.account not in accounts:
                yield from _quota(session)
            accounts.add(session.account)
    except TrackerError as error:
        yield Finding(is_ok=False, what=row.scope, remedy=str(error))


def _installation(number: int) -> Finding:
    with auth.app_calls() as calls:
        _, _, answer = calls.json("GET", f"/app/installations/{number}")
    body = answer if isinstance(answer, dict) else {}
    account = body.get("account")
    who = account.get("login", "?") if isinstance(account, dict) else "?"
    remedy = f"Let {who} accept the App's new permissions: Settings, GitHub Apps, Review request."
    return _permissions(f"The App's installation on {who}", body.get("permissions"), remedy)


def _reach(session: Session) -> Iterator[Finding]:
    _, _, answer = session.json("GET", session.path)
    body = answer if isinstance(answer, dict) else {}
    faults = []
    rights = body.get("permissions")
    if session.account.startswith("token:") and not (isinstance(rights, dict) and rights.get("push")):
        faults.append((f"{session.login} may not write", f"Give {session.login} the role Write in the repository."))
    if body.get("archived"):
        faults.append(("it is archived", "Unarchive it, or take it out of the grid's care."))
    if body.get("has_issues") is False:
        faults.append(("its issues are switched off", "Switch them on: Settings, General, Features."))
    for what, remedy in faults:
        yield Finding(is_ok=False, what=f"{session.scope}: {what}", remedy=remedy)
    if not faults:
        yield Finding(is_ok=True, what=session.scope)


def _quota(calls: Calls) -> Iterator[Finding]:
    _, _, answer = calls.json("GET", "/rate_limit")
    resources = answer.get("resources") if isinstance(answer, dict) else None
    core = resources.get("core") if isinstance(resources, dict) else None
    if not isinstance(core, dict) or not isinstance(core.get("limit"), int) or not core["limit"]:
        return
    left, limit = int(core.get("remaining", 0)), core["limit"]
    remedy = "Reads are slowed down until it is full again, at most an hour; see what else uses this account."
    yield Finding(is_ok=left >= limit * _LOW_SHARE, what=f"Quota: {left} of {limit} requests left", remedy=remedy)
