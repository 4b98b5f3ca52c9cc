"""Texts made safe to store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker import limits
from tracker.public_errors import InvalidError


@given(st.text(st.characters(exclude_categories=[])))
def test_a_clean_text_can_be_stored_anywhere_and_stays_clean(text: str) -> None:
    cleaned = limits.clean_text(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    assert limits.clean_text(cleaned) == cleaned


def test_cleaning_keeps_what_people_write() -> None:
    text = "Fünf 🎉 émojis,\n\ttabs and\u200bzero width\n"
    assert limits.clean_text(text) == text


def test_json_is_cleaned_at_every_depth() -> None:
    assert limits.clean_json({"a\x00": ["b\x00", {"c": ("\ud800", 1, True, None, 1.5)}]}) == {
        "a": ["b", {"c": ["\ufffd", 1, True, None, 1.5]}]
    }


def test_deeply_nested_json_is_refused() -> None:
    nested: object = "x"
    for _ in range(30):
        nested = [nested]
    with pytest.raises(InvalidError, match="flatter"):
        limits.clean_json(nested)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), {1, 2}, b"bytes", {1: "a"}, object()])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidError):
        limits.clean_json([value])


@pytest.mark.parametrize("login", ["alice", "dependabot[bot]", "alice@example.com", "ålice", "x" * 100])
def test_logins_pass(login: str) -> None:
    assert limits.person(login) == login


@pytest.mark.parametrize("login", ["", "two words", "a\n", "a\x00", "\ud800", "x" * 101])
def test_what_is_no_login_is_refused(login: str) -> None:
    with pytest.raises(InvalidError):
        limits.person(login)


@pytest.mark.parametrize(
    ("key", "is_number"), [("1", True), ("42", True), ("0", False), ("01", False), ("\u0661", False)]
)
def test_numbers_are_ascii_without_leading_zero(key: str, is_number: bool) -> None:
    assert limits.is_number(key) is is_number
