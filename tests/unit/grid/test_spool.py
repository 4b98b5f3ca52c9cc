"""Files of a shim where an agent with our user id has put something else: said at once, whatever it is."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from grid import processes, spool
from grid.processes import ShimState
from grid.public_errors import SpoolError

RECORD = '{"n": 1, "t": "out", "line": "hello"}\n'
SHIM = '{"pid": 1, "start": 1, "boot": "b"}'


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def link_to_a_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(RECORD if path.suffix == ".jsonl" else SHIM)
    path.symlink_to(other)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def in_time[T](ask: Callable[[], T]) -> T | None:
    """The answer; a question that waits for ever is left behind with its thread."""
    answers: list[T] = []
    asking = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    asking.start()
    asking.join(20)
    assert not asking.is_alive(), "it waits"
    return answers[0]


@pytest.mark.parametrize("put", [fifo, link_to_a_fifo, link_to_a_file, listening, below_a_file, Path.mkdir])
def test_what_is_no_file_of_a_shim_is_said_at_once(tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    put(tmp_path / "a" / "spool.jsonl")
    put(tmp_path / "b" / "shim.json")

    def read() -> str:
        with pytest.raises(SpoolError) as refused:
            spool.SpoolReader(tmp_path / "a" / "spool.jsonl").read()
        return str(refused.value)

    assert "spool.jsonl is no" in str(in_time(read))
    assert in_time(lambda: processes.shim_state(tmp_path / "a")) == ShimState.GONE
    assert in_time(lambda: processes.shim_identity(tmp_path / "b")) is None


def test_a_file_of_a_shim_is_read_and_one_that_is_not_there_yet_waited_for(tmp_path: Path) -> None:
    reader = spool.SpoolReader(tmp_path / "spool.jsonl")
    assert reader.read() == []
    assert processes.shim_state(tmp_path) == ShimState.ABSENT
    (tmp_path / "spool.jsonl").write_text(RECORD)
    (tmp_path / "shim.json").write_text(SHIM)
    assert [record["line"] for record in reader.read()] == ["hello"]
    identity = processes.shim_identity(tmp_path)
    assert identity is not None
    assert identity.pid == 1


def test_an_answer_that_nobody_can_parse_is_none(tmp_path: Path) -> None:
    """The socket, too, is one that an agent can put its own in the place of."""
    (tmp_path / "shim.json").write_text("[" * 4096)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as forged:
        forged.bind(str(tmp_path / "control.sock"))
        forged.settimeout(20)

        def answer() -> None:
            _, sender = forged.recvfrom(1 << 16)
            forged.sendto(b"[" * 60_000, sender)

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        assert processes.command(tmp_path, {"op": "ping"}, timeout=20) is None
        answering.join(20)
    assert processes.shim_identity(tmp_path) is None
