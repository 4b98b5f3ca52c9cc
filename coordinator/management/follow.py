"""Follow what happens: events in order with the agent they belong to, and whether a tree still moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from rich.cells import cell_len
from rich.text import Text

from coordinator import public_api
from coordinator.management import words
from coordinator.management.output import cell, joined, row
from coordinator.public_types import ENDED, AgentState, AgentView, Answer
from coordinator.rules import answers
from grid import public_events as grid_events
from grid.public_events import Position
from grid.public_types import EventView

POLL_SECONDS = 0.3
BATCH = 500
WHO_WIDTH = 8
_SEARCHED = 5_000
"""How many of a tree's last events are looked through for those of one branch."""
NEEDS_A_PERSON = answers.NEEDS_A_PERSON | {"paused", "held", "off", "needs-approval", "blocked"}
"""Codes of deferred decisions that no waiting changes; a day's budget does change, it says until when."""
PASSING = frozenset(
    {"breaker", "capacity", "applying", "splitting", "back-off", "fetch", "running", "conflict", "footprint"}
)
"""Those that pass by themselves."""
FOR_OTHERS = frozenset({"children", "blockers"})
"""Those that end when others get on."""
DONE, ENDED_OTHERWISE, STUCK, MOVING = "done", "abandoned", "needs a person", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An event, and whose it is."""

    event: EventView
    agent: AgentView | None
    position: Position | None = None
    """Where a reader goes on behind it; None for one of the backlog."""


class Follower:
    """Reads events from now on, none twice, none left out.

    Args:
        root: Only this root tree's; empty for all.
        stream: Only this stream's.
        path: Only the agents at and below this place in the tree.
        backlog: How many of the last events `poll` gives first.
        after: Begin behind this place in the log instead of at its end; without a backlog, and not of one stream.
    """

    def __init__(
        self, *, root: str = "", stream: str = "", path: str = "", backlog: int = 0, after: Position | None = None
    ) -> None:
        self._root, self._stream, self._path = root, stream, path
        self._seq, self._known, self._backlog = 0, set[int](), list[Seen]()
        self._places: dict[int, Position] = {}
        if after is not None:
            self.position = after
            return
        self.position = grid_events.end_of_events()
        last = grid_events.latest_events(root=root, stream=stream, limit=_SEARCHED if path else max(1, backlog))
        self._seq = last[-1].seq if last else 0
        # What is committed between the two reads comes in both.
        self._known = {event.id for event in last}
        self._backlog = self._named(last)[-backlog:] if backlog else []

    def poll(self) -> list[Seen]:
        """What is new since the last call, oldest first; at most some hundred events."""
        seen, self._backlog = self._backlog, []
        return seen or self._named(self._read())

    def _read(self) -> list[EventView]:
        if self._stream:
            events = grid_events.read_stream(self._stream, after_seq=self._seq, limit=BATCH)
            self._seq = events[-1].seq if events else self._seq
            return events
        found = grid_events.read_events(after=self.position, root=self._root, limit=BATCH)
        if found:
            self.position = found[-1][0]
        self._places = {event.id: place for place, event in found}
        return [event for _, event in found if event.id not in self._known]

    def _named(self, events: Sequence[EventView]) -> list[Seen]:
        owners = public_api.agents_of_streams({event.stream for event in events}) if events else {}
        seen = [
            Seen(event=event, agent=owners.get(event.stream), position=self._places.get(event.id)) for event in events
        ]
        return [item for item in seen if self._is_wanted(item.agent)]

    def _is_wanted(self, agent: AgentView | None) -> bool:
        if not self._path:
            return True
        return agent is not None and (agent.path == self._path or agent.path.startswith(f"{self._path}."))


def lines(seen: Seen, *, with_issue: bool, since: Any = None) -> list[Text]:
    """An event for people: time (or seconds since), who, what."""
    event = seen.event
    at = f"{timezone.localtime(event.at):%H:%M:%S}" if since is None else f"{(event.at - since).total_seconds():8.1f}s"
    who = event.stream if seen.agent is None else seen.agent.issue if with_issue else seen.agent.path
    name = cell(who, "bold")
    name.pad_right(max(0, WHO_WIDTH - cell_len(name.plain)))
    front, style = joined(Text(at, style="dim"), "  ", name, "  "), words.style(event)
    return [joined(front, row(line, style)) for line in words.lines(event)]


def record(seen: Seen) -> dict[str, Any]:
    """An event for programs."""
    event, agent = seen.event, seen.agent
    return {
        "at": event.at,
        "stream": event.stream,
        "seq": event.seq,
        "root": event.root,
        "kind": event.kind,
        "path": agent.path if agent else "",
        "issue": agent.issue if agent else "",
        "body": event.body,
        "text": "\n".join(words.lines(event)),
    }


def standing(agents: Sequence[AgentView]) -> str:
    """Where a tree stands, its top agent first: DONE, ENDED_OTHERWISE, STUCK, or MOVING while something may still happen by itself."""
    top = agents[0]
    if top.state in ENDED:
        return DONE if top.state == AgentState.DONE else ENDED_OTHERWISE
    if top.state in (AgentState.BLOCKED, AgentState.FAILED, AgentState.REVIEW):
        return STUCK
    return MOVING if any(_moves(agent, agents) for agent in agents) else STUCK


def _moves(agent: AgentView, agents: Sequence[AgentView]) -> bool:
    """Whether this agent itself gets on without a person; one that waits for others leaves that to them."""
    if agent.state not in (AgentState.NEW, AgentState.QUEUED, AgentState.RUNNING, AgentState.WAITING):
        return False
    if agent.state == AgentState.RUNNING:
        return True
    said = agent.decision
    code = said.code if said is not None else ""
    refused = said is not None and said.answer == Answer.REFUSED
    ends_by_itself = code in PASSING or (code == "budget" and said is not None and said.until is not None)
    if agent.paused_by or agent.is_held or refused or (code in NEEDS_A_PERSON and not ends_by_itself):
        return False
    if agent.state == AgentState.WAITING:
        return ends_by_itself or not any(other.parent_id == agent.id for other in agents)
    return code not in FOR_OTHERS


class Settled:
    """Says how a tree ended, once it has stood so for a moment: ends are applied in several short steps."""

    def __init__(self, agent_id: int, *, patience: timedelta = timedelta(seconds=2)) -> None:
        self._agent_id, self._patience = agent_id, patience
        self._since: tuple[str, Any] = (MOVING, timezone.now())
        self.agents: list[AgentView] = []

    def look(self) -> str:
        """Where the tree stands, or MOVING while that is not sure."""
        self.agents = subtree(self._agent_id)
        now, found = timezone.now(), standing(self.agents)
        if found != self._since[0]:
            self._since = (found, now)
        if found in (DONE, ENDED_OTHERWISE):
            return found
        return found if now - self._since[1] >= self._patience else MOVING


def subtree(agent_id: int) -> list[AgentView]:
    """An agent and everything below it, itself first."""
    agent = public_api.get_agent(agent_id)
    below = f"{agent.path}."
    return [view for view in public_api.tree(agent.root_id) if view.id == agent.id or view.path.startswith(below)]


def root_key(agent: AgentView) -> str:
    """The key under which the events of an agent's tree are kept."""
    return f"tree:{agent.root_id}"


def stream_key(execution_id: UUID) -> str:
    """The stream of an execution's events."""
    return f"execution:{execution_id}"
