"""Wait for a tree with its progress in sight: drawn on a terminal, milestones line by line elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from django.utils import timezone
from rich.text import Text

from coordinator import public_api
from coordinator.management import follow, render, words
from coordinator.management.base import NOT_OK, OK
from coordinator.management.follow import Follower, Seen, Settled
from coordinator.management.output import Output, cell, stacked
from coordinator.public_types import AgentView

_RECENT_LINES = 8
_BACKLOG = 200
_LOOK_SECONDS = 0.9
"""How often the tree is read; events are read more often."""
TIME_IS_UP = "time is up"
_ADVICE = {
    follow.STUCK: "it needs a person: `manage.py explain {0}` says why, then `manage.py retry {0}` or `cancel {0}`",
    follow.ENDED_OTHERWISE: "it was given up; `manage.py retry {0}` takes it up again",
    TIME_IS_UP: "not done yet, and it goes on: `manage.py tail -f {0}` follows it",
}


def wait(out: Output, agent: AgentView, *, seconds: float | None = None) -> int:
    """Follow an agent and all below it until it has ended or needs a person.

    Args:
        seconds: Give up after so long; the work goes on.

    Returns:
        The exit code: 0 only when it is done.
    """
    out.line(cell("waiting; Ctrl-C stops the waiting, not the work", "dim"))
    with _progress(out) as show:
        standing, agents = _follow(agent, seconds=seconds, show=show)
    out.record({"standing": standing, "agents": agents})
    out.line()
    runs = public_api.executions_by_agent(agents)
    out.lines(render.tree(agents, runs, now=timezone.now(), ascii_only=not out.is_styled))
    out.line()
    if standing == follow.DONE:
        top = agents[0]
        where = f"the work is on branch {top.branch}" if top.head else "there was nothing to change"
        out.line(cell(f"done: {where}", "green"))
        return OK
    out.line(cell(_ADVICE[standing].format(agent.issue), "yellow"))
    return NOT_OK


def _follow(
    agent: AgentView, *, seconds: float | None, show: Callable[[list[Seen], Sequence[AgentView]], None]
) -> tuple[str, list[AgentView]]:
    follower = Follower(
        root=follow.root_key(agent), path=agent.path if agent.parent_id is not None else "", backlog=_BACKLOG
    )
    settled, started, next_look = Settled(agent.id), time.monotonic(), 0.0
    standing = follow.MOVING
    while True:
        now = time.monotonic()
        if now >= next_look:
            standing, next_look = settled.look(), now + _LOOK_SECONDS
        show(follower.poll(), settled.agents)
        if standing:
            while seen := follower.poll():  # what was written up to the end
                show(seen, settled.agents)
            return standing, settled.agents
        if seconds is not None and now - started >= seconds:
            return TIME_IS_UP, settled.agents
        time.sleep(follow.POLL_SECONDS)


@contextlib.contextmanager
def _progress(out: Output) -> Iterator[Callable[[list[Seen], Sequence[AgentView]], None]]:
    """A function that shows what is new."""
    if not out.is_animated:

        def print_lines(seen: list[Seen], agents: Sequence[AgentView]) -> None:
            for item in seen:
                out.record(follow.record(item))
                if words.is_milestone(item.event):
                    out.lines(follow.lines(item, with_issue=False))

        yield print_lines
        return
    recent: deque[Text] = deque(maxlen=_RECENT_LINES)
    with out.live() as live:

        def draw(seen: list[Seen], agents: Sequence[AgentView]) -> None:
            for item in seen:
                recent.extend(follow.lines(item, with_issue=False))
            runs = public_api.executions_by_agent(agents) if agents else {}
            tree = render.tree(agents, runs, now=timezone.now(), ascii_only=False)
            live.update(stacked([*tree, Text(), *(line.copy() for line in recent)]), refresh=True)

        yield draw
