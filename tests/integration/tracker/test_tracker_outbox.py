"""Wishes: what is inserted, what is refused, what replaces what, and how writes stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from tracker import public_api, public_writes
from tracker.models import Issue, Operation
from tracker.public_errors import InvalidError, NotFoundError
from tracker.public_types import IssueDraft, RepositoryView, Write, WriteKind


def create(key: str, title: str = "Title", **payload: Any) -> Write:
    return Write(key=key, kind=WriteKind.CREATE_ISSUE, payload={"title": title, **payload})


def status(key: str, markdown: str, coalesce: str = "status:1") -> Write:
    payload = {"ref": "1", "slot": "status", "data": {}, "markdown": markdown}
    return Write(key=key, kind=WriteKind.UPSERT_COMMENT, payload=payload, coalesce=coalesce)


def drain(repository: RepositoryView) -> list[str]:
    return [result.key for result in public_writes.drain(repository.id, now=timezone.now())]


def test_a_wish_commits_or_rolls_back_with_its_transaction(repository: RepositoryView) -> None:
    with transaction.atomic():
        public_writes.wish(repository.id, [create("a")])
        transaction.set_rollback(True)
    assert public_writes.results(["a"]) == {}
    public_writes.wish(repository.id, [create("a")])
    assert public_writes.results(["a"])["a"].is_done is False


def test_wishing_twice_is_wishing_once(repository: RepositoryView) -> None:
    for title in ("First", "Second"):
        public_writes.wish(repository.id, [create("a", title), create("b", title)])
    assert drain(repository) == ["a", "b"]
    public_writes.wish(repository.id, [create("a", "Third")])
    assert drain(repository) == []
    assert list(Issue.objects.values_list("title", flat=True)) == ["First", "First"]


def test_a_repeated_key_within_one_wish_counts_once(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a", "First"), create("a", "First")])
    assert Operation.objects.count() == 1


def test_a_later_edit_replaces_an_unstarted_one(repository: RepositoryView) -> None:
    public_writes.wish(
        repository.id, [create("issue"), status("s1", "one"), status("s2", "two"), status("other", "x", "z")]
    )
    public_writes.wish(repository.id, [status("s3", "three")])
    superseded = public_writes.results(["s1", "s2"])
    assert [(r.is_done, dict(r.value)) for r in superseded.values()] == [
        (True, {"superseded_by": "s2"}),
        (True, {"superseded_by": "s3"}),
    ]
    assert drain(repository) == ["issue", "other", "s3"]


def test_repeating_a_replaced_wish_replaces_nothing(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("issue"), status("s1", "one")])
    public_writes.wish(repository.id, [status("s2", "two")])
    public_writes.wish(repository.id, [status("s1", "one")])
    assert drain(repository) == ["issue", "s2"]


def test_edits_of_other_repositories_are_not_replaced(repository: RepositoryView) -> None:
    other = public_api.ensure_repository(tracker="local", scope="b", source="b", default_branch="main")
    public_writes.wish(repository.id, [status("s1", "one")])
    public_writes.wish(other.id, [status("s2", "two")])
    assert not public_writes.results(["s1"])["s1"].is_done


def test_a_key_belongs_to_one_repository(repository: RepositoryView) -> None:
    other = public_api.ensure_repository(tracker="local", scope="b", source="b", default_branch="main")
    public_writes.wish(repository.id, [create("a")])
    with pytest.raises(InvalidError, match="another repository"):
        public_writes.wish(other.id, [create("new"), create("a")])
    assert public_writes.results(["new"]) == {}


def test_from_names_an_earlier_create_of_this_repository(repository: RepositoryView) -> None:
    other = public_api.ensure_repository(tracker="local", scope="b", source="b", default_branch="main")
    public_writes.wish(other.id, [create("elsewhere")])
    public_writes.wish(repository.id, [create("issue"), status("comment", "x")])
    for earlier in ("nothing", "later", "self", "elsewhere", "comment"):
        with pytest.raises(InvalidError, match="wished for earlier"):
            public_writes.wish(repository.id, [create("self", parent={"from": earlier}), create("later")])
    public_writes.wish(repository.id, [create("child", parent={"from": "issue"})])


def test_a_misshapen_write_leaves_nothing_behind(repository: RepositoryView) -> None:
    with pytest.raises(InvalidError):
        public_writes.wish(repository.id, [create("a"), Write(key="b", kind=WriteKind.CLOSE, payload={"ref": "1"})])
    with pytest.raises(InvalidError, match="at most 1000"):
        public_writes.wish(repository.id, [create(f"k{number}") for number in range(1001)])
    assert Operation.objects.count() == 0


def test_texts_no_database_stores_are_cleaned_on_the_way_in(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a", "nul \x00 and \ud800")])
    (result,) = public_writes.drain(repository.id, now=timezone.now())
    assert result.is_done


def test_results_of_unknown_keys_are_left_out(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a")])
    assert set(public_writes.results(["a", "b"])) == {"a"}
    assert public_writes.results([]) == {}


def test_a_repository_is_due_while_its_head_may_go(repository: RepositoryView) -> None:
    now = timezone.now()
    assert public_writes.due_repositories(now) == []
    public_writes.wish(repository.id, [create("a"), create("b")])
    assert public_writes.due_repositories(now) == [repository.id]
    Operation.objects.filter(key="a").update(not_before=now + timedelta(minutes=1))
    assert public_writes.due_repositories(now) == []
    assert public_writes.due_repositories(now + timedelta(minutes=1)) == [repository.id]


def test_due_repositories_are_found_by_two_queries_and_none_by_one(
    repository: RepositoryView, django_assert_num_queries: Any
) -> None:
    for number in range(5):
        other = public_api.ensure_repository(tracker="local", scope=f"r{number}", source="s", default_branch="main")
        public_writes.wish(other.id, [create(f"k{number}")])
    with django_assert_num_queries(2):
        assert len(public_writes.due_repositories(timezone.now())) == 5
    for number in range(5):
        public_writes.withdraw([f"k{number}"], now=timezone.now())
    with django_assert_num_queries(1):
        assert public_writes.due_repositories(timezone.now()) == []


def test_an_unknown_write_cannot_be_retried(repository: RepositoryView) -> None:
    with pytest.raises(NotFoundError):
        public_writes.retry("nothing")


def test_retrying_a_failed_edit_does_not_undo_a_later_one(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [status("s1", "one")])
    assert drain(repository) == ["s1"]
    assert public_writes.results(["s1"])["s1"].is_permanent
    issue = public_api.create_issue(repository_id=repository.id, draft=IssueDraft(title="Issue"))
    assert issue.ref.key == "1"
    public_writes.wish(repository.id, [status("s2", "two")])
    assert drain(repository) == ["s2"]
    public_writes.retry("s1")
    assert drain(repository) == []
    (comment,) = public_api.tracker_for(repository.id).comments(issue.ref)
    assert comment.body == "two"
