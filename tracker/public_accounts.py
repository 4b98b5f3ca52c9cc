"""Our accounts at GitHub as the rest of the program sees them: rights, credentials for git, and whether all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.utils import timezone

from tracker import queries
from tracker.conf import conf
from tracker.github import auth, checkup, permissions, tokens
from tracker.github.checkup import Finding
from tracker.github.session import open_session
from tracker.models import Installation, Repository
from tracker.public_errors import InvalidError, TrackerError
from tracker.public_types import Trust

__all__ = [
    "Finding",
    "GitCredential",
    "InstallationView",
    "check_account",
    "clone_url",
    "git_credential",
    "installations",
    "permission",
    "permissions_of",
]

_PUSH = {"contents": "write", "metadata": "read"}
_INSTALLATIONS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCredential:
    """What git needs to clone, fetch and push once; good for at least five minutes. Never store it."""

    url: str
    """Without credentials in it."""
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationView:
    """Our GitHub App on one account."""

    id: int
    account: str
    is_suspended: bool
    permissions: dict[str, str]


def permission(repository_id: int, login: str) -> Trust:
    """What somebody may do in a repository: at most five minutes old, NONE when GitHub cannot be asked.

    Call it outside any transaction: it may go over the network.

    Raises:
        NotFoundError: No such repository of ours.
        RuntimeError: GitHub has to be asked and a transaction is open.
    """
    return permissions_of(repository_id, [login])[login]


def permissions_of(repository_id: int, logins: Iterable[str]) -> dict[str, Trust]:
    """What several people may do, with one session for all that are to be asked about. See `permission`."""
    repository, now = queries.repository(repository_id), timezone.now()
    found = {login: permissions.known(repository, login, now=now) for login in logins}
    if None in found.values():
        try:
            with open_session(repository) as session:
                asked = {
                    login: permissions.look_up(session, repository, login, now=now)
                    for login, trust in found.items()
                    if trust is None
                }
        except TrackerError as error:
            permissions.doubt(repository, ", ".join(found), error)
            asked = {}
        found |= asked
    return {login: trust or Trust.NONE for login, trust in found.items()}


def git_credential(repository_id: int, *, refused: str = "") -> GitCredential:
    """Credentials for one clone, fetch or push; an App's can do nothing but that, in this repository.

    Args:
        refused: A password that git was refused with; an App's is not handed out again.

    Raises:
        NotFoundError: No such repository of ours.
        InvalidError: It is not on GitHub.
        NotOursError: Its name leads to another repository, or to none.
        TrackerError: GitHub gives no token.
    """
    repository = queries.repository(repository_id)
    if repository.tracker != Repository.Kind.GITHUB:
        raise InvalidError(f"{repository.scope} is not on GitHub: git needs no credentials from there.")
    url = clone_url(repository.scope)
    open_session(repository, afresh=True).close()  # which makes sure of the name
    if auth.has_app():
        grant = auth.grant(repository, installation_id=auth.installation_of(repository), permissions=_PUSH)
        if refused:
            tokens.drop(grant, refused)
        password = tokens.get(grant, mint=auth.mint).secret
    else:
        password = auth.personal_token()
    return GitCredential(url=url, username="x-access-token", password=password)


def clone_url(scope: str) -> str:
    """Where git finds a repository: `https://github.com/acme/widgets.git`.

    Raises:
        NotFoundError: It cannot be a repository.
    """
    auth.check_scope(scope)
    return f"{conf().git_url}/{scope}.git"


def installations() -> list[InstallationView]:
    """Where our App is installed, read from GitHub into our rows; nothing without an App.

    Raises:
        TrackerError: GitHub could not be asked.
    """
    if not auth.has_app():
        return []
    now, found = timezone.now(), list[InstallationView]()
    with auth.app_calls() as calls:
        for page in range(1, _INSTALLATIONS_MAX // 100 + 1):
            _, _, answer = calls.json("GET", f"/app/installations?per_page=100&page={page}")
            items = [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []
            found += [_installation(item) for item in items]
            if len(items) < 100:
                break
    for one in found:
        facts = {"account": one.account, "is_suspended": one.is_suspended, "permissions": one.permissions}
        # Still listed, so not deleted; when it was changed is told by its events.
        Installation.objects.update_or_create(
            installation_id=one.id,
            defaults={**facts, "is_deleted": False},
            create_defaults={**facts, "updated_at": now},
        )
    return found


def check_account() -> list[Finding]:
    """What is well and what is not: credentials, permissions, webhook secrets, quota, clocks; each with a remedy."""
    return checkup.check(now=timezone.now())


def _installation(item: dict[str, object]) -> InstallationView:
    account, granted = item.get("account"), item.get("permissions")
    return InstallationView(
        id=int(str(item["id"])),
        account=str(account.get("login", ""))[:100] if isinstance(account, dict) else "",
        is_suspended=item.get("suspended_at") is not None,
        permissions={str(name): str(value) for name, value in granted.items()} if isinstance(granted, dict) else {},
    )
