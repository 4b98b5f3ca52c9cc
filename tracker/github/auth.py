"""Who we are on GitHub: our App's installation on a repository's account, or a machine user's personal token."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import github
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from django.utils import timezone

from tracker.conf import conf
from tracker.github import errors, tokens
from tracker.github.calls import Calls
from tracker.github.tokens import Grant, Token
from tracker.models import Repository
from tracker.public_errors import CredentialError, ForbiddenError, InvalidError, NotFoundError, UnavailableError

_LOGIN_SECONDS = 3_600
_SCOPE = re.compile(r"(?!\.{1,2}/)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Credentials, and who they make us."""

    account: str
    """Whose quota is spent: `installation:12` or `token:LOGIN`."""
    login: str
    """`agent-grid[bot]`, or the token's login."""
    auth: github.Auth.Auth = field(repr=False)
    renew: Callable[[], bool] | None = field(default=None, repr=False)


class InstallationAuth(github.Auth.Auth):
    """A token of an installation, minted when the first request needs it and again before it expires."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._token: Token | None = None
        self._was_renewed = False

    @property
    def token_type(self) -> str:
        """GitHub's word in the Authorization header."""
        return "token"

    @property
    def token(self) -> str:
        """A token that lasts."""
        if self._token is None or not self._token.lasts(timezone.now()):
            self._token = tokens.get(self._grant, mint=mint)
        return self._token.secret

    def renew(self) -> bool:
        """Drop the token that GitHub refused; False when that was tried already."""
        if self._was_renewed or self._token is None:
            return False
        self._was_renewed = True
        tokens.drop(self._grant, self._token.secret)
        self._token = None
        return True


def identity(repository: Repository) -> Identity:
    """Who we are in a repository; may ask GitHub for our login and our installation.

    Raises:
        CredentialError: Nothing is configured, or the key or the token is unusable.
        ForbiddenError: The App is not installed there.
        TrackerError: GitHub could not be asked.
    """
    check_scope(repository.scope)
    if not has_app():
        login = _token_login()
        return Identity(account=f"token:{login}", login=login, auth=github.Auth.Token(personal_token()))
    number = installation_of(repository)
    auth = InstallationAuth(grant(repository, installation_id=number))
    return Identity(account=f"installation:{number}", login=app_login(), auth=auth, renew=auth.renew)


def grant(repository: Repository, *, installation_id: int, permissions: Mapping[str, str] | None = None) -> Grant:
    """What a token for a repository is for."""
    return Grant(
        installation_id=installation_id,
        repository=repository.scope.split("/")[1],
        repository_id=repository.remote_id,
        permissions=permissions,
    )


def check_scope(scope: str) -> None:
    """Refuse what cannot be an owner and a name.

    Raises:
        NotFoundError: It cannot exist.
    """
    if not _SCOPE.fullmatch(scope):
        raise NotFoundError(f"{scope[:80]!r} is no repository on GitHub; write OWNER/NAME.")


# --- the App -------------------------------------------------------------------------------------------------------


def has_app() -> bool:
    """Whether an App is configured; it wins over a personal token.

    Raises:
        CredentialError: Neither is, or just half of an App.
    """
    settings = conf()
    if bool(settings.app_id) != bool(settings.app_key):
        missing = "GITHUB_APP_PRIVATE_KEY" if settings.app_id else "GITHUB_APP_ID"
        raise CredentialError(f"The GitHub App is half configured: set {missing} as well (docs/github.md).")
    if not settings.app_id and not settings.token:
        raise CredentialError(
            "GitHub is not configured: set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY, or GITHUB_TOKEN (docs/github.md)."
        )
    return bool(settings.app_id)


def app_calls() -> Calls:
    """A client signed as our App itself: for installations, tokens and the App's own webhook.

    Raises:
        CredentialError: No App is configured, or its key is no private key.
    """
    if not has_app():
        raise CredentialError("This needs a GitHub App: set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY (docs/github.md).")
    key = conf().app_key
    auth = github.Auth.AppAuth(conf().app_id, lambda: _private_key(key))
    try:
        auth.create_jwt()
    except (ValueError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm):
        # Whatever cryptography says may quote the key.
        message = "GITHUB_APP_PRIVATE_KEY is no RSA private key in PEM; download a new one in the App's settings."
        raise CredentialError(message) from None
    return Calls(auth=auth)


