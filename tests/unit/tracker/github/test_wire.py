from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.github import wire
from tracker.public_errors import UnavailableError
from tracker.public_types import AgentState, CloseReason, Ref

AT = "2026-11-20T19:40:00Z"
ISSUE: dict[str, Any] = {
    "id": 7_000_000_001,
    "number": 12,
    "repository_url": "https://api.github.com/repos/acme/widgets",
    "html_url": "https://github.com/acme/widgets/issues/12",
    "title": "Fix the login",
    "body": "It fails.\r\n",
    "state": "open",
    "state_reason": None,
    "user": {"login": "alice", "type": "User"},
    "labels": [{"name": "bug"}, {"name": "agent:running"}, "agent:ready", {"name": "Bug"}, {"name": None}, 5],
    "assignees": [{"login": "bob"}, {"login": "bob"}],
    "created_at": AT,
    "updated_at": "2026-11-20T19:41:00Z",
    "closed_at": None,
    "comments": 3,
    "parent_issue_url": "https://api.github.com/repos/acme/widgets/issues/7",
    "sub_issues_summary": {"total": 2},
    "issue_dependencies_summary": {"blocked_by": 0, "total_blocked_by": 1},
}
COMMENT: dict[str, Any] = {
    "id": 7_000_000_038,
    "issue_url": "https://api.github.com/repos/acme/widgets/issues/12",
    "html_url": "https://github.com/acme/widgets/issues/12#issuecomment-1",
    "body": "Hello",
    "user": {"login": "Agent-Grid[bot]", "type": "Bot"},
    "created_at": AT,
    "updated_at": AT,
}
PULL: dict[str, Any] = {
    "id": 7_000_000_075,
    "number": 15,
    "title": "Fix",
    "body": None,
    "state": "closed",
    "merged_at": AT,
    "draft": False,
    "user": {"login": "agent-grid[bot]"},
    "head": {"ref": "agent/12-login", "sha": "a" * 40, "repo": {"full_name": "acme/widgets"}},
    "base": {"ref": "main", "repo": {"full_name": "Acme/Widgets"}},
    "created_at": AT,
    "updated_at": AT,
    "html_url": "https://github.com/acme/widgets/pull/15",
}
US = "agent-grid[bot]"


def test_an_issue_is_read() -> None:
    found = wire.issue(ISSUE, us=US)
    assert (found.id, found.key, found.ref) == (7_000_000_001, "12", Ref("acme/widgets", "12"))
    assert (found.title, found.body, found.author, found.author_is_bot) == (
        "Fix the login",
        "It fails.\n",
        "alice",
        False,
    )
    assert (found.label_names, found.plain_labels) == (("bug", "agent:running", "agent:ready"), ("bug",))
    assert found.agent_state is AgentState.RUNNING
    assert found.assignees == ("bob",)
    assert found.created_at == datetime(2026, 11, 20, 19, 40, tzinfo=UTC)
    assert (found.parent, found.children_total, found.blockers_total) == (Ref("acme/widgets", "7"), 2, 1)
    assert not found.is_pull
    assert not found.is_ours


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("completed", CloseReason.COMPLETED),
        ("not_planned", CloseReason.NOT_PLANNED),
        ("duplicate", CloseReason.NOT_PLANNED),
        (None, CloseReason.COMPLETED),
        ("something new", CloseReason.COMPLETED),
    ],
)
def test_a_closed_issue_has_a_reason_a_time_and_no_state(reason: str | None, wanted: CloseReason) -> None:
    found = wire.issue(ISSUE | {"state": "closed", "state_reason": reason}, us=US)
    assert (found.is_open, found.close_reason, found.closed_at) == (False, wanted, found.updated_at)
    assert found.agent_state is AgentState.NONE


def test_a_pull_request_among_issues_is_told_apart() -> None:
    assert wire.issue(ISSUE | {"pull_request": {"url": "…"}}, us=US).is_pull


def test_people_who_are_gone_have_a_name() -> None:
    found = wire.issue(ISSUE | {"user": None, "assignees": [None]}, us=US)
    assert (found.author, found.assignees) == ("ghost", ("ghost",))
    assert not wire.issue(ISSUE | {"user": None}, us="").is_ours


def test_a_comment_of_ours_is_told_by_login_whatever_its_case() -> None:
    found = wire.comment(COMMENT, us=US)
    assert (found.number, found.is_ours, found.author_is_bot, found.edited_at) == (12, True, True, None)
    edited = wire.comment(COMMENT | {"updated_at": "2026-11-20T19:40:01Z", "user": {"login": "alice"}}, us=US)
    assert (edited.is_ours, edited.edited_at) == (False, edited.updated_at)


def test_a_pull_request_is_read() -> None:
    found = wire.pull(PULL, us=US)
    assert (found.key, found.is_open, found.is_merged, found.is_draft) == ("15", False, True, False)
    assert (found.head_branch, found.head_sha, found.base_branch) == ("agent/12-login", "a" * 40, "main")
    assert found.is_ours


@pytest.mark.parametrize("repo", [{"full_name": "mallory/widgets"}, None, {}])
def test_a_pull_request_from_a_fork_is_never_ours(repo: object) -> None:
    found = wire.pull(PULL | {"head": PULL["head"] | {"repo": repo}}, us=US)
    assert found.is_from_fork
    assert not found.is_ours


@pytest.mark.parametrize("name", ["id", "number", "created_at", "updated_at"])
@pytest.mark.parametrize("value", [None, "", -1, True, "yesterday", "2026-11-20T19:40:00", [], 2**70])
def test_an_answer_that_is_no_issue_is_refused_and_may_have_been_applied(name: str, value: object) -> None:
    with pytest.raises(UnavailableError) as caught:
        wire.issue(ISSUE | {name: value}, us=US)
    assert caught.value.maybe_applied


def test_hostile_texts_are_made_safe_to_store() -> None:
    found = wire.issue(ISSUE | {"title": " a\x00\nb " + "x" * 400, "body": "a\x00\ud800\x1b[0m"}, us=US)
    assert found.title == ("a b " + "x" * 400)[:256]
    assert found.body == "a\ufffd[0m"
    assert wire.issue(ISSUE | {"title": "\x00"}, us=US).title == "(no title)"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.dictionaries(st.sampled_from([*ISSUE, *COMMENT, *PULL]), json_values, max_size=6))
def test_answers_of_any_shape_are_read_or_refused(data: dict[str, Any]) -> None:
    for read, sample in ((wire.issue, ISSUE), (wire.comment, COMMENT), (wire.pull, PULL)):
        try:
            read(sample | data, us=US)
        except UnavailableError:
            pass
