"""Preparing and examining the broker, against real servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from pytest_django import Settings

from agentgrid import brokers
from tests.services.servers import free_port


@pytest.fixture
def sqs(sqs_url: str, settings: Settings) -> Any:
    settings.BROKER_KIND, settings.CELERY_BROKER_URL = "sqs", sqs_url
    settings.SQS_QUEUE_PREFIX = f"t{uuid4().hex[:6]}-"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"region": "us-east-1", "is_secure": False}
    address = sqs_url.rpartition("@")[2]
    return boto3.client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=f"http://{address}",
        aws_access_key_id="x",
        aws_secret_access_key="y",
    )


def attributes(client: Any, name: str) -> dict[str, str]:
    url = client.get_queue_url(QueueName=brokers.sqs_queue_name(name))["QueueUrl"]
    return dict(client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])


def test_sqs_gets_queues_with_dead_letter_queues(sqs: Any) -> None:
    assert len(brokers.check_queues()) == 2
    brokers.ensure_queues()
    for name in ("control", "executions"):
        found, dead = attributes(sqs, name), attributes(sqs, f"{name}-dead")
        assert found["VisibilityTimeout"] == "120"
        policy = json.loads(found["RedrivePolicy"])
        assert policy["deadLetterTargetArn"] == dead["QueueArn"]
        assert int(policy["maxReceiveCount"]) == 5
        assert int(dead["MessageRetentionPeriod"]) == 14 * 24 * 3600
    assert brokers.check_queues() == []


def test_a_queue_that_exists_with_other_attributes_is_reported_and_repaired(sqs: Any) -> None:
    name = brokers.sqs_queue_name("control")
    sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})
    brokers.ensure_queues()
    assert attributes(sqs, "control")["VisibilityTimeout"] == "120"
    assert "RedrivePolicy" in attributes(sqs, "control")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "43"})
    assert brokers.check_queues() == [
        f"SQS queue {name}: VisibilityTimeout is 43, not 120: run `manage.py prepare_broker`"
    ]
    brokers.ensure_queues()
    assert brokers.check_queues() == []


def test_a_message_that_always_fails_ends_in_the_dead_letter_queue_and_is_reported(sqs: Any) -> None:
    brokers.ensure_queues()
    url = sqs.get_queue_url(QueueName=brokers.sqs_queue_name("control"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(6):
        sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
    assert attributes(sqs, "control-dead")["ApproximateNumberOfMessages"] == "1"
    assert brokers.check_queues() == [
        f"SQS queue {brokers.sqs_queue_name('control')}-dead holds 1 messages that failed 5 times"
    ]


def test_an_sqs_that_does_not_answer_is_one_plain_sentence(sqs: Any, settings: Settings) -> None:
    settings.CELERY_BROKER_URL = f"sqs://a:b@127.0.0.1:{free_port()}"
    with pytest.raises(brokers.BrokerError, match="check BROKER_URL"):
        brokers.ensure_queues()
    (problem,) = brokers.check_queues()
    assert "check BROKER_URL" in problem


def test_redis_is_pinged(redis_url: str, settings: Settings) -> None:
    settings.BROKER_KIND, settings.CELERY_BROKER_URL = "redis", redis_url
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1}
    assert brokers.check_queues() == []
    settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{free_port()}/0"
    (problem,) = brokers.check_queues()
    assert problem.startswith("Redis does not answer")


def test_an_unknown_broker_is_named(settings: Settings) -> None:
    settings.BROKER_KIND = "carrier-pigeon"
    (problem,) = brokers.check_queues()
    assert "carrier-pigeon" in problem


def test_gridfs_folders_are_created_for_us_alone(settings: Settings, tmp_path: Path) -> None:
    settings.BROKER_KIND = "gridfs"
    names = ("data_folder_in", "data_folder_out", "processed_folder", "control_folder")
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {name: str(tmp_path / "broker" / name) for name in names}
    assert len(brokers.check_queues()) == 4
    brokers.ensure_queues()
    brokers.ensure_queues()
    assert brokers.check_queues() == []
    assert (tmp_path / "broker" / "data_folder_in").stat().st_mode & 0o077 == 0
