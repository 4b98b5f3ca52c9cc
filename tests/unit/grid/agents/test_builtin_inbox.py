"""Messages to the running built-in agent: the lines it takes, refuses and ignores."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grid.agents.builtin.inbox import MAX_LINE_BYTES, MAX_TEXT, MAX_WAITING, Inbox, Message


def line(**fields: Any) -> bytes:
    return json.dumps({"type": "message", **fields}).encode() + b"\n"


def test_a_message_waits_until_it_is_taken() -> None:
    inbox = Inbox()
    assert inbox.feed(line(id="m1", text="Look.", **{"from": "agent 4"})) == []
    assert inbox.take() == [Message(id="m1", text="Look.", sender="agent 4")]
    assert inbox.take() == []


def test_whose_words_they_are_is_said() -> None:
    assert Message(id="1", text="Stop.", sender="agent 4").in_words() == "Message from agent 4: Stop."
    assert Message(id="1", text="Stop.").in_words() == "Message from the grid: Stop."


def test_the_same_id_is_shown_once() -> None:
    inbox = Inbox()
    inbox.feed(line(id="m1", text="a") + line(id="m1", text="a"))
    assert len(inbox.take()) == 1
    inbox.feed(line(id="m1", text="a"))
    assert inbox.take() == []


@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_lines_may_come_in_any_pieces(cuts: list[int]) -> None:
    data = line(id="1", text="é\n") + b"plain\n" + line(id="2", text="b")
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    inbox = Inbox()
    for begin, end in itertools.pairwise(edges):
        inbox.feed(data[begin:end])
    assert [(message.id, message.text) for message in inbox.take()] == [("1", "é\n"), ("2", "b")]


def test_what_is_no_message_is_ignored_or_refused_by_its_id() -> None:
    inbox = Inbox()
    ignored = b'{\n[1]\nnull\n{"type": "stop"}\n\xff\xfe\n' + b"[" * 100_000 + b"\n"
    assert inbox.feed(ignored) == []
    refused = inbox.feed(
        line(text="x") + line(id=5, text="x") + line(id="m", text=" ") + line(id="n", text="x", **{"from": 1})
    )
    assert [item.id for item in refused] == ["", "", "m", "n"]
    assert inbox.take() == []


def test_sizes_are_bounded() -> None:
    inbox = Inbox()
    inbox.feed(line(id="m", text="x" * (MAX_TEXT + 5)))
    assert inbox.take()[0].text.endswith("x… [5 characters cut]")

    refused = inbox.feed(b"x" * (MAX_LINE_BYTES + 1)) + inbox.feed(b"y" * (MAX_LINE_BYTES + 1))
    assert [item.reason for item in refused] == [f"a line of more than {MAX_LINE_BYTES} bytes"]
    inbox.feed(b"z\n" + line(id="next", text="heard"))
    assert [message.id for message in inbox.take()] == ["next"]

    refused = [item for number in range(MAX_WAITING + 3) for item in inbox.feed(line(id=str(number), text="x"))]
    assert [item.reason for item in refused] == [f"{MAX_WAITING} messages wait already"] * 3
