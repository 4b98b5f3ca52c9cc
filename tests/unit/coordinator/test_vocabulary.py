"""Typed messages: what each kind may say, and how it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.public_errors import InvalidInputError
from coordinator.public_types import MessageKind
from coordinator.rules import vocabulary

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["state", "intent", "done", "total", "options", "post", "choice", "on", "whom", "what", "x"])


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("status", {"state": "writing tests", "done": 3, "total": 7}, "writing tests, 3 of 7"),
        ("status", {"intent": "the parser"}, "next: the parser"),
        ("blocked", {"on": "the format", "whom": "agent 4"}, "blocked on the format, needs agent 4"),
        ("handoff", {"what": "the parser", "branch": "agent/4-x", "commit": "a" * 40}, f"the parser, branch agent/4-x, commit {'a' * 40}"),
        ("result", {"outcome": "partly"}, "partly"),
        ("question", {"options": ["tabs", "spaces"]}, "choose one of: tabs | spaces"),
        ("answer", {"post": 4, "choice": "tabs"}, "to message 4, tabs"),
        ("conflict", {"conflict": 3, "paths": ["a"]}, "conflict 3"),
        ("chat", {}, ""),
    ],
)  # fmt: skip
def test_each_kind_has_facts_that_can_be_said_in_a_line(kind, data, words):
    kind = MessageKind(kind)
    assert vocabulary.in_words(kind, data) == words
    assert vocabulary.plain(kind, vocabulary.plain(kind, data)) == vocabulary.plain(kind, data)


@pytest.mark.parametrize(
    ("kind", "data", "part"),
    [
        ("chat", {"x": 1}, "words alone"),
        ("status", {"done": 5, "total": 4}, "more than the total"),
        ("status", {"done": "5"}, "done:"),
        ("status", {"done": True}, "done:"),
        ("blocked", {}, "on: Field required"),
        ("blocked", {"on": "\u200b \n"}, "on: String should have at least 1 character"),
        ("question", {"options": ["tabs", "\u200b"]}, "options.1:"),
        ("handoff", {"what": "x", "branch": "a b"}, "branch:"),
        ("handoff", {"what": "x", "branch": "a\u202eb"}, "branch:"),
        ("handoff", {"what": "x", "commit": "HEAD"}, "commit:"),
        ("result", {"outcome": "won"}, "outcome:"),
        ("question", {"options": ["x"] * 11}, "options:"),
        ("status", {"state": "x" * 5_000}, "4,000 characters"),
    ],
)
def test_wrong_facts_are_refused_by_name_and_never_repeated(kind, data, part):
    with pytest.raises(InvalidInputError) as caught:
        vocabulary.plain(MessageKind(kind), data)
    assert part in str(caught.value)


def test_to_stop_is_no_message():
    for word in ("stop", "cancel", "STOP"):
        with pytest.raises(InvalidInputError, match=r"manage\.py cancel"):
            vocabulary.kind_of(word)
    with pytest.raises(InvalidInputError, match="there are chat, status"):
        vocabulary.kind_of("shout\x1b[31m")


@given(st.sampled_from(MessageKind), st.dictionaries(KEYS, JSON, max_size=4))
def test_anything_is_either_refused_or_stored_readable_and_bounded(kind, data):
    try:
        stored = vocabulary.plain(kind, data)
    except InvalidInputError:
        return
    assert vocabulary.plain(kind, stored) == stored
    words = vocabulary.in_words(kind, stored)
    assert len(words) <= 600 and "\n" not in words and "\x1b" not in words


@given(st.sampled_from(MessageKind), st.dictionaries(KEYS, JSON, max_size=4))
def test_facts_of_another_version_are_shown_bare(kind, data):
    assert len(vocabulary.in_words(kind, data)) <= 600
