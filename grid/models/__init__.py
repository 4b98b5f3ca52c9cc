"""The grid's tables. Only `grid.lifecycle` writes `Execution.state`."""

from grid.models.events import Event, EventCursor, EventStream
from grid.models.executions import Execution, stream_of
from grid.models.hosts import Host

__all__ = ["Event", "EventCursor", "EventStream", "Execution", "Host", "stream_of"]
