"""The embedded broker: nothing is lost or delivered twice, whatever lies in its folders."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from django.conf import settings as django_settings
from kombu import Connection, Producer
from kombu.transport import TRANSPORT_ALIASES

from agentgrid import gridfs
from agentgrid.queues import celery_queues
from agentgrid.supervisor import ROOT

PUBLISHERS, CONSUMERS, EACH = 3, 3, 120
PROGRAM = """
import json, sys, time
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from queue import Empty
from agentgrid.queues import celery_queues
TRANSPORT_ALIASES["gridfs"] = "agentgrid.gridfs:Transport"
role, number, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
queue = celery_queues()[0]
with Connection("gridfs://", transport_options=options) as connection:
    channel = connection.channel()
    if role == "publish":
        producer = connection.Producer(channel)
        for index in range(int(sys.argv[4])):
            producer.publish({"id": f"{number}-{index}"}, exchange=queue.exchange, routing_key=queue.name, declare=[queue])
    else:
        bound = queue(channel)
        bound.declare()
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 3:
            message = bound.get(no_ack=True)
            if message is None:
                time.sleep(0.005)
            else:
                idle_since = time.monotonic()
                print(message.payload["id"], flush=True)
"""


def options_in(folder: Path) -> dict[str, Any]:
    return {
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "processed_folder": str(folder / "processed"),
        "control_folder": str(folder / "control"),
        "store_processed": True,
    }


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return options_in(tmp_path)


@pytest.fixture
def channel(options: dict[str, Any]) -> Iterator[Any]:
    TRANSPORT_ALIASES["gridfs"] = "agentgrid.gridfs:Transport"
    with Connection("gridfs://", transport_options=options) as connection:
        yield connection.channel()


def test_three_publishers_and_three_consumers_lose_nothing_among_torn_files(options: dict[str, Any]) -> None:
    import json

    def start(role: str, number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, role, str(number), json.dumps(options), str(EACH)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    consumers = [start("consume", number) for number in range(CONSUMERS)]
    publishers = [start("publish", number) for number in range(PUBLISHERS)]
    queue = Path(options["data_folder_in"])
    torn = [b"", b"{", b'{"body": "half', b"\xff\xfe\x00", b"17", b"null", b"{}"]
    count = 0
    while any(publisher.poll() is None for publisher in publishers):
        if queue.is_dir():
            (queue / f"{int(time.monotonic() * 1000):015d}_torn{count}.control.msg").write_bytes(
                torn[count % len(torn)]
            )
            count += 1
        time.sleep(0.01)
    outputs = [consumer.communicate(timeout=60)[0].split() for consumer in consumers]
    for publisher in publishers:
        publisher.communicate()
    assert count > len(torn)
    assert [process.returncode for process in (*publishers, *consumers)] == [0] * (PUBLISHERS + CONSUMERS)
    received = sorted(name for output in outputs for name in output)
    assert received == sorted(f"{number}-{index}" for number in range(PUBLISHERS) for index in range(EACH))
    assert list(queue.iterdir()) == []


def test_a_message_is_never_seen_half_written(channel: Any, options: dict[str, Any]) -> None:
    folder = Path(options["data_folder_out"])
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for entry in list(folder.glob("*.msg")):
                try:
                    seen.append(entry.stat().st_size)
                    entry.unlink()
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):
            channel._put("control", {"properties": {}, "body": "x" * 100_000})
    finally:
        stop.set()
        watcher.join()
    assert seen
    assert min(seen) > 100_000


def test_racing_declarations_lose_no_binding(options: dict[str, Any]) -> None:
    barrier = threading.Barrier(8)

    def bind(number: int) -> None:
        with Connection("gridfs://", transport_options=options) as connection:
            channel: Any = connection.channel()
            barrier.wait()
            channel._queue_bind("shared", f"key{number}", "", f"queue{number}")

    threads = [threading.Thread(target=bind, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Connection("gridfs://", transport_options=options) as connection:
        channel: Any = connection.channel()
        assert {row.queue for row in channel.get_table("shared")} == {f"queue{number}" for number in range(8)}


def test_a_torn_exchange_file_heals(options: dict[str, Any]) -> None:
    for _ in range(2):
        with Connection("gridfs://", transport_options=options) as connection:
            channel: Any = connection.channel()
            celery_queues()[0](channel).declare()
            assert [row.queue for row in channel.get_table("control")] == ["control"]
        Path(options["control_folder"], "control.exchange").write_text("")


def test_a_publisher_whose_exchange_file_vanishes_still_reaches_the_queue(
    channel: Any, options: dict[str, Any]
) -> None:
    queue = celery_queues()[0](channel)
    queue.declare()
    Path(options["control_folder"], "control.exchange").unlink()
    Producer(channel).publish({"id": 1}, exchange="control", routing_key="control")
    message = queue.get(no_ack=True)
    assert message
    assert message.payload == {"id": 1}


def test_each_queue_has_an_exchange_of_its_own(channel: Any, options: dict[str, Any]) -> None:
    for queue in celery_queues():
        queue(channel).declare()
    assert sorted(file.name for file in Path(options["control_folder"]).glob("*.exchange")) == [
        "control.exchange",
        "executions.exchange",
    ]


def test_folders_that_vanish_under_a_consumer_come_back(channel: Any, options: dict[str, Any]) -> None:
    Path(options["data_folder_in"]).rmdir()
    with pytest.raises(Empty):
        channel._get("control")
    channel._put("control", {"properties": {}})
    assert channel._get("control") == {"properties": {}}


def test_a_full_disk_surfaces_as_an_error_publishers_know(options: dict[str, Any], channel: Any) -> None:
    Path(options["data_folder_out"]).rmdir()
    Path(options["data_folder_out"]).write_text("no folder")
    with pytest.raises(OSError, match="Not a directory"):
        channel._put("control", {"properties": {}})


def test_processed_messages_go_by_age(tmp_path: Path) -> None:
    now = time.time()
    for name, age in (("new", 10), ("old", 4000), ("older", 9000)):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (now - age, now - age))
    assert gridfs.prune(folder=tmp_path, older_than_seconds=3600, now=now, at_most=1) == 1
    assert gridfs.prune(folder=tmp_path, older_than_seconds=3600, now=now) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


def test_pruning_the_queue_spares_messages(tmp_path: Path) -> None:
    for name in (".unfinished", "1_a.control.msg"):
        (tmp_path / name).write_text("{}")
    assert gridfs.prune(folder=tmp_path, older_than_seconds=-1, now=time.time(), unfinished_only=True) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["1_a.control.msg"]


def test_the_settings_keep_queue_and_processed_files_on_one_file_system() -> None:
    folders = [Path(django_settings.BROKER_DIR, name) for name in ("queue", "processed", "control")]
    assert {folder.parent for folder in folders} == {django_settings.BROKER_DIR}
