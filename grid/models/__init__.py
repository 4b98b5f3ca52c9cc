"""The grid's tables. Only `grid.lifecycle` writes `Execution.state`."""

from grid.models.events import Event, EventCursor, EventStream
from grid.models.executions import Execution
from grid.models.hosts import Host
from grid.models.inbox import InboxItem
from grid.models.locks import FileLock, LockSpace

__all__ = ["Event", "EventCursor", "EventStream", "Execution", "FileLock", "Host", "InboxItem", "LockSpace"]
