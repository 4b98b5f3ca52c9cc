from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.agents.errors import InvalidOutcomeError
from grid.agents.outcome import MAX_BYTES, encode_outcome, parse_outcome, read_outcome_file, report_of
from grid.public_types import ChildProposal, Outcome, OutcomeKind


def child(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "title": key.upper(), "body": "Text."} | more


def split(*children: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"outcome": "split", "summary": "Parts.", "children": list(children)} | more).encode()


def test_a_whole_report_is_read() -> None:
    outcome = parse_outcome(
        split(child("a", acceptance=["pytest -q"]), child("b", blocked_by=["a", "a"]), comment="Hello")
    )

    assert outcome == Outcome(
        kind=OutcomeKind.SPLIT,
        summary="Parts.",
        comment="Hello",
        children=(
            ChildProposal(key="a", title="A", body="Text.", acceptance=("pytest -q",)),
            ChildProposal(key="b", title="B", body="Text.", blocked_by=("a",)),
        ),
    )


def test_the_outcome_alone_is_enough() -> None:
    assert parse_outcome(b'\xef\xbb\xbf{"outcome": "done"}') == Outcome(kind=OutcomeKind.DONE)


def test_nul_and_half_surrogates_are_stripped() -> None:
    assert parse_outcome(b'{"outcome": "done", "summary": "a\\u0000b\\ud800c"}').summary == "ab?c"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]", "valid dictionary"),
        (b"{", "not JSON"),
        (b'{"outcome": NaN}', "NaN is no JSON"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"outcome": ' + b"1" * 5_000 + b"}", "not JSON"),
        (b" " * (MAX_BYTES + 1), f"at most {MAX_BYTES}"),
        (b"{}", "outcome: Field required"),
        (b'{"outcome": "solved"}', "outcome: Input should be 'done', 'split'"),
        (b'{"outcome": "done", "sumary": ""}', "unknown key 'sumary'; did you mean 'summary'?"),
        (b'{"outcome": "done", "zzz": ""}', "unknown key 'zzz'; known keys: acceptance"),
        (b'{"outcome": "done", "summary": 5}', "summary: Input should be a valid string"),
        (
            json.dumps({"outcome": "done", "summary": "x" * 20_001}).encode(),
            "summary: String should have at most 20000",
        ),
        (b'{"outcome": "split"}', "needs at least one entry in 'children'"),
        (split(child("a"), outcome="done"), "may not have 'children'"),
        (split(child("a"), child("a")), "children.1.key: 'a' is used twice"),
        (split(child("A")), "children.0.key: String should match pattern"),
        (split(child("a\n")), "children.0.key: String should match pattern"),
        (split(child("a" * 41)), "children.0.key"),
        (split(child("a", title="x" * 257)), "children.0.title: String should have at most 256"),
        (split(child("a", title=" ")), "children.0.title: String should have at least 1"),
        (split(child("a", body="x" * 65_537)), "children.0.body: String should have at most 65536"),
        (split(child("a", titel="")), "children.0: unknown key 'titel'; did you mean 'title'?"),
        (split(child("a", blocked_by=["b"])), "there is no sibling with the key 'b'"),
        (split(child("a", blocked_by=["a"])), "goes in a circle: a -> a"),
        (split(child("a", blocked_by=["b"]), child("b", blocked_by=["a"])), "goes in a circle"),
        (split(child("a", acceptance=["x"] * 21)), "children.0.acceptance: List should have at most 20"),
        (split(child("a", acceptance=["x" * 2_001])), "children.0.acceptance.0: String should have at most 2000"),
        (split(*[child(f"k{n}") for n in range(101)]), "children: List should have at most 100"),
    ],
)
def test_a_broken_report_is_refused_with_its_place(data: bytes, complaint: str) -> None:
    with pytest.raises(InvalidOutcomeError) as caught:
        parse_outcome(data)

    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 2_000


@given(
    st.binary(max_size=300) | st.recursive(st.none() | st.text(), lambda x: st.lists(x)).map(json.dumps).map(str.encode)
)
def test_no_input_does_anything_but_parse_or_be_refused(data: bytes) -> None:
    try:
        outcome = parse_outcome(data)
    except InvalidOutcomeError:
        return
    assert parse_outcome(encode_outcome(report_of(outcome))) == outcome


def test_a_report_survives_the_way_out_and_back() -> None:
    outcome = parse_outcome(split(child("a", body="ü\u2028"), child("b", blocked_by=["a"], acceptance=["true"])))

    assert parse_outcome(encode_outcome(report_of(outcome))) == outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workspace/.agentgrid").mkdir(parents=True)
    return tmp_path / "workspace/.agentgrid"


def test_the_file_is_read(folder: Path) -> None:
    (folder / "outcome.json").write_text('{"outcome": "blocked", "summary": "No key."}')

    assert read_outcome_file(folder.parent) == Outcome(kind=OutcomeKind.BLOCKED, summary="No key.")


def test_no_file_and_no_folder_are_no_report(folder: Path, tmp_path: Path) -> None:
    assert read_outcome_file(folder.parent) is None
    assert read_outcome_file(tmp_path) is None
    assert read_outcome_file(tmp_path / "gone") is None


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "outcome.json").write_text('{"outcome": "done"}')
    (folder / "outcome.json").symlink_to(secret / "outcome.json")
    with pytest.raises(InvalidOutcomeError, match="symbolic link"):
        read_outcome_file(folder.parent)

    (folder / "outcome.json").unlink()
    folder.rmdir()
    folder.symlink_to(secret)
    with pytest.raises(InvalidOutcomeError, match="symbolic link"):
        read_outcome_file(folder.parent)

    (tmp_path / "whole").symlink_to(folder.parent)
    with pytest.raises(InvalidOutcomeError, match="symbolic link"):
        read_outcome_file(tmp_path / "whole")


@pytest.mark.timeout(5)
@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device"])
def test_only_regular_files_are_read_and_nothing_waits(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder / "outcome.json"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(folder)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("outcome.json")
    else:
        try:
            os.mknod(target, 0o20666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("device nodes need root")

    with pytest.raises(InvalidOutcomeError):
        read_outcome_file(folder.parent)


def test_a_huge_file_is_refused_without_being_read_whole(folder: Path) -> None:
    with (folder / "outcome.json").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(InvalidOutcomeError, match="at most"):
        read_outcome_file(folder.parent)


def test_descriptors_are_given_back(folder: Path) -> None:
    (folder / "outcome.json").symlink_to("x")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(InvalidOutcomeError):
            read_outcome_file(folder.parent)
    assert len(os.listdir("/proc/self/fd")) == before
