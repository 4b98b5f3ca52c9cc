"""Queue, claim, lease, stop and end of executions, on the database under test."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from grid import event_log, executions, lifecycle, public_api
from grid.models import Event, Execution, Host
from grid.public_types import ON_HOST, TERMINAL, Result, State
from tests.factories import launch_spec, make_execution

pytestmark = pytest.mark.django_db


@pytest.fixture
def host() -> str:
    return str(Host.objects.create(name="h1", slots=2).pk)


def claimed(host: str, subject: str = "issue:1") -> Execution:
    row = executions.claim(make_execution(subject).pk, host=host)
    assert row is not None
    return row


def running(host: str, subject: str = "issue:1") -> Execution:
    row = claimed(host, subject)
    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=row.token)
    row.refresh_from_db()
    return row


def expire(row: Execution) -> None:
    Execution.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=16))


def test_a_second_live_execution_of_a_subject_is_not_queued():
    assert executions.queue(launch_spec("issue:7")) is not None
    assert executions.queue(launch_spec("issue:7")) is None
    assert Execution.objects.filter(subject="issue:7").count() == 1


@pytest.mark.parametrize(("refusals", "is_queued"), [(1, True), (2, True), (3, False)])
def test_what_stood_in_the_way_and_has_ended_since_refuses_nothing(refusals, is_queued):
    left = [refusals]

    def refused(execute, sql, params, many, context):
        """The constraint, met by an execution that another transaction ends before we look."""
        if "INSERT" in sql and Execution._meta.db_table in sql and left[0]:
            left[0] -= 1
            raise IntegrityError("one_live_execution_per_subject")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refused):
        if is_queued:
            assert executions.queue(launch_spec("issue:1")) == Execution.objects.get().pk
        else:
            with pytest.raises(IntegrityError):
                executions.queue(launch_spec("issue:1"))
    assert Execution.objects.count() == is_queued


def test_a_subject_may_run_again_after_its_execution_ended(host):
    row = running(host)
    assert executions.end(row.pk, token=row.token, state=State.FAILED, reason="no", result=Result())
    assert executions.queue(launch_spec(row.subject)) is not None


def test_a_claim_takes_a_row_once_and_raises_its_token(host):
    pk = make_execution().pk
    first = executions.claim(pk, host=host)
    assert first is not None and (first.token, first.state, first.host) == (1, "claimed", host)
    assert executions.claim(pk, host=host) is None


def test_a_host_claims_no_more_than_its_slots(host):
    claimed(host, "issue:1")
    claimed(host, "issue:2")
    assert executions.claim(make_execution("issue:3").pk, host=host) is None


def test_a_draining_or_unknown_host_claims_nothing(host):
    pk = make_execution().pk
    assert executions.claim(pk, host="nobody") is None
    Host.objects.filter(pk=host).update(draining_at=timezone.now())
    assert executions.claim(pk, host=host) is None


def test_a_held_row_is_not_claimed_until_it_is_let_go(host):
    pk = make_execution().pk
    assert executions.hold(is_held=True) == 1
    assert executions.claim(pk, host=host) is None
    assert executions.next_queued() == []
    executions.hold(is_held=False)
    assert executions.claim(pk, host=host) is not None


def test_a_row_sends_a_message_only_where_none_waits_already(host, django_capture_on_commit_callbacks):
    """Where one waits, no slot is free, and hosts take the next row without being told."""

    def sent(subject: str, *, is_held: bool = False) -> int:
        with django_capture_on_commit_callbacks() as callbacks:
            assert public_api.launch(launch_spec(subject), is_held=is_held)
        return len(callbacks)

    assert sent("issue:1", is_held=True) == 0
    assert sent("issue:2") == 1, "a held row does not count"
    assert sent("issue:3") == 0
    for pk in executions.next_queued(limit=2):
        assert executions.claim(pk, host=host)
    assert sent("issue:4") == 1, "what was claimed does not wait"


def test_the_highest_priority_goes_first_then_the_oldest():
    low, high, low_too = (make_execution(f"issue:{n}", priority=p).pk for n, p in ((1, 0), (2, 5), (3, 0)))
    assert executions.next_queued(limit=3) == [high, low, low_too]


def test_renewing_extends_leases_and_names_the_ones_that_are_still_ours(host):
    mine, other = claimed(host, "issue:1"), claimed(host, "issue:2")
    Execution.objects.filter(pk=mine.pk).update(lease_until=timezone.now())
    Execution.objects.filter(pk=other.pk).update(token=9)
    assert executions.renew(host=host, tokens={mine.pk: 1, other.pk: 1}, slots=2) == {mine.pk}
    assert Execution.objects.get(pk=mine.pk).lease_until > timezone.now() + timedelta(seconds=50)


def test_a_stale_token_ends_nothing(host):
    row = running(host)
    assert not executions.end(row.pk, token=row.token + 1, state=State.SUCCEEDED, reason="late", result=Result())
    assert Execution.objects.get(pk=row.pk).state == State.RUNNING


@pytest.mark.parametrize("end", sorted(TERMINAL))
def test_a_terminal_state_never_changes(host, end):
    row = running(host)
    assert lifecycle.move(row.pk, old={State.RUNNING}, new=end, reason="over", token=row.token)
    for state in State:
        if end in lifecycle.ARROWS[state]:
            assert not lifecycle.move(row.pk, old={state}, new=end, reason="again")
    with pytest.raises(lifecycle.IllegalMoveError):
        lifecycle.move(row.pk, old={end}, new=State.RUNNING, reason="back")
    assert Execution.objects.get(pk=row.pk).state == end


def test_an_expired_lease_ends_as_lost_and_the_third_time_as_quarantined(host):
    for crashes, end in ((0, State.LOST), (1, State.LOST), (2, State.QUARANTINED)):
        pk = make_execution("issue:1", crashes=crashes).pk
        row = executions.claim(pk, host=host)
        expire(row)
        assert executions.reap() == [pk]
        assert Execution.objects.get(pk=pk).state == end


def test_a_lease_is_not_taken_away_before_its_grace(host):
    row = claimed(host)
    Execution.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=10))
    assert executions.reap() == []


@pytest.mark.parametrize("asked", [State.CANCELLED, State.OVER_BUDGET, State.INTERRUPTED])
def test_a_row_that_was_asked_to_stop_and_whose_host_died_ends_as_it_was_asked_to(host, asked):
    row = running(host)
    executions.request_stop([row.pk], reason=asked)
    expire(row)
    executions.reap()
    assert Execution.objects.get(pk=row.pk).state == asked


def test_a_claim_that_was_asked_to_stop_and_whose_host_died_ends(host):
    row = claimed(host)
    executions.request_stop([row.pk], reason="over_budget")
    expire(row)
    assert executions.reap() == [row.pk]
    assert Execution.objects.get(pk=row.pk).state == State.CANCELLED


@pytest.mark.parametrize("before", [State.OVER_BUDGET, State.INTERRUPTED])
def test_a_cancel_counts_over_a_stop_for_another_reason_and_nothing_over_a_cancel(host, before):
    """Work that was done when its money ended is checked all the same: not after a cancel."""
    row = running(host)
    for reason, touched in ((before, 1), (State.CANCELLED, 1), (before, 0), (State.CANCELLED, 0)):
        assert executions.request_stop([row.pk], reason=reason) == touched
    row.refresh_from_db()
    assert row.stop_reason == "cancelled"


def test_stopping_a_queued_row_ends_it_at_once_and_a_running_one_is_marked(host):
    queued, live = make_execution("issue:1"), running(host, "issue:2")
    assert executions.request_stop([queued.pk, live.pk], reason="cancelled") == 2
    assert executions.request_stop([queued.pk, live.pk], reason="again") == 0
    queued.refresh_from_db()
    live.refresh_from_db()
    assert (queued.state, live.state, live.stop_reason) == ("cancelled", "running", "cancelled")


def test_several_rows_are_stopped_in_the_order_in_which_everybody_takes_them(host):
    """On PostgreSQL a host that renews, or an end that hands locks over, would wait for the stop, and that for them."""
    rows = sorted((running(host, f"issue:{number}") for number in (1, 2)), key=lambda row: row.pk)
    executions.request_stop([row.pk for row in reversed(rows)], reason="cancelled")
    told = Event.objects.filter(kind="task.stop-requested").order_by("id").values_list("stream", flat=True)
    assert list(told) == [row.stream for row in rows]


def test_every_move_is_an_event_and_numbers_have_no_gap(host):
    row = running(host)
    executions.end(row.pk, token=row.token, state=State.SUCCEEDED, reason="done", result=Result())
    events = event_log.read_stream(row.stream)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.body["to"] for event in events] == ["queued", "claimed", "running", "succeeded"]
    assert [event.kind for event in events][-2:] == [lifecycle.STARTED, lifecycle.ENDED]


def test_a_lost_race_leaves_no_event(host):
    row = running(host)
    before = Event.objects.count()
    assert not lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="twice")
    assert Event.objects.count() == before


def test_the_database_refuses_an_execution_on_a_host_without_a_lease(host):
    row = claimed(host)
    with pytest.raises(Exception, match="execution_on_host_has_lease"):
        Execution.objects.filter(pk=row.pk).update(lease_until=None)


def test_the_lookup_of_a_hosts_executions_uses_its_index(host):
    claimed(host)
    sql, params = Execution.objects.filter(state__in=sorted(ON_HOST), host=host).values("pk").query.sql_with_params()
    with connection.cursor() as db:
        if connection.vendor == "postgresql":
            db.execute("SET LOCAL enable_seqscan = off")
        db.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + sql, params)
        plan = " ".join(str(line) for line in db.fetchall())
    assert "execution_of_host" in plan
