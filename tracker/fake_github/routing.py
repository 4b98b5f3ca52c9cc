"""From a method and a path to an answer: routes, the request as views see it, access checks, paging."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracker.fake_github import access
from tracker.fake_github.access import Caller
from tracker.fake_github.errors import ApiError, Json, invalid, not_found
from tracker.fake_github.paging import Listing, page
from tracker.fake_github.records import Comment, Issue, Repository
from tracker.fake_github.store import Store
from tracker.limits import BODY_MAX_CHARS

REPOSITORY = "/repos/{owner}/{repo}"
ISSUE = REPOSITORY + "/issues/{issue_number}"
COMMENT = REPOSITORY + "/issues/comments/{comment_id}"
PULL = REPOSITORY + "/pulls/{pull_number}"
_DOCS = "https://docs.github.com/rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered."""

    status: int
    body: Any
    """JSON value; None sends no body."""
    template: str
    """The route's path with its parameters' names; the path itself when no route fits."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as a view sees it."""

    store: Store
    caller: Caller
    arguments: Mapping[str, str]
    query: Mapping[str, str]
    body: Any

    @property
    def actor_id(self) -> int:
        """Who acts."""
        return self.caller.user_id

    @property
    def repository(self) -> Repository:
        """The repository of the path."""
        return self.store.repository(f"{self.arguments['owner']}/{self.arguments['repo']}")

    @property
    def issue(self) -> Issue:
        """The issue or pull request of the path."""
        number = self.arguments.get("issue_number") or self.arguments["pull_number"]
        if int(number) in self.repository.deleted:
            raise ApiError(410, "This issue was deleted")
        found = self.repository.issues.get(int(number))
        if found is None:
            raise not_found()
        return found

    @property
    def pull(self) -> Issue:
        """The pull request of the path."""
        found = self.issue
        if found.pull is None:
            raise not_found()
        return found

    @property
    def comment(self) -> Comment:
        """The comment of the path."""
        found = self.repository.comments.get(int(self.arguments["comment_id"]))
        if found is None:
            raise not_found()
        return found

    def fields(self) -> Json:
        """The body as an object; an absent body is an empty one."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise ApiError(422, "Invalid request.\n\nFor 'links/0/schema', the body is not an object.")
        return self.body

    def text(self, name: str, *, resource: str, longest: int = BODY_MAX_CHARS) -> str:
        """A text of the body that must be there and not blank."""
        value = self.fields().get(name)
        if not isinstance(value, str) or not value.strip():
            raise invalid(resource=resource, field=name, code="missing_field")
        return bounded(value, name=name, resource=resource, longest=longest)

    def optional_text(self, name: str, *, resource: str, longest: int = BODY_MAX_CHARS) -> str | None:
        """A text of the body, or None for null or nothing."""
        value = self.fields().get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(resource=resource, field=name)
        return bounded(value, name=name, resource=resource, longest=longest)

    def integer(self, name: str, *, resource: str) -> int:
        """A whole number of the body that must be there."""
        value = self.fields().get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid(resource=resource, field=name)
        return value

    def texts(self, name: str, *, bare: bool = False) -> list[str]:
        """A list of texts in the body; labels may be objects with a name.

        Args:
            bare: The body itself may be the list.
        """
        given = self.body if bare and isinstance(self.body, list) else self.fields().get(name)
        items = given if isinstance(given, list) else []
        found = [item.get("name") if isinstance(item, dict) else item for item in items]
        names = [one for one in found if isinstance(one, str)]
        if len(names) != len(found) or not (given is None or isinstance(given, list)):
            raise invalid(resource="Issue", field=name)
        return names

    def needs(self, *, app: str, person: str) -> None:
        """Ask for more than the route does."""
        access.check(self.store, self.caller, self.repository, app=app, person=person, item=self.about())

    def about(self) -> Issue | None:
        """The issue that a path is about, if any."""
        if "issue_number" in self.arguments:
            return self.issue
        return self.repository.issues[self.comment.issue] if "comment_id" in self.arguments else None


def bounded(value: str, *, name: str, resource: str, longest: int = BODY_MAX_CHARS) -> str:
    """The text, unless it is too long.

    Raises:
        ApiError: 422.
    """
    if len(value) > longest:
        message = f"{name} is too long (maximum is {longest} characters)"
        raise invalid(resource=resource, field=name, message=message)
    return value


View = Callable[[Call], tuple[int, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    method: str
    template: str
    pattern: re.Pattern[str]
    app: str
    person: str
    by: tuple[str, ...]
    view: View


_ROUTES: list[_Route] = []


def route(
    method: str,
    template: str,
    *,
    app: str = "metadata:read",
    person: str = "read",
    by: tuple[str, ...] = ("person", "installation"),
) -> Callable[[View], View]:
    """Make a view answer a path.

    Args:
        app: The permission that an App's token needs. See `access.check`.
        person: The level that a person needs.
        by: The kinds of caller that the route knows.
    """

    def parameter(match: re.Match[str]) -> str:
        digits = match[1].endswith(("_id", "number"))
        return f"(?P<{match[1]}>{'[0-9]{1,18}' if digits else '.+' if match[1] == 'ref' else '[^/]+'})"

    pattern = re.compile(re.sub(r"\{(\w+)\}", parameter, template))

    def register(view: View) -> View:
        made = _Route(method=method, template=template, pattern=pattern, app=app, person=person, by=by, view=view)
        _ROUTES.append(made)
        return view

    return register


def dispatch(
    store: Store, caller: Caller, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
) -> Answer:
    """Answer a request; errors are answers too. Takes the lock."""
    found = _find(method, path)
    if found is None:
        return _error(not_found(), path)
    chosen, raw = found
    arguments = {name: urllib.parse.unquote(value) for name, value in raw.items()}
    call = Call(store=store, caller=caller, arguments=arguments, query=query or {}, body=body)
    headers: dict[str, str] = {}
    try:
        with store.lock if method == "GET" else store.writing():
            _admit(call, chosen)
            status, made = chosen.view(call)
            if isinstance(made, Listing):
                made, headers = page(store.url + path, call.query, made)
    except ApiError as error:
        return _error(error, chosen.template)
    return Answer(status=status, body=made, template=chosen.template, headers=headers)


def _find(method: str, path: str) -> tuple[_Route, dict[str, str]] | None:
    matches = [(one, one.pattern.fullmatch(path)) for one in _ROUTES if one.method == method]
    found = [(one, match.groupdict()) for one, match in matches if match]
    # Names of branches hold slashes, so `/commits/{ref}` fits much: the template that says most wins.
    return max(found, key=lambda pair: len(re.sub(r"\{\w+\}", "", pair[0].template)), default=None)


def _admit(call: Call, chosen: _Route) -> None:
    kind = call.caller.kind
    if kind not in chosen.by:
        if kind == "installation":
            raise ApiError(403, "Resource not accessible by integration")
        if kind == "person" and "installation" in chosen.by:
            raise ApiError(403, "You must authenticate via a GitHub App.")
        message = "A JSON web token could not be decoded" if kind == "person" else "Bad credentials"
        raise ApiError(401, message)
    if "owner" in call.arguments and kind != "app":
        # First whether the repository may be seen at all, then what is in it, then whether this may be done.
        access.check(call.store, call.caller, call.repository, app="", person="read")
        item = call.about()
        access.check(call.store, call.caller, call.repository, app=chosen.app, person=chosen.person, item=item)
        _refuse_when_closed(call, chosen, item)


def _refuse_when_closed(call: Call, chosen: _Route, item: Issue | None) -> None:
    """What repositories without issues, and archived ones, say."""
    if not call.repository.has_issues and "/issues" in chosen.template and not (item and item.pull):
        raise ApiError(410, "Issues has been disabled in this repository.")
    if call.repository.archived and chosen.method != "GET":
        raise ApiError(403, "Repository was archived so is read-only.")


def _error(error: ApiError, template: str) -> Answer:
    body: Json = {"message": error.message, "documentation_url": _DOCS, "status": str(error.status)}
    if error.errors is not None:
        body["errors"] = error.errors
    return Answer(status=error.status, body=body, template=template)
