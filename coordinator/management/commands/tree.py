from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from coordinator import public_api
from coordinator.management import follow, money, render, words
from coordinator.management.base import OK, GridCommand, add_issue
from coordinator.management.follow import Seen
from coordinator.management.output import cell
from coordinator.public_types import AgentView
from grid import public_events as grid_events
from grid.public_types import EventView

_PAGE = 2_000
_MAX_EVENTS = 200_000


class Command(GridCommand):
    help = "An issue with everything below it: states, what each agent said, runs, branches."
    examples = """
    manage.py tree 12                    the tree of issue 12
    manage.py tree app#12 --timeline     and what happened when
    manage.py tree 12 --json | jq '.agents[] | {issue, state, branch}'
    """
    not_ok = "is not used"

    def arguments(self, parser: CommandParser) -> None:
        add_issue(parser)
        parser.add_argument("--timeline", action="store_true", help="also what happened, with seconds since the start")

    def answer(self, options: dict[str, Any]) -> int:
        agent = public_api.find_agent(options["issue"])
        agents = follow.subtree(agent.id)
        runs, costs = public_api.executions_by_agent(agents), public_api.costs(agents)
        seen = _timeline(agents) if options["timeline"] else []
        document: dict[str, Any] = {
            "root": agent.issue,
            "standing": follow.standing(agents) or "under way",
            "agents": agents,
            "costs": {str(agent_id): cost for agent_id, cost in costs.items()},
            "executions": [run for view in agents for run in runs.get(view.id, [])],
        }
        if options["timeline"]:
            document["timeline"] = [follow.record(item) for item in seen]
        self.out.document(document)
        drawn = render.tree(agents, runs, now=timezone.now(), ascii_only=not self.out.is_styled, costs=costs)
        self.out.lines(drawn)
        if len(costs) > 1:
            self.out.line(cell(f"all together {money.cost(public_api.total_cost(costs.values()))}", "dim"))
        if options["timeline"]:
            self.out.heading("Timeline")
            for item in seen:
                self.out.lines(follow.lines(item, with_issue=False, since=seen[0].event.at), indent=2)
        return OK


def _timeline(agents: list[AgentView]) -> list[Seen]:
    """The milestones of these agents, oldest first."""
    events: list[EventView] = []
    after = read = 0
    while read < _MAX_EVENTS:
        page = grid_events.read_root(follow.root_key(agents[0]), after_id=after, limit=_PAGE)
        events += [event for event in page if words.is_milestone(event)]
        read += len(page)
        if len(page) < _PAGE:
            break
        after = page[-1].id
    owners = public_api.agents_of_streams({event.stream for event in events})
    wanted = {agent.id for agent in agents}
    seen = [Seen(event=event, agent=owners.get(event.stream)) for event in events]
    return [item for item in seen if item.agent is not None and item.agent.id in wanted]