@functools.lru_cache(maxsize=2)
def _private_key(pem: str) -> Any:
    """The key, read once: checking it takes some 40 ms of a core, signing with it one."""
    return serialization.load_pem_private_key(pem.encode(), password=None)


def app_login() -> str:
    """The login of our App's bot."""

    def ask() -> str:
        with app_calls() as calls:
            return f"{_value(calls.json('GET', '/app'), 'slug')}[bot]"

    return _remembered(f"app:{conf().app_id}", ask)


def installation_of(repository: Repository) -> int:
    """The number of our App's installation on a repository, stored in its row once known.

    Raises:
        ForbiddenError: The App is not installed there.
    """
    if repository.installation_id is not None:
        return repository.installation_id
    try:
        with app_calls() as calls:
            number = int(_value(calls.json("GET", f"/repos/{repository.scope}/installation"), "id"))
    except NotFoundError as error:
        message = f"The GitHub App is not installed on {repository.scope}: install it there in the App's settings."
        raise ForbiddenError(message) from error
    repository.installation_id = number
    Repository.objects.filter(pk=repository.pk, installation_id=None).update(installation_id=number)
    return number


def mint(grant: Grant) -> Token:
    """A new token from GitHub.

    Raises:
        ForbiddenError: The installation is gone, or lacks the repository or the permissions.
        UnavailableError, RateLimitedError: Try later; nothing else was done.
    """
    path = f"/app/installations/{grant.installation_id}/access_tokens"
    by_number = grant.repository_id is not None
    body: dict[str, object] = (
        {"repository_ids": [grant.repository_id]} if by_number else {"repositories": [grant.repository]}
    )
    if grant.permissions is not None:
        body["permissions"] = dict(grant.permissions)
    try:
        with app_calls() as calls:
            answer = calls.json("POST", path, body)
    except UnavailableError as error:
        raise UnavailableError(f"No token for the App's installation: {error}", maybe_applied=False) from error
    except NotFoundError as error:
        # Installed anew, it has another number: forget this one, the next task looks it up.
        Repository.objects.filter(installation_id=grant.installation_id).update(installation_id=None)
        message = f"The App's installation {grant.installation_id} is gone: install the App on the repository again."
        raise ForbiddenError(message) from error
    except InvalidError as error:
        message = (
            f"The App's installation {grant.installation_id} lacks {grant.repository} or a permission ({error}): "
            "add it in the installation's settings, then run `manage.py github check`"
        )
        raise ForbiddenError(message) from error
    return Token(secret=_value(answer, "token"), expires_at=datetime.fromisoformat(_value(answer, "expires_at")))


# --- the personal token --------------------------------------------------------------------------------------------


def personal_token() -> str:
    """The machine user's token.

    Raises:
        CredentialError: It has blanks or line ends within.
    """
    token = conf().token.strip()
    if not _TOKEN.fullmatch(token):
        raise CredentialError("GITHUB_TOKEN is no token: it is too long, or has blanks or line ends within.")
    return token


def token_calls() -> Calls:
    """A client with the personal token, for questions about the token itself."""
    return Calls(auth=github.Auth.Token(personal_token()))


def _token_login() -> str:
    def ask() -> str:
        with token_calls() as calls:
            return _value(calls.json("GET", "/user"), "login")

    return _remembered(f"token:{hashlib.sha256(personal_token().encode()).hexdigest()}", ask)


def _remembered(name: str, ask: Callable[[], str]) -> str:
    key = f"tracker:github:login:{hashlib.sha256(f'{conf().api_url} {name}'.encode()).hexdigest()[:40]}"
    found = tokens.cached(key)
    if isinstance(found, str):
        return found
    login = ask()
    tokens.keep(key, login, seconds=_LOGIN_SECONDS)
    return login


def _value(answer: tuple[int, Mapping[str, str], Any], name: str) -> str:
    """A value of an answer that GitHub always gives."""
    found = answer[2].get(name) if isinstance(answer[2], dict) else None
    if not isinstance(found, str | int):
        raise errors.misfit(f"no {name}", maybe_applied=False)
    return str(found)
