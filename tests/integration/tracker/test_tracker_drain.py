"""Draining: order, faults of the tracker, back-off, leases; every write once whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from tracker import drain, public_api, public_writes
from tracker.local.tracker import LocalTracker
from tracker.models import Comment, Issue, Operation, Repository
from tracker.public_errors import (
    ConflictError,
    CredentialError,
    ForbiddenError,
    RateLimitedError,
    UnavailableError,
)
from tracker.public_testing import Fault, raising, with_faults
from tracker.public_types import IssueDraft, Ref, RepositoryView, Write, WriteKind, WriteResult

NOW = timezone.now()


def create(key: str, **payload: Any) -> Write:
    return Write(key=key, kind=WriteKind.CREATE_ISSUE, payload={"title": f"Title of {key}", **payload})


def status(key: str, markdown: str = "text") -> Write:
    payload = {"ref": "1", "slot": "status", "data": {}, "markdown": markdown}
    return Write(key=key, kind=WriteKind.UPSERT_COMMENT, payload=payload, coalesce="status:1")


def fault(method: str, error: Exception, when: str = "before") -> Fault:
    return Fault(method=method, when=when, act=raising(error))


def run(repository: RepositoryView, *faults: Fault, after: float = 0, **limits: Any) -> list[WriteResult]:
    """Drain `after` seconds later than NOW, with a tracker that has these faults."""
    options = {"limit": 50, "seconds": 20, **limits}
    return drain.drain(
        repository_id=repository.id,
        tracker=with_faults(LocalTracker(), *faults),
        now=NOW + timedelta(seconds=after),
        **options,
    )


def keys(results: list[WriteResult]) -> list[str]:
    return [result.key for result in results]


def test_every_kind_of_write_reaches_the_tracker(repository: RepositoryView) -> None:
    def ref(key: str) -> dict[str, str]:
        return {"from": key}

    writes = [
        create("parent"),
        create("a", body="Body", labels=["bug"], parent=ref("parent")),
        create("b", parent=ref("parent"), blockers=[ref("a")]),
        create("c"),
        Write(
            key="link",
            kind=WriteKind.LINK_CHILD,
            payload={"parent": ref("parent"), "child": ref("c"), "after": ref("a")},
        ),
        Write(key="block", kind=WriteKind.SET_BLOCKERS, payload={"ref": ref("c"), "blockers": [ref("a"), ref("b")]}),
        Write(key="state", kind=WriteKind.SET_STATE, payload={"ref": ref("a"), "state": "running"}),
        Write(
            key="comment",
            kind=WriteKind.UPSERT_COMMENT,
            payload={"ref": ref("a"), "slot": "status", "data": {"seq": 1}, "markdown": "Running"},
        ),
        Write(key="assign", kind=WriteKind.ASSIGN, payload={"ref": ref("a"), "actor": "operator"}),
        Write(key="react", kind=WriteKind.REACT, payload={"ref": ref("a"), "kind": "eyes"}),
        Write(key="close", kind=WriteKind.CLOSE, payload={"ref": ref("b"), "reason": "not_planned"}),
    ]
    public_writes.wish(repository.id, writes)
    results = run(repository)
    assert [result.error for result in results] == [""] * len(writes)
    assert keys(results) == [write.key for write in writes]
    values = {result.key: result.value for result in results}
    tracker = public_api.tracker_for(repository.id)
    parent, a, b, c = (Ref(repository.scope, values[key]["key"]) for key in ("parent", "a", "b", "c"))
    assert tracker.children(parent) == [a, c, b]
    assert tracker.blockers(b) == [a]
    assert tracker.blockers(c) == [a, b]
    view = tracker.get(a)
    assert (view.body, view.labels, view.assignees) == ("Body", ("agent:running", "bug"), ("operator",))
    assert [comment.id for comment in tracker.comments(a)] == [values["comment"]["id"]]
    assert not tracker.get(b).is_open
    assert values["assign"] == {"assigned": True}
    assert run(repository) == []


def test_a_create_answered_with_a_fault_after_it_was_done_happens_once(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a"), create("b")])
    (lost,) = run(repository, fault("create", UnavailableError("502", maybe_applied=True), "after"))
    assert (lost.is_done, lost.is_permanent, lost.attempts) == (False, False, 1)
    assert "502" in lost.error
    assert run(repository, after=9) == []
    found, _ = run(repository, after=11)
    assert (found.is_done, found.attempts, found.error) == (True, 2, "")
    assert list(Issue.objects.values_list("title", flat=True)) == ["Title of a", "Title of b"]


@pytest.mark.parametrize("method", ["create", "link_child", "set_blockers"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_with_links_survives_a_fault_at_each_call(repository: RepositoryView, method: str, when: str) -> None:
    public_writes.wish(repository.id, [create("p"), create("a"), create("b", parent={"from": "p"}, blockers=["2"])])
    run(repository, limit=2)
    run(repository, fault(method, UnavailableError("timeout", maybe_applied=True), when), after=1)
    (done,) = run(repository, after=100)
    assert done.is_done
    child = Issue.objects.get(key="3")
    assert child.parent is not None
    assert child.parent.key == "1"
    assert child.blocker_links.get().blocker.key == "2"
    assert Issue.objects.count() == 3


def test_a_fault_of_each_write_leaves_one_comment(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a"), status("s1")])
    run(repository, fault("upsert_comment", UnavailableError("502", maybe_applied=True), "after"))
    run(repository, after=60)
    assert Comment.objects.count() == 1


def test_writes_behind_a_waiting_one_wait_too(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a"), create("b")])
    assert keys(run(repository, fault("create", UnavailableError("down", maybe_applied=False)))) == ["a"]
    assert Issue.objects.count() == 0
    assert public_writes.due_repositories(NOW) == []
    assert keys(run(repository, after=60)) == ["a", "b"]
    assert [issue.key for issue in Issue.objects.filter(title="Title of a")] == ["1"]


def test_back_off_grows_and_a_poisonous_write_gives_up_at_last(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a"), create("b")])
    clock = 0.0
    for attempts in range(1, drain.ATTEMPTS_MAX):
        run(repository, fault("create", UnavailableError("down", maybe_applied=False)), after=clock)
        not_before = Operation.objects.get(key="a").not_before
        assert not_before is not None
        pause = (not_before - NOW).total_seconds() - clock
        # Counted from the end of the attempt, which takes its time on a busy machine; half of the next step is far.
        assert drain.pause_seconds(attempts) <= pause < drain.pause_seconds(attempts) * 1.5
        clock += pause + 0.001
    given_up, other = run(repository, fault("create", UnavailableError("down", maybe_applied=False)), after=clock)
    assert given_up.is_permanent
    assert "Gave up after 50 attempts" in given_up.error
    assert other.is_done
    assert [result.key for result in public_writes.failed()] == ["a"]


def test_a_rate_limit_waits_as_long_as_told_and_costs_no_attempt(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("issue"), status("s1"), create("b")])
    run(repository, limit=1)
    limited = RateLimitedError("slow down", retry_at=NOW + timedelta(minutes=7))
    (waiting,) = run(repository, fault("upsert_comment", limited))
    assert (waiting.attempts, waiting.is_permanent, waiting.is_done) == (0, False, False)
    assert "slow down" in waiting.error
    assert run(repository, after=419) == []
    public_writes.wish(repository.id, [status("s2", "newer")])
    assert public_writes.results(["s1"])["s1"].value == {"superseded_by": "s2"}
    assert keys(run(repository, after=421)) == ["b", "s2"]


def test_a_credential_that_ran_out_loses_nothing_however_long_it_takes(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a")])
    clock = 0.0
    for _ in range(drain.ATTEMPTS_MAX + 5):
        (waiting,) = run(repository, fault("create", CredentialError("renew GITHUB_TOKEN")), after=clock)
        assert (waiting.attempts, waiting.is_permanent) == (0, False)
        assert "renew GITHUB_TOKEN" in waiting.error
        clock += 301
    assert keys(run(repository, after=clock)) == ["a"]
    assert Issue.objects.count() == 1


@pytest.mark.parametrize("seconds", [-100, 10**8])
def test_an_absurd_retry_time_neither_spins_nor_sleeps_for_ever(repository: RepositoryView, seconds: int) -> None:
    public_writes.wish(repository.id, [create("a")])
    absurd = RateLimitedError("slow down", retry_at=NOW + timedelta(seconds=seconds))
    assert keys(run(repository, fault("create", absurd))) == ["a"]
    assert run(repository, after=0.5) == []
    assert keys(run(repository, after=drain.LONGEST_QUOTA_PAUSE_SECONDS + 2)) == ["a"]


def test_what_the_tracker_refuses_for_ever_stays_visible_and_others_go_on(repository: RepositoryView) -> None:
    public_writes.wish(
        repository.id,
        [
            Write(key="bad", kind=WriteKind.CREATE_ISSUE, payload={"title": "x" * 300}),
            create("child", parent={"from": "bad"}),
            Write(key="grandchild", kind=WriteKind.CLOSE, payload={"ref": {"from": "child"}, "reason": "completed"}),
            Write(key="lost", kind=WriteKind.CLOSE, payload={"ref": "99", "reason": "completed"}),
            create("good"),
        ],
    )
    results = {result.key: result for result in run(repository)}
    assert [key for key, result in results.items() if result.is_permanent] == ["bad", "child", "grandchild", "lost"]
    assert "300 characters of 256" in results["bad"].error
    assert "depends on failed: bad" in results["child"].error
    assert "depends on failed: child" in results["grandchild"].error
    assert (results["child"].attempts, results["bad"].attempts) == (0, 1)
    assert results["good"].is_done
    assert Issue.objects.count() == 1


def test_a_child_that_cannot_be_linked_still_tells_its_key(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("orphan", parent="99")])
    (result,) = run(repository)
    assert result.is_permanent
    assert result.value == {"key": "1"}


def test_an_operator_takes_a_failed_write_up_with_those_that_depend_on_it(repository: RepositoryView) -> None:
    public_writes.wish(
        repository.id,
        [create("a"), create("b", parent={"from": "a"}), create("c", blockers=[{"from": "b"}]), create("d")],
    )
    results = run(repository, fault("create", ForbiddenError("Issues: write is missing")))
    assert [result.is_permanent for result in results] == [True, True, True, False]
    public_writes.retry("d")
    assert run(repository) == []
    public_writes.retry("a")
    assert [(result.key, result.is_done) for result in run(repository)] == [("a", True), ("b", True), ("c", True)]
    assert public_writes.failed() == []


@pytest.mark.parametrize("error", [ConflictError("changed"), KeyError("our own fault")])
def test_conflicts_and_faults_of_ours_are_tried_again(repository: RepositoryView, error: Exception) -> None:
    public_writes.wish(repository.id, [create("a")])
    (first,) = run(repository, fault("create", error))
    assert (first.is_done, first.is_permanent) == (False, False)
    assert type(error).__name__ in first.error
    assert run(repository, after=60)[0].is_done


def test_limit_and_seconds_bound_a_drain(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create(f"k{number}") for number in range(5)])
    assert keys(run(repository, limit=2)) == ["k0", "k1"]
    assert run(repository, seconds=0) == []
    assert keys(run(repository)) == ["k2", "k3", "k4"]


def test_a_second_drainer_gets_nothing_until_the_lease_ends(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a")])
    lease_until = NOW + timedelta(seconds=drain.LEASE_SECONDS)
    Repository.objects.filter(pk=repository.id).update(outbox_lease_until=lease_until)
    assert run(repository) == []
    assert public_writes.due_repositories(NOW) == []
    assert public_writes.due_repositories(NOW + timedelta(seconds=61)) == [repository.id]
    assert keys(run(repository, after=61)) == ["a"]
    assert Repository.objects.get().outbox_lease_until is None


def test_a_drainer_that_was_overtaken_writes_nothing_more(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a"), create("b")])

    def overtake() -> None:
        Repository.objects.update(outbox_lease_until=NOW - timedelta(seconds=1))
        assert keys(run(repository, limit=1)) == ["a"]
        Repository.objects.update(outbox_lease_until=NOW + timedelta(seconds=50), outbox_token=99)

    assert run(repository, Fault(method="create", when="after", act=overtake)) == []
    assert Issue.objects.count() == 1
    assert not public_writes.results(["b"])["b"].is_done
    assert Repository.objects.get().outbox_lease_until == NOW + timedelta(seconds=50)


def test_a_started_edit_is_not_replaced_because_it_may_have_happened(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("issue"), status("s1", "one")])
    run(repository, fault("upsert_comment", UnavailableError("502", maybe_applied=True)))
    public_writes.wish(repository.id, [status("s2", "two")])
    assert keys(run(repository, after=60)) == ["s1", "s2"]
    assert Comment.objects.get().body == "two"


def test_of_two_edits_wished_for_at_the_same_moment_only_the_later_is_written(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("issue"), status("s1", "one"), status("s2", "two")])
    # What two transactions leave on PostgreSQL when neither saw the other's row.
    Operation.objects.filter(key="s1").update(state="pending", finished_at=None, value={})
    handled = {result.key: result for result in run(repository)}
    assert handled["s1"].value == {"superseded_by": "s2"}
    assert handled["s1"].attempts == 0
    assert Comment.objects.get().edited_at is None


def test_nothing_is_written_for_an_inactive_repository(repository: RepositoryView) -> None:
    public_writes.wish(repository.id, [create("a")])
    Repository.objects.update(is_active=False)
    assert public_writes.due_repositories(NOW) == []
    assert run(repository) == []


@pytest.mark.django_db(transaction=True)
def test_draining_inside_a_transaction_is_refused() -> None:
    view = public_api.ensure_repository(tracker="local", scope="a", source="a", default_branch="main")
    with transaction.atomic(), pytest.raises(RuntimeError):
        run(view)


@pytest.mark.django_db(transaction=True)
def test_the_tracker_is_called_outside_any_transaction() -> None:
    view = public_api.ensure_repository(tracker="local", scope="a", source="a", default_branch="main")
    public_api.create_issue(repository_id=view.id, draft=IssueDraft(title="Title"))
    public_writes.wish(view.id, [create("a"), status("s1")])
    inside: list[bool] = []
    act: Callable[[], None] = lambda: inside.append(transaction.get_connection().in_atomic_block)  # noqa: E731
    run(
        view,
        Fault(method="create", when="before", act=act),
        Fault(method="upsert_comment", when="before", act=act),
    )
    assert inside == [False, False]
