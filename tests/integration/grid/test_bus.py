"""The event bus on a real SQS server (moto): every event, in order, whatever fails in between."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import pytest
from botocore.stub import Stubber
from django.conf import settings as django_settings
from django.db import connection, connections, transaction

from grid import event_log, public_bus
from grid.bus import batches, lag, publisher
from grid.bus.batches import Entry
from grid.models import Event, EventCursor
from grid.public_errors import BusError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.made_up_events]
NAMES = ("a", "b", "c")


@pytest.fixture
def sqs(sqs_url: str) -> Any:
    parts = urlsplit(sqs_url)
    return boto3.client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=f"http://{parts.hostname}:{parts.port}",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture
def bus(sqs_url: str, settings: Any) -> Callable[[str], str]:
    """Configures a bus with a queue of its own, made anew; returns the queue's name."""
    settings.GRID_BUS_IS_SECURE = False
    publisher._pauses.went_well()

    def configure(suffix: str = ".fifo", *, is_made: bool = True) -> str:
        name = f"bus-{uuid4().hex[:8]}{suffix}"
        settings.GRID_BUS_URL = f"{sqs_url}/{name}"
        if is_made:
            assert public_bus.prepare() and not public_bus.prepare()
        return name

    return configure


def happen(count: int, *, names: Sequence[str] = NAMES, kind: str = "a") -> list[str]:
    """So many events on each stream, in turn, each stream in a tree of its own; returns their ids in order."""
    ids = []
    for _ in range(count):
        for name in names:
            seq = event_log.append(stream=f"agent:{name}", root=f"tree:{name}", events=[(kind, {"from": name})])
            ids.append(f"agent:{name}/{seq}")
    return ids


def fetched(sqs: Any, name: str) -> list[dict[str, Any]]:
    """Everything in a queue, as it is handed out; each message is deleted."""
    url, found = sqs.get_queue_url(QueueName=name)["QueueUrl"], []
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]).get(
        "Messages"
    ):
        for message in batch:
            found.append(json.loads(message["Body"]) | {"_": message["Attributes"]})
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def of_stream(ids: Sequence[str], name: str) -> list[str]:
    return [one for one in ids if one.startswith(f"agent:{name}/")]


def test_every_event_arrives_in_the_order_of_its_tree_and_only_once(sqs, bus):
    name = bus()
    ids = happen(15)
    assert public_bus.publish(seconds=60).sent == 45
    assert public_bus.publish(seconds=60).sent == 0, "the cursor is stored"
    got = fetched(sqs, name)
    assert sorted(one["id"] for one in got) == sorted(ids)
    for one in NAMES:
        assert [message["id"] for message in got if message["subject"] == f"agent:{one}"] == of_stream(ids, one)
    assert {(one["_"]["MessageGroupId"], one["_"]["MessageDeduplicationId"]) for one in got} == {
        (one["partitionkey"], one["id"]) for one in got
    }
    assert got[0]["specversion"] == "1.0" and got[0]["type"] == "agentgrid.a"
    later = happen(1, names=("a",))
    public_bus.publish(seconds=60)
    assert [one["id"] for one in fetched(sqs, name)] == later


def test_a_queue_without_order_gets_every_event_ten_at_a_time(sqs, bus):
    name = bus("")
    ids = happen(9)
    assert public_bus.publish(seconds=60).sent == 27
    assert sorted(one["id"] for one in fetched(sqs, name)) == sorted(ids)


def test_only_the_wanted_kinds_are_sent(sqs, bus, settings):
    name = bus("")
    settings.GRID_BUS_KINDS = ["lock.", "budget."]
    for kind in ("lock.taken", "locksmith", "budget.reserved", "agent.message"):
        happen(1, names=("a",), kind=kind)
    assert public_bus.publish(seconds=60).sent == 2
    assert {one["type"] for one in fetched(sqs, name)} == {"agentgrid.lock.taken", "agentgrid.budget.reserved"}
    assert public_bus.view().events_behind == 0, "the others are passed, too"


class Fussy:
    """A queue with moods: refuses some messages for a while, loses the connection after so many requests."""

    name = "fussy.fifo"

    max_bytes = 256 << 10
    takes_short = False

    def __init__(
        self,
        *,
        keeps_order: bool = True,
        refuses: Sequence[str] = (),
        dies_after: int = 10**9,
        reason: str = "InternalError",
    ) -> None:
        self.keeps_order, self.refuses, self.dies_after, self.reason = keeps_order, set(refuses), dies_after, reason
        self.taken: list[str] = []
        self.texts: list[str] = []
        self.requests = 0

    def send(self, batch: Sequence[Entry]) -> dict[str, str]:
        self.requests += 1
        if self.requests > self.dies_after:
            raise BusError("the line is dead")
        refused = [
            one.id for one in batch if one.id in self.refuses and not (self.takes_short and one.text == one.short)
        ]
        self.taken += [entry.id for entry in batch if entry.id not in refused]
        self.texts += [entry.text for entry in batch if entry.id not in refused]
        return dict.fromkeys(refused, self.reason)

    def problem(self) -> str:
        return ""

    def ensure(self) -> bool:
        return False


