from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grid.agents.bounds import MAX_EVENT_BYTES, bounded, clean, read_json_line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_anything_becomes_bounded_json_that_a_database_takes(body: dict[str, Any]) -> None:
    text = json.dumps(bounded(body), allow_nan=False)

    assert len(text) <= MAX_EVENT_BYTES
    assert "\\u0000" not in text.replace("\\\\", "")
    json.loads(text).__repr__().encode()


def test_what_fits_is_kept_as_it_is() -> None:
    body = {"text": "x" * 10_000, "list": [1, 2.5, None, True], "deep": {"a": {"b": "c"}}}

    assert bounded(body) == body


def test_what_is_too_large_is_marked() -> None:
    for body in (
        {"text": "x" * 1_000_000},
        {"text": "\x01" * 10_000},
        {"list": list(range(100_000))},
        {f"key {n}": "v" * 100 for n in range(5_000)},
        {"x" * 100_000: 1},
        {"number": 10**400},
        {"number": float("inf")},
    ):
        copy = bounded(body)
        assert copy["truncated"] is True
        assert len(json.dumps(copy, allow_nan=False)) <= MAX_EVENT_BYTES


def test_depth_is_bounded() -> None:
    nested: dict[str, Any] = {}
    for _ in range(500):
        nested = {"in": nested}

    assert bounded(nested)["truncated"] is True


def test_clean_text_has_neither_nul_nor_half_surrogates() -> None:
    assert clean("a\0b\ud800c😀") == "ab?c😀"


def test_only_objects_are_read_from_lines() -> None:
    assert read_json_line('{"a": NaN}') == {"a": None}
    for line in ("", "text", "[1]", '"a"', "{", "{" * 100_000, '{"a":' * 50_000, '{"a": ' + "1" * 5_000 + "}", "\0"):
        assert read_json_line(line) is None
    assert read_json_line('{"a": "' + "x" * (1 << 20) + '"}') is None
