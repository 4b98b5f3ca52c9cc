"""Envelopes and batches of the event bus: pure rules, for any event and any queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.bus import batches, envelopes
from grid.bus.batches import Entry
from grid.public_types import EventView


def event(**changes: Any) -> EventView:
    given_ = {
        "id": 7,
        "stream": "execution:5b1f0000-0000-4000-8000-000000000001",
        "seq": 12,
        "root": "tree:3",
        "kind": "task.ended",
        "at": datetime(2026, 11, 28, 7, 0, 0, 250_000, tzinfo=UTC),
        "body": {"to": "succeeded"},
    }
    return EventView(**(given_ | changes))


def test_an_event_becomes_a_cloudevent():
    assert json.loads(envelopes.encoded(event(), source="https://grid.example.com")) == {
        "specversion": "1.0",
        "id": "execution:5b1f0000-0000-4000-8000-000000000001/12",
        "source": "https://grid.example.com",
        "type": "agentgrid.task.ended",
        "subject": "execution:5b1f0000-0000-4000-8000-000000000001",
        "time": "2026-11-28T07:00:00.250000Z",
        "datacontenttype": "application/json",
        "partitionkey": "tree:3",
        "sequence": "0000000012",
        "data": {"to": "succeeded"},
    }


def test_a_body_that_is_too_large_is_left_out_and_named():
    message = envelopes.encoded(event(body={"text": "é" * 300_000}), source="/agent-grid")
    found = json.loads(message)
    assert len(message) < 1000
    assert found["data"] == {"left_out": "too large for the queue", "bytes": 300_000 * 6 + len('{"text":""}')}
    assert found["dataref"] == found["id"]
    assert urlsplit(found["dataref"]).path, "a URI reference"


@given(st.text(max_size=200), st.text(max_size=300))
def test_whatever_an_event_says_a_queue_takes_it(root: str, text: str):
    made = event(root=root, body={"text": text})
    message = envelopes.encoded(made, source="/agent-grid")
    assert message.isascii() and "\0" not in message, "XML of a queue takes it"
    assert json.loads(message)["data"] == {"text": text}
    group = envelopes.group_of(made)
    assert 1 <= len(group) <= 128 and all("!" <= letter <= "~" for letter in group)
    assert len(envelopes.event_id(event(stream="x" * 64, seq=2**31))) <= 128


def test_trees_keep_groups_of_their_own_also_with_names_that_a_queue_refuses():
    names = ["tree:1", "tree:2", "", " ", "x" * 129, "x" * 130, "tree 1"]
    assert len({envelopes.group_of(event(root=name)) for name in names}) == len(names)


def entries(groups: str, size: int = 10) -> list[Entry]:
    return [
        Entry(place=place, id=f"{group}/{place}", group=group, text="x" * size) for place, group in enumerate(groups)
    ]


def places(waiting: list[Entry], **changes: Any) -> list[int]:
    options: dict[str, Any] = {"stopped": (), "keeps_order": True, "max_bytes": 10_000} | changes
    return [entry.place for entry in batches.next_batch(waiting, **options)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 1, 4]),
        ({"keeps_order": False}, [0, 1, 2, 3, 4, 5]),
        ({"stopped": {"a"}}, [1, 4]),
        ({"stopped": {"a"}, "keeps_order": False}, [1, 4]),
        ({"stopped": {"a", "b", "c"}}, []),
        ({"max_bytes": 25}, [0, 1]),
    ],
)
def test_a_request_holds_what_may_be_sent_now(changes, expected):
    assert places(entries("abaaca"), **changes) == expected


def test_a_request_holds_ten_messages_at_most():
    assert places(entries("abcdefghijklmno")) == list(range(10))
    assert places(entries("a" * 30), keeps_order=False) == list(range(10))


@given(st.lists(st.sampled_from("abc"), max_size=40), st.sets(st.integers(0, 39)), st.booleans())
def test_no_message_of_a_group_is_sent_after_one_that_failed(groups, failing, keeps_order):
    """As the publisher goes: take a batch, drop what was taken, stop the groups of what was refused."""
    waiting, stopped, sent = entries("".join(groups)), set[str](), list[Entry]()
    while batch := batches.next_batch(waiting, stopped=stopped, keeps_order=keeps_order, max_bytes=10_000):
        refused = [entry for entry in batch if entry.place in failing]
        stopped |= {entry.group for entry in refused}
        taken = [entry for entry in batch if entry not in refused]
        sent += taken
        waiting = [entry for entry in waiting if entry not in taken]
    assert {entry.place for entry in sent} | {entry.place for entry in waiting} == set(range(len(groups)))
    assert all(entry.group in stopped for entry in waiting)
    if keeps_order:
        for group in "abc":
            mine = [entry.place for entry in sent if entry.group == group]
            left = [entry.place for entry in waiting if entry.group == group]
            assert mine == sorted(mine) and all(place < min(left, default=99) for place in mine)
