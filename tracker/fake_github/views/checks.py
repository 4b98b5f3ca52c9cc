"""Commit statuses, check runs and check suites."""

from __future__ import annotations

import re
from typing import Any

from tracker.fake_github import events, git
from tracker.fake_github.errors import ApiError, Json, invalid, not_found
from tracker.fake_github.paging import Listing
from tracker.fake_github.records import CheckRun, Status
from tracker.fake_github.routing import REPOSITORY, Call, bounded, route
from tracker.fake_github.shapes import accounts
from tracker.fake_github.shapes import pulls as shapes

COMMIT = REPOSITORY + "/commits/{ref}"
_STATES = ("error", "failure", "pending", "success")
_CONCLUSIONS = ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out"]
_SHA = re.compile(r"[0-9a-f]{40}")


def sha_of(call: Call, name: str) -> str:
    """The commit that a branch, tag or hash names.

    Raises:
        ApiError: 422 when there is none.
    """
    git_dir = call.repository.git_dir
    if git_dir is not None:
        sha = git.commit(git_dir, name.removeprefix("heads/"))
    else:
        branches = {one.pull.head: one.pull.head_sha for one in call.repository.issues.values() if one.pull}
        sha = name if _SHA.fullmatch(name) else branches.get(name.removeprefix("heads/"))
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {name}")
    return sha


@route("POST", REPOSITORY + "/statuses/{sha}", app="statuses:write", person="write")
def create_status(call: Call) -> tuple[int, Any]:
    """Set the status of one context on a commit."""
    store, sha = call.store, sha_of(call, call.arguments["sha"])
    state = call.fields().get("state")
    if state not in _STATES:
        raise invalid(resource="Status", field="state")
    status = Status(
        id=store.new_id(),
        sha=sha,
        state=state,
        context=call.optional_text("context", resource="Status", longest=255) or "default",
        description=call.optional_text("description", resource="Status", longest=140),
        target_url=call.optional_text("target_url", resource="Status"),
        user_id=call.actor_id,
        created_at=store.timestamp(),
    )
    call.repository.statuses.append(status)
    shape = shapes.status(store, call.repository, status)
    same = {key: shape[key] for key in ("id", "state", "description", "target_url", "context", "created_at")}
    branches = [
        {"name": issue.pull.head, "commit": {"sha": sha, "url": ""}, "protected": False}
        for issue in call.repository.issues.values()
        if issue.pull and issue.state == "open" and issue.pull.head_sha == sha
    ]
    full_name = store.full_name(call.repository)
    parts = {
        "sha": sha,
        "name": full_name,
        "branches": branches,
        "commit": {"sha": sha},
        "updated_at": same["created_at"],
    }
    events.emit(store, "status", None, call.repository, call.actor_id, **same, **parts)
    return 201, shape


def _statuses(call: Call) -> list[Status]:
    sha = sha_of(call, call.arguments["ref"])
    return [one for one in reversed(call.repository.statuses) if one.sha == sha]


@route("GET", COMMIT + "/statuses", app="statuses:read")
def list_statuses(call: Call) -> tuple[int, Any]:
    """All statuses of a commit, newest first."""
    return 200, Listing(items=[shapes.status(call.store, call.repository, one) for one in _statuses(call)])


@route("GET", COMMIT + "/status", app="statuses:read")
def combined_status(call: Call) -> tuple[int, Any]:
    """The newest status of every context, and their sum."""
    newest: dict[str, Status] = {}
    for one in _statuses(call):
        newest.setdefault(one.context, one)
    states = {one.state for one in newest.values()}
    total = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    sha = sha_of(call, call.arguments["ref"])
    url = f"{call.store.url}/repos/{call.store.full_name(call.repository)}/commits/{sha}"
    repository = accounts.repository(call.store, call.repository)
    extra: Json = {"state": total, "sha": sha, "repository": repository, "commit_url": url, "url": url + "/status"}
    items = [shapes.status(call.store, call.repository, one) for one in newest.values()]
    return 200, Listing(items=items, key="statuses", extra=extra)


@route("POST", REPOSITORY + "/check-runs", app="checks:write", by=("installation",))
def create_run(call: Call) -> tuple[int, Any]:
    """Create a check run; only Apps can."""
    store, fields = call.store, call.fields()
    sha = sha_of(call, call.text("head_sha", resource="CheckRun"))
    app_id = call.caller.app_id or 0
    same_suite = (run.suite_id for run in call.repository.check_runs.values() if (run.sha, run.app_id) == (sha, app_id))
    run = CheckRun(
        id=store.new_id(),
        suite_id=next(same_suite, None) or store.new_id(),
        sha=sha,
        name=call.text("name", resource="CheckRun", longest=255),
        status="queued",
        conclusion=None,
        output={},
        details_url=call.optional_text("details_url", resource="CheckRun") or store.url,
        external_id=call.optional_text("external_id", resource="CheckRun") or "",
        app_id=app_id,
        started_at=store.timestamp(),
        completed_at=None,
    )
    _update(call, run, fields)
    call.repository.check_runs[run.id] = run
    _tell(call, run, "created")
    if run.status == "completed":
        _tell(call, run, "completed")
    return 201, shapes.check_run(store, call.repository, run)


