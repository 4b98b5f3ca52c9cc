"""Cursors over the event log miss nothing and see nothing twice, whatever the order of commits."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import IntegrityError, connection, transaction

from grid import event_log
from grid.event_log import Position
from grid.models import Event

pytestmark = pytest.mark.made_up_events


@pytest.mark.django_db
def test_streams_are_numbered_each_from_one():
    for _ in range(3):
        event_log.append(stream="agent:1", root="tree:1", events=[("a", {}), ("b", {})])
    event_log.append(stream="agent:2", root="tree:1", events=[("a", {})])
    assert [event.seq for event in event_log.read_stream("agent:1")] == [1, 2, 3, 4, 5, 6]
    assert [event.seq for event in event_log.read_stream("agent:2")] == [1]


@pytest.mark.django_db
def test_a_cursor_moves_for_one_of_two_readers():
    assert event_log.advance("me", old=Position(), new=Position(0, 5))
    assert not event_log.advance("me", old=Position(), new=Position(0, 7))
    assert event_log.cursor("me") == Position(0, 5)


@pytest.mark.django_db(transaction=True)
def test_a_reader_filters_by_kind():
    event_log.append(stream="s", root="r", events=[("a", {}), ("b", {"x": 1}), ("a", {})])
    assert [event.body for _, event in event_log.read(after=Position(), kinds=("b",))] == [{"x": 1}]


@pytest.mark.django_db(transaction=True)
def test_slow_and_fast_writers_lose_no_event_to_a_polling_reader():
    """On PostgreSQL a plain `id > cursor` misses the rows that slow transactions commit late; see decision 0003."""
    writers, per_writer = 4, 25
    done = threading.Event()

    def write(number: int) -> None:
        for n in range(per_writer):
            with transaction.atomic():
                event_log.append(stream=f"w:{number}:{n}", root="r", events=[("x", {"id": f"{number}-{n}"})])
                if n % 5 == number % 5:
                    time.sleep(0.02)
        connection.close()

    seen: list[str] = []

    def read_on() -> None:
        position = Position()
        last_round = False
        while True:
            batch = event_log.read(after=position, limit=7)
            seen.extend(event.body["id"] for _, event in batch)
            if batch:
                position = batch[-1][0]
            else:
                if last_round:
                    break
                last_round = done.is_set()
                time.sleep(0.002)
        connection.close()

    reader = threading.Thread(target=read_on)
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in [reader, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join(20)
    assert len(seen) == len(set(seen)) == writers * per_writer == Event.objects.count()


@pytest.mark.django_db(transaction=True)
def test_many_events_at_once_are_stored_as_they_are():
    """From some number on PostgreSQL gets them by COPY, with rules of its own for what a text may hold."""
    texts = ["plain", "tab\tand\nline\\n", "\\N", "\\.", "é\u2028\U0001f600", '"quoted"', "", "a\\"]
    events = [("x", {"text": texts[number % len(texts)], "n": number}) for number in range(200)]
    event_log.append(stream="s", root="r\\t", events=events)
    found = event_log.read_stream("s")
    assert [(event.kind, event.body) for event in found] == events
    assert {event.root for event in found} == {"r\\t"} and [event.seq for event in found] == list(range(1, 201))


@pytest.mark.django_db(transaction=True)
def test_a_number_that_is_taken_undoes_all_of_a_burst():
    event_log.append(stream="s", root="r", events=[("x", {})])
    with pytest.raises(IntegrityError), transaction.atomic():
        event_log.insert_numbered(stream="s", root="r", first_seq=1, events=[("x", {})] * 100)
    assert Event.objects.count() == 1
