"""The broker of the embedded default: kombu's file system transport with its races closed.

Stock kombu creates a message's file under its final name and then writes it, and writes its exchange tables in place.
A reader that comes in between loses the message and takes the worker down. Here every file appears by rename, whole
or not at all; a file that holds no JSON all the same is set aside. Messages of a worker that was killed are not
delivered again: rows are the truth and a sweep finds them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any, cast

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps, loads
from kombu.utils.scheduling import FairCycle

logger = logging.getLogger(__name__)

FOLDERS = ("data_folder_in", "data_folder_out", "processed_folder", "control_folder")
KEEP_PROCESSED_SECONDS = 24 * 3600
_LONGEST_WAIT_SECONDS = 0.2
_PRUNE_EVERY_SECONDS = 600
_CLOCK_TICK_NS = 50_000_000
"""More than the coarsest clock of a local file system ticks apart."""
_PRUNE_AT_MOST = 5000


def ensure_folders(options: dict[str, Any]) -> None:
    """Create the broker's folders, readable by us alone. Messages would be lost without the one for processed files."""
    for name in FOLDERS:
        Path(options[name]).mkdir(parents=True, exist_ok=True, mode=0o700)


def prune(
    *, folder: Path, older_than_seconds: float, now: float, unfinished_only: bool = False, at_most: int = _PRUNE_AT_MOST
) -> int:
    """Delete old files: processed messages, and what killed publishers left unfinished.

    Args:
        folder: `processed_folder`, or the queue's folder together with `unfinished_only`.
        older_than_seconds: By the file's time of modification.
        now: Seconds since the epoch.
        unfinished_only: Spare messages; delete only files that were never renamed to their final name.
        at_most: Upper bound of one pass, so that a consumer is not held up for long.

    Returns:
        How many files went.
    """
    gone = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if gone >= at_most:
                break
            if unfinished_only and not entry.name.startswith("."):
                continue
            try:
                if now - entry.stat(follow_symlinks=False).st_mtime > older_than_seconds:
                    Path(entry.path).unlink()
                    gone += 1
            except FileNotFoundError:
                continue
    return gone


