"""A log with something wrong is named with its line; one without is not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.events import lines, verify

ROOT = "tree:1"
START = {"phase": "agent", "pid": 5, "shim": 4}


def event(number: int, **changes: Any) -> dict[str, Any]:
    """The n-th event of one execution."""
    return {
        "id": number,
        "stream": "execution:e1",
        "seq": number,
        "root": ROOT,
        "kind": "agent.spawned",
        "v": 1,
        "at": "2026-11-28T07:00:00+00:00",
        "body": START,
        **changes,
    }


def log(*events: dict[str, Any], root: str = ROOT, end: bool = True) -> bytes:
    """A file of these events, with a sound chain."""
    chain = lines.Chain()
    written = [lines.written(lines.header(root, "2026-11-28T07:00:00+00:00"), chain)]
    written += [lines.written(one, chain) for one in events]
    if end:
        written.append(lines.written(lines.trailer(events=len(events), base=0, chain=chain), chain))
    return b"".join(written)


def problems(data: bytes) -> list[tuple[int, str]]:
    """Line and code of everything wrong with a file."""
    return [(problem.line, problem.code) for problem in verify.verify(io.BytesIO(data))]


GOOD = log(*map(event, range(1, 6)))


def test_nothing_is_wrong_with_what_was_exported() -> None:
    assert problems(GOOD) == []
    assert problems(log()) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", [(1, "cut-off")], id="empty"),
        pytest.param(GOOD[:-20], [(7, "torn")], id="torn in the last line"),
        pytest.param(b"".join(GOOD.splitlines(True)[:4])[:-9], [(4, "torn")], id="torn in the middle"),
        pytest.param(b"".join(GOOD.splitlines(True)[:4]), [(5, "cut-off")], id="ends between lines"),
        pytest.param(GOOD + b'{"more": 1}\n', [(8, "chain"), (8, "order")], id="more after the end"),
        pytest.param(log(event(1), event(2, seq=3)), [(3, "gap")], id="gap"),
        pytest.param(log(event(2, seq=2)), [(2, "gap")], id="beginning is missing"),
        pytest.param(log(event(1), event(2, seq=1)), [(3, "duplicate")], id="number twice"),
        pytest.param(log(event(1), event(1, seq=2)), [(3, "duplicate")], id="id twice"),
        pytest.param(log(event(2, seq=1), event(1, seq=2)), [(3, "order")], id="older event later"),
        pytest.param(log(event(1, kind="agent.flew")), [(2, "unknown-kind")], id="unknown kind"),
        pytest.param(log(event(1, v=2)), [(2, "body")], id="version that nobody knows"),
        pytest.param(log(event(1, body={"phase": 3, "pid": 5, "shim": 4})), [(2, "body")], id="body breaks its schema"),
        pytest.param(log(event(1, body={**START, "speed": 3})), [(2, "body")], id="body has too much"),
        pytest.param(log(event(1, stream="agent:3")), [(2, "body")], id="kind of another stream"),
        pytest.param(log(event(1, root="tree:2")), [(2, "root")], id="root of another tree"),
        pytest.param(log(event(1), event(2, root="tree:2"), root=""), [(3, "root")], id="one stream of two trees"),
        pytest.param(log(event(1, id="1")), [(2, "shape"), (3, "cut-off")], id="no event"),
        pytest.param(log(event(1, at="now")), [(2, "shape"), (3, "cut-off")], id="no time"),
        pytest.param(log(event(1, at="2026-11-28")), [(2, "shape"), (3, "cut-off")], id="time without a zone"),
        pytest.param(
            log(event(1, rows=[{"table": "auth_user", "id": 1, "set": {}}])),
            [(2, "body"), (2, "row")],
            id="row of a table that is none of ours",
        ),
        pytest.param(log(event(1, rows=[3])), [(2, "body"), (2, "row")], id="row that is none"),
        pytest.param(log(event(1, rows=5)), [(2, "shape"), (3, "cut-off")], id="rows that are no list"),
        pytest.param(
            log(event(1, rows=[{"table": "grid_execution", "id": [], "set": {}}])),
            [(2, "body"), (2, "row")],
            id="row whose id is none",
        ),
        pytest.param(
            log({"base": {"table": "auth_user", "id": 1, "set": {"is_superuser": True}}}),
            [(2, "row"), (3, "cut-off")],
            id="base row of a table that is none of a tracker's",
        ),
        pytest.param(
            log(event(1)).replace(b'"pid":5', b'"pid":NaN'), [(2, "no-json"), (3, "cut-off")], id="no number of JSON"
        ),
        pytest.param(b'{"format": "other"}\n', [(1, "header"), (1, "chain"), (2, "cut-off")], id="another format"),
        pytest.param(b"[1]\n" + GOOD, [(1, "no-json")], id="no object"),
        pytest.param(b"\xff\xfe\n", [(1, "no-json"), (2, "cut-off")], id="no text"),
        pytest.param(b"[" * 100_000 + b"\n", [(1, "no-json"), (2, "cut-off")], id="nested too deep"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(data: bytes, expected: list[tuple[int, str]]) -> None:
    assert sorted(problems(data)) == sorted(expected)


@pytest.mark.parametrize(
    ("change", "line", "codes"),
    [
        (lambda lines_: lines_[:2] + lines_[3:], 3, {"chain", "gap", "cut-off"}),
        (lambda lines_: [*lines_[:3], lines_[2], *lines_[3:]], 4, {"chain", "duplicate", "cut-off"}),
        (lambda lines_: [*lines_[:2], lines_[3], lines_[2], *lines_[4:]], 3, {"chain", "gap", "duplicate", "order"}),
        (
            lambda lines_: [
                line.replace(b'"pid":5', b'"pid":6', 1) if n == 3 else line for n, line in enumerate(lines_)
            ],
            4,
            {"chain"},
        ),
    ],
    ids=["a line is missing", "a line twice", "two lines changed places", "a line was edited"],
)
def test_a_file_that_was_touched_has_a_broken_chain_where_it_was(
    change: Callable[[list[bytes]], list[bytes]], line: int, codes: set[str]
) -> None:
    found = problems(b"".join(change(GOOD.splitlines(True))))
    assert (line, "chain") in found
    assert {code for _, code in found} == codes
    assert [code for _, code in found].count("chain") == 1


@given(cut=st.integers(0, len(GOOD) - 1))
def test_a_file_that_was_cut_off_anywhere_is_never_taken_for_whole(cut: int) -> None:
    assert {code for _, code in problems(GOOD[:cut])} & {"torn", "cut-off"}


@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_a_file_with_one_other_byte_is_never_taken_for_good(at: int, byte: int) -> None:
    changed = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    assert bool(problems(changed)) == (changed != GOOD)


@given(st.binary(max_size=300))
def test_rubbish_is_answered_and_never_crashes(data: bytes) -> None:
    assert problems(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_line_of_json_is_answered(value: Any) -> None:
    chain = lines.Chain()
    head = lines.written(lines.header("", "2026-11-28T07:00:00+00:00"), chain)
    assert problems(head + json.dumps(value).encode() + b"\n")
