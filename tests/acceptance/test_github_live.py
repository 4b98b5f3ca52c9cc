"""The tracker against the real GitHub, with a scratch repository; only when somebody asks for it.

    AGENTGRID_GITHUB_LIVE=1 AGENTGRID_GITHUB_LIVE_REPOSITORY=you/scratch AGENTGRID_GITHUB_LIVE_TOKEN=… \
        make test PYTEST_ARGS='-k github_live'

It opens three issues there, links, blocks, labels and comments them, and closes them again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tracker import public_accounts, public_api, public_sync
from tracker.public_types import AgentState, CloseReason, IssueDraft, IssueView

_REPOSITORY = os.environ.get("AGENTGRID_GITHUB_LIVE_REPOSITORY", "")
_TOKEN = os.environ.get("AGENTGRID_GITHUB_LIVE_TOKEN", "")

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("AGENTGRID_GITHUB_LIVE") != "1",
        reason="talks to the real GitHub: set AGENTGRID_GITHUB_LIVE=1, AGENTGRID_GITHUB_LIVE_REPOSITORY and _TOKEN",
    ),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def repository_id(settings: Settings) -> int:
    assert _REPOSITORY and _TOKEN, "set AGENTGRID_GITHUB_LIVE_REPOSITORY and AGENTGRID_GITHUB_LIVE_TOKEN"
    settings.TRACKER_GITHUB_TOKEN = _TOKEN
    settings.TRACKER_GITHUB_API_URL = "https://api.github.com"
    settings.TRACKER_GITHUB_GIT_URL = "https://github.com"
    return public_sync.add_repository(_REPOSITORY).id


@pytest.fixture
def issues(repository_id: int) -> Iterator[list[IssueView]]:
    tracker, run = public_api.tracker_for(repository_id), uuid.uuid4().hex[:8]
    scope = public_api.get_repository(repository_id).scope
    made = [tracker.create(scope, IssueDraft(title=f"Live test {run} {n}"), f"live:{run}:{n}") for n in range(3)]
    yield made
    for issue in made:
        tracker.close(issue.ref, CloseReason.NOT_PLANNED)


def test_the_account_is_set_up(repository_id: int) -> None:
    wrong = [finding for finding in public_accounts.check_account() if not finding.is_ok]
    assert not wrong


def test_issues_are_linked_blocked_labelled_and_commented(repository_id: int, issues: list[IssueView]) -> None:
    tracker = public_api.tracker_for(repository_id)
    parent, first, second = (issue.ref for issue in issues)
    for _ in range(2):  # every write may come twice
        tracker.link_child(parent, first)
        tracker.link_child(parent, second)
        tracker.set_blockers(second, {first})
        tracker.set_state(parent, AgentState.RUNNING)
        tracker.upsert_comment(parent, "status", {"seq": 1}, "Hello.")
    assert tracker.children(parent) == [first, second]
    assert tracker.blockers(second) == [first]
    assert tracker.get(parent).agent_state is AgentState.RUNNING
    assert [comment.slot for comment in tracker.comments(parent)] == ["status"]