def test_what_follows_a_refused_message_in_its_tree_waits_for_it():
    ids = happen(5)
    queue = Fussy(refuses=["agent:b/2"])
    done = publisher.publish(queue, seconds=60)
    assert done.is_behind and "agent:b/2" in done.problem
    assert [of_stream(queue.taken, name) for name in NAMES] == [of_stream(ids, "a"), ["agent:b/1"], of_stream(ids, "c")]
    queue.refuses.clear()
    assert publisher.publish(queue, seconds=60).problem == ""
    assert set(queue.taken) == set(ids)
    assert of_stream(queue.taken, "b") == of_stream(ids, "b"), "in order, none twice"


def test_a_line_that_breaks_loses_nothing_and_keeps_the_order():
    ids = happen(10)
    queue = Fussy(dies_after=4)
    assert publisher.publish(queue, seconds=60).problem == "the line is dead"
    queue.dies_after = 10**9
    publisher.publish(queue, seconds=60)
    for name in NAMES:
        first_sent = list(dict.fromkeys(of_stream(queue.taken, name)))
        assert first_sent == of_stream(ids, name)


def test_events_that_were_sent_before_a_crash_are_sent_again(sqs, bus):
    class Crashing(Fussy):
        def send(self, batch: Sequence[Entry]) -> dict[str, str]:
            super().send(batch)
            raise KeyboardInterrupt  # as by a kill: the queue has them, the cursor does not know

    ids, crashed, healthy = happen(1), Crashing(), Fussy()
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(crashed, seconds=60)
    assert crashed.taken == ids
    publisher.publish(healthy, seconds=60)
    assert healthy.taken == ids


def test_two_publishers_at_once_leave_one_of_each_in_order(sqs, bus):
    name = bus()
    ids = happen(40)
    start, errors = threading.Barrier(3), list[Exception]()

    def run() -> None:
        try:
            start.wait()
            while public_bus.publish(seconds=60).is_behind or public_bus.view().events_behind:
                pass
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    got = [one["id"] for one in fetched(sqs, name)]
    for one in NAMES:
        assert of_stream(got, one) == of_stream(ids, one)


def test_a_missing_queue_is_named_with_its_remedy_and_costs_nothing(sqs, bus):
    name = bus(is_made=False)
    ids = happen(2)
    done = public_bus.work()
    assert done.sent == 0 and done.is_behind
    assert f"the queue {name} does not exist: run `manage.py bus prepare`" in done.problem
    assert public_bus.work() == publisher.Published(), "left alone for a moment"
    assert any("bus prepare" in problem for problem in public_bus.check())
    public_bus.prepare()
    publisher._pauses.went_well()
    assert public_bus.work().sent == len(ids) == len(fetched(sqs, name))


def test_a_queue_that_is_away_is_a_problem_and_no_error(bus, settings):
    settings.GRID_BUS_URL = "sqs://testing:testing@127.0.0.1:9/bus"
    happen(1)
    assert "check EVENT_BUS_URL" in public_bus.work().problem
    assert publisher._pauses.seconds == publisher.FIRST_PAUSE
    assert public_bus.view().events_behind == 3


@pytest.mark.parametrize("address", ["testing:testing@127.0.0.1:port", "testing:testing@[::1", "testing@127.0.0.1:9"])
def test_an_address_that_cannot_be_used_is_a_problem_and_no_error(bus, settings, address):
    settings.GRID_BUS_URL = f"sqs://{address}/bus"
    happen(1)
    assert "EVENT_BUS_URL" in public_bus.work().problem
    assert publisher._pauses.seconds == publisher.FIRST_PAUSE
    assert any("EVENT_BUS_URL" in problem for problem in public_bus.check())


def test_a_queue_of_small_messages_gets_those_that_fit_and_the_names_of_the_others(sqs, bus):
    name = bus()
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "1024"})
    event_log.append(stream="agent:a", root="tree:a", events=[("a", {"text": "x" * 2000}), ("a", {"text": "y"})])
    assert public_bus.publish(seconds=60).problem == ""
    got = fetched(sqs, name)
    assert [one.get("dataref") for one in got] == ["agent:a/1", None] and got[1]["data"] == {"text": "y"}


