"""GitHub repositories taken under care, and what is left of them when they are renamed."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from tracker import limits, queries
from tracker.conf import conf
from tracker.github import parts
from tracker.github.session import Session, open_session
from tracker.models import Repository
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import RepositoryView
from tracker.sync import pages


def add_repository(scope: str, *, replace: bool = False) -> RepositoryView:
    """Take a GitHub repository under care, or bring what we know of it up to date.

    Args:
        scope: `owner/name`.
        replace: Another repository that we know by this name is set aside, with all that belongs to it.

    Raises:
        InvalidError: Its issues are switched off, or we know another repository by this name.
        NotFoundError: There is none, or it is not shown to us.
        TrackerError: GitHub did not let us look.
    """
    wanted = Repository(tracker=Repository.Kind.GITHUB, scope=scope)
    with open_session(wanted) as session:  # which finds out the installation, if there is an App
        found = _read(session, scope)
    if found.get("has_issues") is False:
        raise InvalidError(
            f"Issues are switched off in {scope}; switch them on in its settings, under Features.", field="scope"
        )
    name = parts.text(found.get("full_name"), longest=200) or scope
    values = {
        "scope": name,
        "source": f"{conf().git_url}/{name}.git",
        "default_branch": parts.text(found.get("default_branch"), longest=250) or "main",
        "is_active": True,
        "installation_id": wanted.installation_id,
    }
    remote_id = parts.number(found, "id")
    with transaction.atomic():
        rows = Repository.objects.filter(tracker=Repository.Kind.GITHUB)
        row, named = rows.filter(remote_id=remote_id).first(), rows.filter(scope__iexact=name).first()
        if named is not None and row is None and named.remote_id is None:
            row = named
        if named is not None and (row is None or row.pk != named.pk):
            _set_aside(named, may=replace)
        row = row or Repository(tracker=Repository.Kind.GITHUB)
        for field, value in {**values, "remote_id": remote_id}.items():
            setattr(row, field, value)
        row.save()
    return queries.repository_view(row)


def _set_aside(row: Repository, *, may: bool) -> None:
    """Free the name of a row for another repository: its agents must not go on in one that just has the same name."""
    if not may:
        raise InvalidError(
            f"{row.scope} is another repository than the one under care by this name (GitHub's {row.remote_id}). If ours was "
            f"renamed, `github add` its present name first; if it is gone, `manage.py github add {row.scope} --replace` "
            "takes the new one instead.",
            field="scope",
        )
    row.scope, row.is_active = f"{row.scope}@{row.remote_id or row.pk}"[: limits.NAME_MAX_CHARS], False
    row.save(update_fields=["scope", "is_active"])


def our_login(repository_id: int) -> str:
    """Who we are in a repository.

    Raises:
        TrackerError: GitHub could not be asked.
    """
    with open_session(queries.repository(repository_id)) as session:
        return session.login


def is_us(repository_id: int, login: str) -> bool:
    """Whether a login is ours. Errors as `our_login`."""
    return parts.is_same_login(login, our_login(repository_id))


def is_readable(session: Session, repository: Repository) -> bool:
    """Whether the repository itself is there and shown to us: what is missing in it then is really gone."""
    try:
        return bool(_read(session, repository.scope))
    except NotFoundError:
        return False


def follow_rename(session: Session, repository: Repository, scope: str) -> bool:
    """Whether our repository is called `scope` now; its row says so from then on."""
    try:
        found = _read(session, scope)
    except NotFoundError:
        return False
    if repository.remote_id is None or found.get("id") != repository.remote_id:
        return False
    name = parts.text(found.get("full_name"), longest=200)
    values = {"scope": name, "source": f"{conf().git_url}/{name}.git"}
    try:
        with transaction.atomic():
            Repository.objects.filter(pk=repository.pk).update(**values)
    except IntegrityError:  # another row has that name: the old one's repository was deleted, or renamed as well
        return False
    repository.scope, repository.source = values["scope"], values["source"]
    return True


def _read(session: Session, scope: str) -> dict[str, Any]:
    body = pages.get(session, f"/repos/{scope}").body
    return body if isinstance(body, dict) else {}