def _update(call: Call, run: CheckRun, fields: Json) -> None:
    conclusion, status = fields.get("conclusion"), fields.get("status")
    if conclusion not in (None, *_CONCLUSIONS):
        raise invalid(resource="CheckRun", field="conclusion")
    if status not in (None, "queued", "in_progress", "completed"):
        raise invalid(resource="CheckRun", field="status")
    output = fields.get("output") or {}
    if not isinstance(output, dict) or (output and not isinstance(output.get("summary"), str)):
        raise invalid(resource="CheckRun", field="output")
    for key in ("summary", "text"):
        if isinstance(output.get(key), str):
            bounded(output[key], name=key, resource="CheckRun", longest=65_535)
    if status == "completed" and conclusion is None:
        raise invalid(resource="CheckRun", field="conclusion", code="missing_field")
    run.output = run.output | output
    run.status = "completed" if conclusion else status or run.status
    if conclusion:
        run.conclusion, run.completed_at = conclusion, call.store.timestamp()


def _tell(call: Call, run: CheckRun, action: str) -> None:
    store, repository = call.store, call.repository
    shape = shapes.check_run(store, repository, run)
    runs = [one for one in repository.check_runs.values() if one.suite_id == run.suite_id]
    suite = shapes.check_suite(store, repository, runs)
    shape["check_suite"] = suite
    events.emit(store, "check_run", action, repository, call.actor_id, check_run=shape)
    if action == "completed" and suite["status"] == "completed":
        events.emit(store, "check_suite", "completed", repository, call.actor_id, check_suite=suite)


def _run(call: Call) -> CheckRun:
    found = call.repository.check_runs.get(int(call.arguments["check_run_id"]))
    if found is None:
        raise not_found()
    return found


@route("PATCH", REPOSITORY + "/check-runs/{check_run_id}", app="checks:write", by=("installation",))
def change_run(call: Call) -> tuple[int, Any]:
    """Update a check run of the same App."""
    run = _run(call)
    if run.app_id != call.caller.app_id:
        raise ApiError(403, "Resource not accessible by integration")
    was_done = run.status == "completed"
    _update(call, run, call.fields())
    if run.status == "completed" and not was_done:
        _tell(call, run, "completed")
    return 200, shapes.check_run(call.store, call.repository, run)


@route("GET", REPOSITORY + "/check-runs/{check_run_id}", app="checks:read")
def get_run(call: Call) -> tuple[int, Any]:
    """One check run."""
    return 200, shapes.check_run(call.store, call.repository, _run(call))


def _runs(call: Call) -> list[CheckRun]:
    sha = sha_of(call, call.arguments["ref"])
    return [run for run in call.repository.check_runs.values() if run.sha == sha]


@route("GET", COMMIT + "/check-runs", app="checks:read")
def list_runs(call: Call) -> tuple[int, Any]:
    """The check runs of a commit; by default only the newest of each name."""
    query = call.query
    runs = _runs(call)
    if query.get("filter", "latest") == "latest":
        runs = list({(run.app_id, run.name): run for run in runs}.values())
    runs = [
        run for run in runs if query.get("check_name") in (None, run.name) and query.get("status") in (None, run.status)
    ]
    return 200, Listing(items=[shapes.check_run(call.store, call.repository, run) for run in runs], key="check_runs")


@route("GET", COMMIT + "/check-suites", app="checks:read")
def list_suites(call: Call) -> tuple[int, Any]:
    """The check suites of a commit."""
    suites: dict[int, list[CheckRun]] = {}
    for run in _runs(call):
        suites.setdefault(run.suite_id, []).append(run)
    found = [shapes.check_suite(call.store, call.repository, runs) for runs in suites.values()]
    return 200, Listing(items=found, key="check_suites")


@route("GET", REPOSITORY + "/check-suites/{check_suite_id}/check-runs", app="checks:read")
def list_runs_of_suite(call: Call) -> tuple[int, Any]:
    """The check runs of a suite."""
    suite_id = int(call.arguments["check_suite_id"])
    runs = [run for run in call.repository.check_runs.values() if run.suite_id == suite_id]
    return 200, Listing(items=[shapes.check_run(call.store, call.repository, run) for run in runs], key="check_runs")