class Channel(filesystem.Channel):
    """A channel whose messages and exchange tables appear atomically."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ensure_folders(self.transport_options)
        self._prune_at = time.monotonic() + _PRUNE_EVERY_SECONDS

    # The stubs of kombu's base class and of its file system channel disagree with each other.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{int(time.monotonic() * 1000):015d}_{uuid.uuid4()}.{queue}.msg"
        # A full disk surfaces as OSError, which publishers treat like a broker that is down.
        _write_whole(Path(self.data_folder_out), name, dumps(payload))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        incoming, processed = self.data_folder_in, self.processed_folder
        stamp = _stamp(Path(incoming))
        for name in self._waiting():
            if name.startswith(".") or name.partition(".")[2] != f"{queue}.msg":
                continue
            claimed = Path(processed, name)
            try:
                Path(incoming, name).rename(claimed)  # the claim: one rename wins
            except FileNotFoundError:
                continue  # another consumer was faster
            message = _read_message(claimed)
            if message is None:
                logger.warning("Set aside a torn message", extra={"action": "message_torn", "file": str(claimed)})
                continue
            if not self.store_processed:
                claimed.unlink(missing_ok=True)
            return message
        self._prune_now_and_then()
        cast(Transport, self.connection).empty_at = stamp
        raise Empty

    def _waiting(self) -> list[str]:
        try:
            return sorted(os.listdir(self.data_folder_in))  # noqa: PTH208 - ten thousand names: no Path for each
        except FileNotFoundError:
            ensure_folders(self.transport_options)  # somebody cleaned up under a running worker
            return []

    def get_table(self, exchange: str) -> list[Any]:
        """The exchange's bindings; an unreadable file counts as empty and is written anew by the next binding."""
        try:
            rows = loads(self._exchange_path(exchange).read_bytes())
            return [filesystem.exchange_queue_t(*row) for row in rows]
        except FileNotFoundError:
            # Somebody cleaned up: go on with what this process declared itself, else its messages would vanish.
            mine = [binding for binding in self.state.bindings or () if binding.exchange == exchange]
            return [filesystem.exchange_queue_t(binding.routing_key, "", binding.queue) for binding in mine]
        except (ValueError, TypeError):
            logger.warning("Exchange file is not JSON", extra={"action": "exchange_torn", "exchange": exchange})
            return []

    def _queue_bind(self, exchange: str, routing_key: str | None, pattern: str | None, queue: str) -> None:
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        if self._exchange_path(exchange).exists() and binding in self.get_table(exchange):
            return
        with self._exchange_lock():
            table = self.get_table(exchange)
            self._write_table(exchange, list(dict.fromkeys([binding, *table])))

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any) -> None:
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        self._purge(queue)
        with self._exchange_lock():
            table = self.get_table(exchange)
            if binding in table:
                self._write_table(exchange, [row for row in table if row != binding])

    def _exchange_path(self, exchange: str) -> Path:
        path: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]  # not in the stubs; refuses odd names
        return path

    def _write_table(self, exchange: str, table: list[Any]) -> None:
        file = self._exchange_path(exchange)
        _write_whole(file.parent, file.name, dumps(table))

    @contextmanager
    def _exchange_lock(self) -> Iterator[None]:
        with (self.control_folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file is closed, also by a crash
            yield

    def _prune_now_and_then(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_EVERY_SECONDS
        now = time.time()  # noqa: TID251 - compared with the file system's own clock
        prune(folder=Path(self.processed_folder), older_than_seconds=KEEP_PROCESSED_SECONDS, now=now)
        prune(
            folder=Path(self.data_folder_in), older_than_seconds=KEEP_PROCESSED_SECONDS, now=now, unfinished_only=True
        )


class Transport(filesystem.Transport):
    """`gridfs://`; the folders come from `broker_transport_options`."""

    Channel = Channel
    driver_type = "gridfs"
    driver_name = "gridfs"

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.state = virtual.BrokerState()  # not shared: another connection may use other folders
        self.empty_at: int | None = None
        """Stamp of the folder when nothing was in it for us; None when that cannot be told from a later change."""

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """None: there is no host to be missing (kombu warns of one at every start)."""
        return {}

    def _is_still_empty(self, folder: Path) -> bool:
        return self.empty_at is not None and self.empty_at == _stamp(folder)

    # The stubs of kombu's two base classes disagree with each other here, too.
    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        """Deliver one message or time out early: a worker looks for its stop signal between two calls only.

        As kombu's, but while the folder has not changed it is not read again: fifty times a second, that adds up.
        """
        patience = _LONGEST_WAIT_SECONDS if timeout is None else min(timeout, _LONGEST_WAIT_SECONDS)
        folder = Path(connection.client.transport_options["data_folder_in"])
        ends_at = time.monotonic() + patience
        self.empty_at = None
        while True:
            if not self._is_still_empty(folder):
                with suppress(Empty):
                    cast(FairCycle, self.cycle).get(self._deliver, timeout=patience)
                    return
            if time.monotonic() >= ends_at:
                raise TimeoutError
            time.sleep(min(self.polling_interval or patience, patience))


def _stamp(folder: Path) -> int | None:
    """When the folder last changed, None when that was just now: a change in the same tick of the clock looks the same."""
    try:
        changed = folder.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    return changed if time.time_ns() - changed > _CLOCK_TICK_NS else None


def _read_message(file: Path) -> dict[str, Any] | None:
    try:
        message = loads(file.read_bytes())
    except ValueError:
        return None
    return message if isinstance(message, dict) and "properties" in message else None


def _write_whole(folder: Path, name: str, text: str) -> None:
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.rename(folder / name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
