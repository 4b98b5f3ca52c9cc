"""The broker, prepared and examined: folders, queues, dead-letter queues, a ping.

Everything that differs between the kinds of broker is here. Slow to import: web, `up` and `prepare_broker` do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from kombu.utils.url import parse_url

from agentgrid import gridfs
from agentgrid.queues import QUEUES

DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600
_MISSING_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class BrokerError(Exception):
    """The broker refused to be prepared; the message says what to change."""


def ensure_queues() -> None:
    """Make the broker ready: folders, queues, dead-letter queues. Safe to repeat; repairs what differs.

    Raises:
        BrokerError: It cannot be reached or refuses.
    """
    kind = settings.BROKER_KIND
    if kind == "gridfs":
        try:
            gridfs.ensure_folders(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
        except OSError as error:
            raise BrokerError(f"Cannot create the broker's folders ({error}); set AGENTGRID_STATE_DIR") from error
    elif kind == "sqs":
        try:
            _ensure_sqs(_sqs_client())
        except (BotoCoreError, ClientError, ValueError) as error:
            raise BrokerError(
                f"Cannot prepare the SQS queues: {error}; check BROKER_URL, AWS_REGION and the policy"
            ) from error


def check_queues() -> list[str]:
    """What is wrong with the broker, one plain sentence each; empty when it is ready."""
    try:
        return list(_PROBLEMS.get(settings.BROKER_KIND, _unknown_kind)())
    except (BotoCoreError, ClientError, ValueError) as error:
        return [f"SQS does not answer as it should: {error}; check BROKER_URL, AWS_REGION and the credentials"]
    except redis.RedisError as error:
        return [f"Redis does not answer: {error}; check BROKER_URL"]


def sqs_queue_name(name: str) -> str:
    """The name at SQS of one of `QUEUES`."""
    return f"{settings.SQS_QUEUE_PREFIX}{name}"


def _gridfs_problems() -> Iterator[str]:
    for option in gridfs.FOLDERS:
        folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS[option])
        if not folder.is_dir():
            yield f"The broker's folder {folder} is missing: run `manage.py prepare_broker`"
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield f"The broker's folder {folder} is not writable by this user: chown it, or set AGENTGRID_STATE_DIR"


def _redis_problems() -> Iterator[str]:
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    client = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_connect_timeout=options["socket_connect_timeout"])
    try:
        client.ping()
    finally:
        client.close()
    yield from ()


def _sqs_problems() -> Iterator[str]:
    client = _sqs_client()
    for name in QUEUES:
        full_name = sqs_queue_name(name)
        url = _sqs_url(client, full_name)
        if url is None:
            yield f"SQS queue {full_name} does not exist: run `manage.py prepare_broker`"
            continue
        found = _sqs_attributes(client, url)
        dead_url = _sqs_url(client, f"{full_name}-dead")
        if dead_url is None:
            yield f"SQS queue {full_name}-dead (dead letters) does not exist: run `manage.py prepare_broker`"
            continue
        wanted = _wanted_attributes(_sqs_attributes(client, dead_url)["QueueArn"])
        for attribute, value in wanted.items():
            if not _same(found.get(attribute), value):
                yield f"SQS queue {full_name}: {attribute} is {found.get(attribute)}, not {value}: run `manage.py prepare_broker`"
        if waiting := int(_sqs_attributes(client, dead_url).get("ApproximateNumberOfMessages", 0)):
            yield f"SQS queue {full_name}-dead holds {waiting} messages that failed {settings.SQS_MAX_RECEIVE_COUNT} times"


def _unknown_kind() -> Iterator[str]:
    yield f"BROKER_URL has the unknown scheme {settings.BROKER_KIND!r}: use gridfs://, sqs:// or redis://"


_PROBLEMS = {
    "gridfs": _gridfs_problems,
    "sqs": _sqs_problems,
    "redis": _redis_problems,
    "rediss": _redis_problems,
}


def _ensure_sqs(client: Any) -> None:
    for name in QUEUES:
        dead = _ensure_sqs_queue(
            client, f"{sqs_queue_name(name)}-dead", {"MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_SECONDS)}
        )
        _ensure_sqs_queue(client, sqs_queue_name(name), _wanted_attributes(_sqs_attributes(client, dead)["QueueArn"]))


def _ensure_sqs_queue(client: Any, name: str, attributes: dict[str, str]) -> str:
    """Create the queue, or set its attributes: creating an existing queue with others is an error at SQS."""
    url = _sqs_url(client, name)
    if url is None:
        return str(client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
    found = _sqs_attributes(client, url)
    if any(not _same(found.get(key), value) for key, value in attributes.items()):
        client.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return url


def _wanted_attributes(dead_letter_arn: str) -> dict[str, str]:
    policy = {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": settings.SQS_MAX_RECEIVE_COUNT}
    return {
        "VisibilityTimeout": str(settings.SQS_VISIBILITY_TIMEOUT_SECONDS),
        "RedrivePolicy": json.dumps(policy),
    }


def _same(found: str | None, wanted: str) -> bool:
    """Whether two attribute values mean the same; policies are JSON whose numbers may come back as strings."""
    if found is None or found == wanted or not wanted.startswith("{"):
        return found == wanted
    return {k: str(v) for k, v in json.loads(found).items()} == {k: str(v) for k, v in json.loads(wanted).items()}


def _sqs_url(client: Any, name: str) -> str | None:
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING_QUEUE:
            return None
        raise


def _sqs_attributes(client: Any, url: str) -> dict[str, str]:
    return dict(client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])


def _sqs_client() -> Any:
    """A client for the account, region and (for emulators) endpoint that kombu will use."""
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    parts = parse_url(settings.CELERY_BROKER_URL)
    endpoint = None
    if parts["hostname"]:
        scheme = "https" if options["is_secure"] else "http"
        port = f":{parts['port']}" if parts["port"] else ""
        endpoint = f"{scheme}://{parts['hostname']}{port}"
    return boto3.client(
        "sqs",
        region_name=options["region"],
        endpoint_url=endpoint,
        aws_access_key_id=parts["userid"] or None,
        aws_secret_access_key=parts["password"] or None,
        config=Config(connect_timeout=3, read_timeout=10, retries={"max_attempts": 2}),
    )
