"""A queue that speaks Amazon's SQS. Imported only where a bus is configured: boto3 takes 25 MB and half a second."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from grid.bus.batches import UNFIT, Entry
from grid.bus.envelopes import MAX_BYTES
from grid.conf import GridConf
from grid.public_errors import BusError

FIFO = ".fifo"
RETENTION_SECONDS = 14 * 24 * 3600
"""The longest there is: a subscriber may be away for so long."""
_UNFIT = ("InvalidMessageContents", "InvalidParameterValue", "BatchRequestTooLong")
"""What a queue says of a message that it will never take as it is."""
_MISSING = ("NonExistentQueue", "QueueDoesNotExist")


class SqsQueue:
    """The queue of EVENT_BUS_URL: `sqs://[key:secret@][host[:port]]/name`; a name in `.fifo` is one that keeps order."""

    def __init__(self, settings: GridConf) -> None:
        try:
            self._connect(settings)
        except (BotoCoreError, ValueError) as error:
            raise BusError(f"EVENT_BUS_URL cannot be used: {error}"[:300]) from error

    def _connect(self, settings: GridConf) -> None:
        parts = urlsplit(settings.bus_url)
        self.name = unquote(parts.path.strip("/"))
        self.keeps_order = self.name.endswith(FIFO)
        scheme = "https" if settings.bus_is_secure else "http"
        port = f":{parts.port}" if parts.port else ""
        self._client: Any = boto3.client(
            "sqs",
            region_name=settings.bus_region,
            endpoint_url=f"{scheme}://{parts.hostname}{port}" if parts.hostname else None,
            aws_access_key_id=unquote(parts.username or "") or None,
            aws_secret_access_key=unquote(parts.password or "") or None,
            # A queue that is away must not hold a worker: the next sweep tries again.
            config=Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 1}),
        )
        self._url, self._most = "", 0

    @property
    def max_bytes(self) -> int:
        """As the queue is set; our own limit where we may not ask. Raises BusError."""
        if not self._most:
            try:
                asked = self._client.get_queue_attributes(
                    QueueUrl=self._address(), AttributeNames=["MaximumMessageSize"]
                )
            except ClientError as error:
                if _is_one_of(error, _MISSING):
                    raise BusError(self._in_words(error)) from error
                asked = {}
            except (BotoCoreError, ValueError) as error:
                raise BusError(self._in_words(error)) from error
            self._most = int(asked.get("Attributes", {}).get("MaximumMessageSize", MAX_BYTES))
        return self._most

    def send(self, batch: Sequence[Entry]) -> dict[str, str]:
        """Send some messages in one request.

        Returns:
            Those that the queue refused: id and why. The others are stored.

        Raises:
            BusError: It cannot be reached or refused all; some of them may be stored nevertheless.
        """
        entries = [self._message(number, entry) for number, entry in enumerate(batch)]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._address(), Entries=entries)
        except ClientError as error:
            if not _is_one_of(error, _UNFIT):
                raise BusError(self._in_words(error)) from error
            if len(batch) > 1:  # one of them spoils the request for all
                return {name: why for entry in batch for name, why in self.send([entry]).items()}
            return {batch[0].id: f"{UNFIT}: {error}"[:200]}
        except (BotoCoreError, ValueError) as error:
            raise BusError(self._in_words(error)) from error
        sent = {str(item.get("Id")) for item in answer.get("Successful", ())}
        why = {str(item.get("Id")): _reason(item) for item in answer.get("Failed", ())}
        return {
            entry.id: why.get(str(number), "no answer") for number, entry in enumerate(batch) if str(number) not in sent
        }

    def problem(self) -> str:
        """Why it cannot be used, with the fix; empty when it answers."""
        try:
            self._client.get_queue_url(QueueName=self.name)
        except (BotoCoreError, ClientError, ValueError) as error:
            return self._in_words(error)
        return ""

    def ensure(self) -> bool:
        """Create it unless it exists, and say whether that was needed; an existing one keeps its settings.

        Raises:
            BusError: It cannot be reached or refuses.
        """
        try:
            try:
                self._client.get_queue_url(QueueName=self.name)
            except ClientError as error:
                if not _is_one_of(error, _MISSING):
                    raise
                attributes = {"MessageRetentionPeriod": str(RETENTION_SECONDS)}
                if self.keeps_order:
                    attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "false"}
                self._client.create_queue(QueueName=self.name, Attributes=attributes)
                return True
        except (BotoCoreError, ClientError, ValueError) as error:
            raise BusError(self._in_words(error)) from error
        return False

    def _address(self) -> str:
        self._url = self._url or str(self._client.get_queue_url(QueueName=self.name)["QueueUrl"])
        return self._url

    def _message(self, number: int, entry: Entry) -> dict[str, str]:
        message = {"Id": str(number), "MessageBody": entry.text}
        if self.keeps_order:
            message |= {"MessageGroupId": entry.group, "MessageDeduplicationId": entry.id}
        return message

    def _in_words(self, error: Exception) -> str:
        if _is_one_of(error, _MISSING):
            self._url = ""
            return f"the queue {self.name} does not exist: run `manage.py bus prepare`"
        return f"the queue {self.name}: {error}"[:500] + "; check EVENT_BUS_URL, AWS_REGION and the policy"


def _reason(failed: Mapping[str, Any]) -> str:
    code = str(failed.get("Code"))[:100]
    return f"{UNFIT}: {code}" if _plain(code) in _UNFIT else code


def _is_one_of(error: Exception, codes: Collection[str]) -> bool:
    return isinstance(error, ClientError) and _plain(str(error.response.get("Error", {}).get("Code"))) in codes


def _plain(code: str) -> str:
    """Amazon writes `AWS.SimpleQueueService.BatchRequestTooLong`, others the last word alone."""
    return code.rpartition(".")[2]
