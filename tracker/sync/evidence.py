"""Who did what to an issue, when, and what they may do: read from GitHub's own records, not from what anybody was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from tracker import limits, queries
from tracker.conf import conf
from tracker.github import parts, permissions
from tracker.github.session import Session, open_session
from tracker.models import Repository
from tracker.public_errors import NotFoundError, RateLimitedError, TrackerError, UnavailableError
from tracker.public_types import Trust
from tracker.sync import pages
from tracker.sync.pages import Json

_MAX_PAGES = 5
"""Of the timeline, from its end; what happened before does not count."""
_LABELS = ("labeled", "unlabeled")
_PEOPLE = ("assigned", "unassigned")
# Titles have events of their own; of a body the API tells only who edited it last, and only by GraphQL.
# https://docs.github.com/en/graphql/reference/objects#issue
_LAST_EDIT = (
    "query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) "
    "{ issue(number: $number) { lastEditedAt editor { __typename login } } } }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Somebody, and what they may do in the repository."""

    login: str
    trust: Trust
    is_bot: bool
    """Our own account, or a bot that nobody allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that somebody did to an issue."""

    by: Standing
    at: datetime
    is_on: bool = True
    """Of a label or an assignment: put on, not taken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What GitHub recorded."""

    labels: Mapping[str, Deed] = field(default_factory=dict)
    """The last deed with each label, by its name in lower case."""
    assignments: Mapping[str, Deed] = field(default_factory=dict)
    """The last deed with each assignee, by login in lower case."""
    text_changes: tuple[Deed, ...] = ()
    """Every change of the title that is known, and the last one of the body."""


def evidence(repository_id: int, key: str) -> Evidence:
    """What GitHub recorded of an issue's labels, assignees and texts.

    Raises:
        NotFoundError: There is no such issue.
        TrackerError: GitHub did not let us look; nobody is distrusted for that.
    """
    repository = queries.repository(repository_id)
    if not limits.is_number(key):
        raise NotFoundError(f"There is no issue {key[:50]!r}.")
    with open_session(repository) as session:
        events = list(_timeline(session, key))
        edit = _last_edit(session, repository.scope, key)
        standings: dict[str, Standing] = {}

        def deed(event: Json, person: object, at: datetime) -> Deed:
            login = parts.login(person)
            if login not in standings:
                standings[login] = _standing(session, repository, login, is_bot=parts.is_bot(person))
            return Deed(by=standings[login], at=at, is_on=event.get("event") in ("labeled", "assigned"))

        found: dict[str, Deed] = {}
        renamed = []
        for event in events:
            at = parts.optional_moment(event.get("created_at"))
            name = _about(event)
            if at is None or not name:
                continue
            person = (event.get("assigner") if event.get("event") in _PEOPLE else None) or event.get("actor")
            if name == "title":
                renamed.append(deed(event, person, at))
            else:
                found[name] = deed(event, person, at)
        edited = [deed({}, edit[0], edit[1])] if edit is not None else []
    return Evidence(
        labels={name.removeprefix("label:"): one for name, one in found.items() if name.startswith("label:")},
        assignments={name.removeprefix("person:"): one for name, one in found.items() if name.startswith("person:")},
        text_changes=tuple(sorted([*renamed, *edited], key=lambda one: one.at)),
    )


def standing(repository_id: int, login: str) -> Standing:
    """What somebody may do, at most five minutes old.

    Raises:
        RateLimitedError, UnavailableError: GitHub could not be asked; ask again rather than distrust everybody.
    """
    repository = queries.repository(repository_id)
    with open_session(repository) as session:
        return _standing(session, repository, login, is_bot=login.endswith("[bot]"))


def machine_user() -> str:
    """Login that people assign to hand an issue to us; empty when there is none."""
    return conf().machine_user


def _about(event: Json) -> str:
    kind = event.get("event")
    if kind in _LABELS:
        name = parts.text(parts.item(event.get("label")).get("name")).casefold()
        return f"label:{name}" if name else ""
    if kind in _PEOPLE:
        return f"person:{parts.login(event.get('assignee')).casefold()}"
    return "title" if kind == "renamed" else ""


def _timeline(session: Session, key: str) -> Iterable[Json]:
    """The last pages, oldest event first."""
    path = f"{session.path}/issues/{key}/timeline?per_page={pages.PER_PAGE}"
    first = pages.get(session, path)
    last = pages.page_number(first.last_url)
    start = max(2, last - _MAX_PAGES + 1)
    if start == 2:
        yield from first.items
    for page in range(start, last + 1):
        yield from pages.get(session, f"{path}&page={page}").items


def _last_edit(session: Session, scope: str, key: str) -> tuple[Json, datetime] | None:
    owner, _, name = scope.partition("/")
    variables: dict[str, Any] = {"owner": owner, "name": name, "number": int(key)}
    with session.calling():
        _, answer = session.github.requester.graphql_query(_LAST_EDIT, variables)
    data = parts.item(parts.item(answer).get("data"))
    issue = parts.item(parts.item(data.get("repository")).get("issue"))
    at = parts.optional_moment(issue.get("lastEditedAt"))
    if at is None:
        return None
    editor = dict(parts.item(issue.get("editor")))
    is_bot = editor.get("__typename") == "Bot"
    suffix = "[bot]" if is_bot and not str(editor.get("login", "")).endswith("[bot]") else ""
    return {"login": f"{editor.get('login') or parts.GHOST}{suffix}", "type": "Bot" if is_bot else "User"}, at


def _standing(session: Session, repository: Repository, login: str, *, is_bot: bool) -> Standing:
    if parts.is_same_login(login, session.login):
        return Standing(login=login, trust=Trust.WRITE, is_bot=True)
    is_refused = is_bot and login.lower() not in conf().allowed_bots
    try:
        trust = permissions.ask(session, repository, login, now=timezone.now())
    except (RateLimitedError, UnavailableError):
        raise
    except TrackerError as error:
        permissions.doubt(repository, login, error)
        trust = Trust.NONE
    return Standing(login=login, trust=trust, is_bot=is_refused)
