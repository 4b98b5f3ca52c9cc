"""Pull requests as people and checks see them: their state, and what was said about them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker import limits
from tracker.github import mirror, parts, wire
from tracker.github.desk import Desk, raws
from tracker.github.session import open_session
from tracker.github.wire import RemotePull
from tracker.models import Change, Repository
from tracker.public_errors import ForbiddenError, NotFoundError
from tracker.public_types import ChangeView, ChecksState, Ref

LOG_MAX_CHARS = 4_000
"""Of what a failed check says: its end, where the error stands."""
_CHECKS_MAX = 500
_FAILED = {"failure", "timed_out", "startup_failure"}
_PASSED = {"success", "neutral", "skipped"}
_STATUSES = {"success": ChecksState.SUCCESS, "failure": ChecksState.FAILURE, "error": ChecksState.FAILURE}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a commit, run or status alike."""

    name: str
    state: ChecksState
    by: str
    """Slug of the App that ran it; empty for a commit status."""
    log: str
    """End of its output."""
    at: datetime | None


def refresh(repository: Repository, key: str) -> ChangeView:
    """Read a pull request and its checks, and keep them in our rows.

    Raises:
        NotFoundError: There is no such pull request.
    """
    if not limits.is_number(key):
        raise NotFoundError(f"{repository.scope} has no pull request {key[:40]!r}; keys are numbers.")
    with open_session(repository) as session, session.calling():
        desk = Desk(repository=repository, session=session)
        remote = pull(desk, key)
        checks = overall(read_checks(desk, remote.head_sha))
    return view(mirror.store_change(repository, remote, checks=checks), scope=repository.scope)


def pull(desk: Desk, key: str) -> RemotePull:
    """The pull request as it is now.

    Raises:
        NotFoundError: There is none.
    """
    with desk.calling():
        return wire.pull(desk.session.repo.get_pull(int(key)).raw_data, us=desk.us)


def read_checks(desk: Desk, sha: str) -> list[Check]:
    """The latest check runs and statuses of a commit; those we may not read are left out, with a line in the log."""
    if not sha:
        return []
    found: list[Check] = []
    commit = desk.session.repo.get_commit(sha)
    try:
        with desk.calling():
            found += [_of_run(data) for data in raws(commit.get_check_runs(filter="latest"), most=_CHECKS_MAX)]
    except ForbiddenError as error:
        # Fine-grained personal tokens cannot read check runs at all.
        facts = {"action": "checks", "repository": desk.repository.scope, "error": str(error)}
        logger.info("check runs may not be read", extra=facts)
    with desk.calling():
        statuses = commit.get_combined_status().raw_data.get("statuses")
    found += [_of_status(data) for data in parts.items(statuses)[:_CHECKS_MAX]]
    return found


def overall(checks: list[Check]) -> ChecksState:
    """What checks say together: a failure first, then what is still open."""
    states = {check.state for check in checks}
    for state in (ChecksState.FAILURE, ChecksState.PENDING, ChecksState.SUCCESS):
        if state in states:
            return state
    return ChecksState.NONE


def view(row: Change, *, scope: str) -> ChangeView:
    """The pull request as a value."""
    return ChangeView(
        repository_id=row.repository_id,
        ref=Ref(scope, row.key),
        head_branch=row.head_branch,
        head_sha=row.head_sha,
        base_branch=row.base_branch,
        title=row.title,
        is_open=row.is_open,
        is_merged=row.is_merged,
        is_draft=row.is_draft,
        is_ours=row.is_ours,
        url=row.url,
        checks=ChecksState(row.checks),
        updated_at=row.updated_at,
    )


def _of_run(data: Mapping[str, Any]) -> Check:
    conclusion = parts.text(data.get("conclusion"))
    if conclusion in _FAILED:
        state = ChecksState.FAILURE
    elif conclusion in _PASSED:
        state = ChecksState.SUCCESS
    elif data.get("status") != "completed" or conclusion == "action_required":
        state = ChecksState.PENDING
    else:  # cancelled, stale: says nothing about the commit
        state = ChecksState.NONE
    output = parts.item(data.get("output"))
    said = [parts.text(output.get(name)) for name in ("title", "summary", "text")]
    return Check(
        name=_name(data.get("name")),
        state=state,
        by=parts.text(parts.item(data.get("app")).get("slug"), longest=limits.PERSON_MAX_CHARS) or "unknown",
        log=_tail("\n\n".join(text for text in said if text.strip()) or f"It ended with: {conclusion}."),
        at=parts.optional_moment(data.get("completed_at")) or parts.optional_moment(data.get("started_at")),
    )


def _of_status(data: Mapping[str, Any]) -> Check:
    said = [parts.text(data.get("description")), parts.text(data.get("target_url"))]
    return Check(
        name=_name(data.get("context")),
        state=_STATUSES.get(parts.text(data.get("state")), ChecksState.PENDING),
        by="",
        log=_tail("\n".join(text for text in said if text)),
        at=parts.optional_moment(data.get("updated_at")) or parts.optional_moment(data.get("created_at")),
    )


def _name(value: object) -> str:
    return " ".join(parts.text(value, longest=200).split()) or "check"


def _tail(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LOG_MAX_CHARS else "…\n" + text[-(LOG_MAX_CHARS - 2) :]
