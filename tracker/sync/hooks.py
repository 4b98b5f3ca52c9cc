"""Our webhooks: where they are, and whether they reach us."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from tracker import queries
from tracker.github import parts
from tracker.github.auth import app_calls, has_app
from tracker.github.calls import Calls
from tracker.github.checkup import Finding
from tracker.github.session import open_session
from tracker.models import Delivery, Repository
from tracker.public_errors import ForbiddenError, NotFoundError
from tracker.sync import pages
from tracker.sync.pages import Json

PATH = "/webhooks/github/"
EVENTS = frozenset(
    [
        "check_suite",
        "issue_comment",
        "issue_dependencies",
        "issues",
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "push",
        "status",
        "sub_issues",
        "workflow_run",
    ]
)
_EVENTS = "and these events: " + ", ".join(sorted(EVENTS))
_RECENT = 30
_LATELY = timedelta(days=7)


def our_url() -> str:
    """Where GitHub reaches us; empty without PUBLIC_URL."""
    return f"{settings.PUBLIC_URL}{PATH}" if settings.PUBLIC_URL else ""


def each(repositories: list[Repository]) -> Iterator[tuple[Calls, str]]:
    """Every webhook that sends to us, with a client that may read its deliveries until the next one is asked for."""
    if has_app():
        with app_calls() as calls:
            yield calls, "/app/hook"
        return
    for repository in repositories:
        try:
            session = open_session(repository)
        except NotFoundError:  # gone, or another has its name
            continue
        with session:
            try:
                found = _of_repository(session, repository)
            except (ForbiddenError, NotFoundError):  # a token without the right to see hooks
                continue
            for path, _ in found:
                yield session, path


def findings(repository_id: int) -> list[Finding]:
    """Whether webhooks of a repository reach us: one is there, tells all we need, and its latest deliveries came in.

    Raises:
        TrackerError: GitHub did not let us look.
    """
    repository, ours = queries.repository(repository_id), our_url()
    if not ours:
        remedy = "set PUBLIC_URL to this installation's address; until then the sweep finds changes within 5 minutes"
        return [Finding(is_ok=False, what="no webhook can reach us: PUBLIC_URL is empty", remedy=remedy)]
    if has_app():
        with app_calls() as calls:
            config = pages.get(calls, "/app/hook/config").body
            app = pages.get(calls, "/app").body
            hook = {"active": True, "config": config, "events": app.get("events") if isinstance(app, dict) else None}
            if _url(hook) != ours.rstrip("/"):
                remedy = f"set the webhook URL in the App's settings to {ours}"
                return [Finding(is_ok=False, what=f"the App's webhook sends to {_url(hook)!r}", remedy=remedy)]
            return _about(calls, "/app/hook", hook)
    with open_session(repository) as session:
        try:
            hooks = _of_repository(session, repository)
        except (ForbiddenError, NotFoundError) as error:
            lately = Delivery.objects.filter(scope=repository.scope, received_at__gt=timezone.now() - _LATELY)
            latest = lately.order_by("-received_at").first()
            if latest is not None:
                what = f"webhooks are not ours to see, but they come in: the latest at {latest.received_at:%Y-%m-%d %H:%M} UTC"
                return [Finding(is_ok=True, what=what)]
            remedy = "give the token the right to read webhooks, or look at them in the repository's settings yourself"
            return [Finding(is_ok=False, what=f"webhooks are not ours to see: {error}", remedy=remedy)]
        if not hooks:
            remedy = f"add one in the repository's settings: {ours}, application/json, GITHUB_WEBHOOK_SECRET, {_EVENTS}"
            return [Finding(is_ok=False, what=f"no webhook sends to {ours}", remedy=remedy)]
        return [finding for path, hook in hooks for finding in _about(session, path, hook)]


def _of_repository(calls: Calls, repository: Repository) -> list[tuple[str, Json]]:
    path, ours = f"/repos/{repository.scope}/hooks", our_url()
    hooks = pages.get(calls, f"{path}?per_page={pages.PER_PAGE}").items
    return [(f"{path}/{parts.number(hook, 'id')}", hook) for hook in hooks if ours and _url(hook) == ours.rstrip("/")]


def _url(hook: Json) -> str:
    config = hook.get("config")
    return str(config.get("url", "")).rstrip("/") if isinstance(config, dict) else ""


def _about(calls: Calls, path: str, hook: Json) -> list[Finding]:
    told = hook.get("events")
    events = {str(event) for event in told} if isinstance(told, list) else set()
    missing = [] if "*" in events else sorted(EVENTS - events)
    items = pages.get(calls, f"{path}/deliveries?per_page={_RECENT}").items
    failures = [item for item in items if not came_in(item)]
    found = [Finding(is_ok=True, what=f"a webhook sends to {our_url()}")]
    if hook.get("active") is False:
        found = [Finding(is_ok=False, what="our webhook is switched off", remedy="switch it on in its settings")]
    if missing:
        remedy = "add them in its settings; the sweep finds what they would have told, up to 5 minutes later"
        found.append(Finding(is_ok=False, what=f"it does not tell: {', '.join(missing)}", remedy=remedy))
    if failures and failures[0] is items[0]:
        said = parts.text(failures[0].get("status"), longest=200)
        what = f"its latest delivery failed ({said}), {len(failures)} of {len(items)} did"
        remedy = "401: the secrets differ; 5xx or no connection: look at the web process and at the way to it"
        found.append(Finding(is_ok=False, what=what, remedy=remedy))
    elif items:
        found.append(Finding(is_ok=True, what=f"{len(items) - len(failures)} of {len(items)} deliveries came in"))
    return found


def came_in(item: Json) -> bool:
    """Whether this attempt of a delivery was answered well."""
    code = item.get("status_code")
    return isinstance(code, int) and 200 <= code < 300
