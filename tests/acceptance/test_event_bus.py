"""A whole grid with an event bus: what happened is in the queue, in order, by the workers' own doing."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from tests.factories import make_git_repository


@pytest.mark.timeout(170)
def test_everything_that_happened_arrives_in_order(new_stack, sqs_url: str, tmp_path: Path):
    name = "whole-grid.fifo"
    stack = new_stack(extra_env={"EVENT_BUS_URL": f"{sqs_url}/{name}", "SQS_IS_SECURE": "False"})
    assert stack.manage_json("bus", "prepare") == {"created": False}, "`prepare_broker` made it"
    stack.start()
    repository = make_git_repository(tmp_path / "app")
    for n in range(2):
        stack.manage(
            *("submit", "--repo", str(repository), "--title", f"Issue {n}", "--agent", "command"),
            *("--command", f"echo {n} > file{n}.txt"),
        )
    stack.wait_until(
        lambda: [stack.manage_json("tree", str(n))["agents"][0]["state"] for n in (1, 2)] == ["done", "done"],
        "both are done",
        timeout=90,
    )
    stack.wait_until(
        lambda: stack.manage_json("bus", check=False)["bus"]["events_behind"] == 0, "all is sent", timeout=60
    )
    events = stack.manage("events", "follow", "--from-start", "--no-wait", "--json").stdout.splitlines()
    written = [(one["stream"], one["seq"]) for one in map(json.loads, events)]
    got = received(sqs_url, name)
    by_stream, roots = defaultdict(list), defaultdict(list)
    for event in got:
        by_stream[event["subject"]].append(int(event["sequence"]))
        roots[event["partitionkey"]].append(event["id"])
    assert {stream: list(range(1, len(seqs) + 1)) for stream, seqs in by_stream.items()} == dict(by_stream)
    assert sum(event["type"] == "agentgrid.task.ended" for event in got) == 2
    order = {f"{stream}/{seq}": place for place, (stream, seq) in enumerate(written)}
    for ids in roots.values():
        assert ids == sorted(ids, key=order.__getitem__), "a tree's events come as the log has them"


def received(sqs_url: str, name: str) -> list[dict[str, Any]]:
    parts = urlsplit(sqs_url)
    client = boto3.client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=f"http://{parts.hostname}:{parts.port}",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    url, found = client.get_queue_url(QueueName=name)["QueueUrl"], []
    while batch := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in batch:
            found.append(json.loads(message["Body"]))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
