"""Payloads of writes."""

from __future__ import annotations

from typing import Any

import pytest

from tracker import drain, writes
from tracker.public_errors import InvalidError
from tracker.public_types import Write, WriteKind

GOOD: dict[WriteKind, dict[str, Any]] = {
    WriteKind.CREATE_ISSUE: {"title": "T", "body": "B", "labels": ["x"], "parent": "1", "blockers": [{"from": "k"}]},
    WriteKind.LINK_CHILD: {"parent": "1", "child": {"from": "k"}, "after": "2", "replace": True},
    WriteKind.SET_BLOCKERS: {"ref": "1", "blockers": ["2", {"from": "k"}]},
    WriteKind.SET_STATE: {"ref": "1", "state": ""},
    WriteKind.UPSERT_COMMENT: {"ref": "1", "slot": "status", "data": {}, "markdown": "M"},
    WriteKind.CLOSE: {"ref": "1", "reason": "completed"},
    WriteKind.ASSIGN: {"ref": "1", "actor": "alice"},
    WriteKind.REACT: {"ref": "1", "kind": "eyes", "comment": "7"},
    WriteKind.SET_LABEL: {"ref": "1", "name": "agent:hold", "present": True},
    WriteKind.REOPEN: {"ref": "1"},
    WriteKind.OPEN_CHANGE: {"ref": "1", "head": "agent/1-x", "base": "main", "title": "T", "body": "B"},
    WriteKind.MARK_READY: {"ref": "1", "head": "agent/1-x"},
    WriteKind.EDIT: {"ref": "1", "title": "T", "body": "B"},
}
OPTIONAL = {"body", "labels", "parent", "blockers", "after", "replace", "data", "comment"}


def write(kind: WriteKind, payload: dict[str, Any], **fields: str) -> Write:
    return Write(key=fields.pop("key", "k1"), kind=kind, payload=payload, **fields)


@pytest.mark.parametrize("kind", WriteKind)
def test_good_payloads_pass_unchanged(kind: WriteKind) -> None:
    assert writes.checked(write(kind, GOOD[kind])) == GOOD[kind]


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in WriteKind for field in GOOD[kind]])
def test_a_misshapen_field_is_named(kind: WriteKind, field: str) -> None:
    for bad in (7, {"form": "k"}, {"from": 7}, {"from": "k", "or": "k"}, [[1]]):
        if (field, bad) == ("data", {"form": "k"}) or (field == "data" and isinstance(bad, dict)):
            continue
        with pytest.raises(InvalidError) as caught:
            writes.checked(write(kind, {**GOOD[kind], field: bad}))
        assert caught.value.field == field


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in WriteKind for field in GOOD[kind]])
def test_only_optional_fields_may_be_none_or_missing(kind: WriteKind, field: str) -> None:
    without = {name: value for name, value in GOOD[kind].items() if name != field}
    is_optional = field in OPTIONAL and (kind, field) not in {
        (WriteKind.LINK_CHILD, "parent"),
        (WriteKind.SET_BLOCKERS, "blockers"),
        (WriteKind.OPEN_CHANGE, "body"),
        (WriteKind.EDIT, "body"),
    }
    for payload in (without, {**without, field: None}):
        if is_optional:
            assert writes.checked(write(kind, payload)) == without
        else:
            with pytest.raises(InvalidError):
                writes.checked(write(kind, payload))


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InvalidError, match="reasons"):
        writes.checked(write(WriteKind.CLOSE, {"ref": "1", "reason": "completed", "reasons": "x"}))


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00"])
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidError):
        writes.checked(write(WriteKind.CLOSE, GOOD[WriteKind.CLOSE], key=key))


def test_a_create_cannot_coalesce() -> None:
    with pytest.raises(InvalidError, match="coalesce"):
        writes.checked(write(WriteKind.CREATE_ISSUE, GOOD[WriteKind.CREATE_ISSUE], coalesce="x"))


def test_texts_are_cleaned_and_sizes_bounded() -> None:
    payload = {"ref": "1", "slot": "s", "markdown": "a\x00b\ud800"}
    assert writes.checked(write(WriteKind.UPSERT_COMMENT, payload))["markdown"] == "ab\ufffd"
    with pytest.raises(InvalidError, match="characters of"):
        writes.checked(write(WriteKind.UPSERT_COMMENT, {**payload, "markdown": "x" * 300_001}))


def test_predecessors_are_found_and_replaced_in_references_only() -> None:
    payload = {"title": "{'from': 'x'}", "parent": {"from": "a"}, "blockers": ["1", {"from": "b"}]}
    assert writes.predecessors(payload) == {"a", "b"}
    assert writes.resolved(payload, {"a": "7", "b": "8"}) == {
        "title": "{'from': 'x'}",
        "parent": "7",
        "blockers": ["1", "8"],
    }
    assert writes.predecessors({"ref": "1", "data": {"from": "x"}}) == set()
    assert writes.resolved({"ref": "1", "data": {"from": "x"}}, {}) == {"ref": "1", "data": {"from": "x"}}


def test_pauses_double_up_to_five_minutes() -> None:
    assert [drain.pause_seconds(attempts) for attempts in (1, 2, 3, 5, 6, 50)] == [10, 20, 40, 160, 300, 300]
