from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import follow
from coordinator.management.base import OK, GridCommand, add_issue, whole
from coordinator.management.follow import Follower, Seen
from coordinator.management.output import cell
from coordinator.public_errors import AgentNotFoundError
from coordinator.public_types import ENDED
from grid import public_api as grid
from grid.public_types import ExecutionView

_SHORT_ID = 8


class Command(GridCommand):
    help = (
        "The last events in words, agents' output included; of an issue with all below it, of an execution, or of all."
    )
    examples = """
    manage.py tail                       the last 20 events of the whole grid
    manage.py tail 12 -f                 follow issue 12 and all below it until it has ended
    manage.py tail 3f2a91c0 -f -n 100    follow one execution
    manage.py tail -f --json             one JSON object per event
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser, optional=True, more="; left out: the whole grid")
        parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now")
        parser.add_argument("-n", type=whole(0, 10_000), default=20, dest="count", metavar="N", help="events (20)")

    def answer(self, options: dict[str, Any]) -> int:
        name, count = options["issue"], options["count"]
        if not name:
            self._show(Follower(backlog=count), goes_on=options["follow"], with_issue=True)
            return OK
        run = _execution(name)
        if run is not None:
            self._follow_execution(run, count=count, goes_on=options["follow"])
            return OK
        agent = public_api.find_agent(name)
        follower = Follower(root=follow.root_key(agent), path=agent.path if agent.parent_id else "", backlog=count)

        def has_ended() -> bool:
            return public_api.get_agent(agent.id).state in ENDED

        self._show(follower, goes_on=options["follow"], has_ended=has_ended)
        return OK

    def _follow_execution(self, run: ExecutionView, *, count: int, goes_on: bool) -> None:
        follower = Follower(stream=follow.stream_key(run.id), backlog=count)
        self._show(follower, goes_on=goes_on, has_ended=lambda: not grid.get_execution(run.id).is_live)

    def _show(self, follower: Follower, *, goes_on: bool, has_ended: Any = None, with_issue: bool = False) -> None:
        shown = 0
        while True:
            # Asked before reading: what was written up to the end is read after it.
            is_over = not goes_on or (has_ended is not None and has_ended())
            while seen := follower.poll():
                shown += self._print(seen, with_issue=with_issue)
                if not goes_on:
                    break
            if is_over:
                break
            time.sleep(follow.POLL_SECONDS)
        if not shown and not goes_on:
            self.out.line(cell("nothing has happened yet; `manage.py status` says what there is", "dim"))

    def _print(self, seen: list[Seen], *, with_issue: bool) -> int:
        for item in seen:
            self.out.record(follow.record(item))
            self.out.lines(follow.lines(item, with_issue=with_issue))
        return len(seen)


def _execution(name: str) -> ExecutionView | None:
    """The execution that a name of eight or more hex digits begins, unless it names an issue."""
    if len(name) < _SHORT_ID or set(name) - set("0123456789abcdef-"):
        return None
    try:
        public_api.find_agent(name)
    except AgentNotFoundError:
        return None
    return grid.find_by_prefix(name)