def test_a_message_that_is_refused_for_what_is_in_it_is_sent_by_name(sqs, bus):
    """Else it would stop its tree for ever, and with it everything behind the page in which it is."""
    ids = happen(3)
    queue = Fussy(refuses=["agent:b/2"], reason=f"{batches.UNFIT}: InvalidMessageContents")
    queue.takes_short = True
    assert publisher.publish(queue, seconds=60) == publisher.Published(sent=len(ids))
    assert of_stream(queue.taken, "b") == of_stream(ids, "b")
    assert [text for text in queue.texts if "left_out" in text and '"agent:b/2"' in text]


@pytest.mark.parametrize("prefix", ["", "AWS.SimpleQueueService."])
def test_a_refusal_means_the_same_however_a_queue_spells_it(bus, prefix):
    bus(is_made=False)
    queue: Any = publisher.queue()
    entry = Entry(place=0, id="agent:a/1", group="tree:a", text="{}")
    with Stubber(queue._client) as queues:
        queues.add_response("get_queue_url", {"QueueUrl": "http://127.0.0.1/q"})
        queues.add_client_error("send_message_batch", service_error_code=f"{prefix}BatchRequestTooLong")
        assert queue.send([entry])[entry.id].startswith(batches.UNFIT)


@pytest.mark.parametrize("page", [1, 200])
def test_a_transaction_that_began_early_and_wrote_late_does_not_turn_a_stream_round(monkeypatch, page):
    """On PostgreSQL the log is read in the order of transactions, and such a one comes before the event that it follows."""
    if connection.vendor != "postgresql":
        pytest.skip("writers of SQLite take turns")
    monkeypatch.setattr(publisher, "PAGE", page)
    other, slow = connections.create_connection("default"), connections.create_connection("default")

    def happen_elsewhere() -> None:
        for seq in (1, 2):
            insert = "INSERT INTO grid_event (stream, seq, root, kind, v, body) VALUES ('agent:a', %s, 'tree:a', 'a', 1, '{}')"
            with other.cursor() as db:
                db.execute(insert, [seq])

    try:
        with transaction.atomic():
            with connection.cursor() as db:
                db.execute("SELECT pg_current_xact_id()")
            slow.set_autocommit(False)
            with slow.cursor() as db:
                db.execute("SELECT pg_current_xact_id()")
            happen_elsewhere()
            event_log.insert([("agent:a", 3, "tree:a", "a", {})])
        queue = Fussy()
        publisher.publish(queue, seconds=60)
        slow.rollback()
        publisher.publish(queue, seconds=60)
        assert list(dict.fromkeys(queue.taken)) == ["agent:a/1", "agent:a/2", "agent:a/3"]
        assert public_bus.view() is None and event_log.read(after=event_log.cursor("bus")) == []
    finally:
        other.close()
        slow.close()


def test_how_far_it_is_behind_is_seen_and_can_be_left_behind(bus, settings):
    bus()
    assert public_bus.view().events_behind == 0 and public_bus.check() == []
    happen(2)
    found = public_bus.view()
    assert (found.events_behind, found.queue) == (6, settings.GRID_BUS_URL.rpartition("/")[2])
    assert public_bus.late() == []
    Event.objects.update(at="2026-01-01T00:00:00Z")
    assert "6 events wait" in public_bus.late()[0]
    assert lag.skip() == 6
    assert public_bus.view().events_behind == 0 and public_bus.publish(seconds=60).sent == 0


def test_without_a_bus_there_is_nothing_to_do():
    happen(1)
    assert public_bus.view() is None and public_bus.check() == [] and public_bus.work() == publisher.Published()
    assert public_bus.wake_when_behind() == 0
    with pytest.raises(BusError, match="set EVENT_BUS_URL"):
        public_bus.publish(seconds=1)


def test_the_subscriber_of_the_docs_sees_every_event_once(sqs, bus, tmp_path: Path):
    name = bus("")  # without order and without the queue's own help against duplicates
    ids = happen(4)
    public_bus.publish(seconds=60)
    EventCursor.objects.all().delete()
    assert public_bus.publish(seconds=60).sent == len(ids), "all of them for a second time"
    page = (django_settings.BASE_DIR / "docs" / "bus.md").read_text()
    script = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert len(script.splitlines()) <= 24
    subscriber = subprocess.Popen(
        [sys.executable, "-c", script, name],
        cwd=tmp_path,
        env={
            "PATH": os.defpath,
            "SQS_ENDPOINT": sqs.meta.endpoint_url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [subscriber.stdout.readline() for _ in ids]
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        waiting = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        while any(
            int(n) for n in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(waiting))["Attributes"].values()
        ):
            assert subscriber.poll() is None
    finally:
        subscriber.kill()
        rest = subscriber.stdout.read()  # what it printed beyond
        subscriber.wait()
        subscriber.stdout.close()
    assert sorted(line.split()[1] for line in lines) == sorted(one.split("/")[0] for one in ids)
    assert rest == "", "the second copies are known"
