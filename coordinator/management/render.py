"""Views as lines for people. Pure: `now` is passed in; foreign text goes through `cell`, which makes it harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.text import Text

from coordinator.management import money
from coordinator.management.output import Cell, cell, joined, table
from coordinator.public_types import AgentState, AgentView, Answer, Cost, Decision, EnvelopeView, ScopeKind
from coordinator.reading.overview import SILENT_SECONDS, Running
from grid.public_bus import BusView
from grid.public_types import ON_HOST, TERMINAL, ExecutionView, HostView

STATE_STYLES: Mapping[str, str] = {
    AgentState.NEW: "cyan",
    AgentState.QUEUED: "cyan",
    AgentState.RUNNING: "blue",
    AgentState.WAITING: "yellow",
    AgentState.REVIEW: "magenta",
    AgentState.BLOCKED: "red",
    AgentState.FAILED: "red",
    AgentState.DONE: "green",
    AgentState.ABANDONED: "dim",
}
_QUEUED = frozenset({"admitted", "running"})
ASCII_GUIDES = ("|-- ", "`-- ", "|   ", "    ")
LINE_GUIDES = ("├── ", "└── ", "│   ", "    ")


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 04s`, `2h 05m`, `3d 04h`."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600:02}h"


def counted(number: int, noun: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def state(agent: AgentView) -> Text:
    """The state with what keeps it from moving."""
    marks = "".join([" (held)" if agent.is_held else "", f" ({agent.paused_by} paused)" if agent.paused_by else ""])
    return Text(f"{agent.state}{marks}", style=STATE_STYLES.get(agent.state, ""))


def why(agent: AgentView, *, now: datetime) -> str:
    """What an agent that does not run waits for, in one sentence."""
    if agent.paused_by:
        return f"the {agent.paused_by} is paused"
    if agent.is_held:
        return "a person holds the issue"
    if agent.state in (AgentState.BLOCKED, AgentState.FAILED, AgentState.ABANDONED):
        return agent.blocked_reason
    if agent.state in (AgentState.QUEUED, AgentState.RUNNING) and not agent.is_applied and agent.run_state in TERMINAL:
        return f"its run has ended ({agent.run_state.replace('_', ' ')}) and waits for `control` to take that up"
    if agent.state in (AgentState.RUNNING, AgentState.DONE):
        return agent.summary
    if agent.state == AgentState.QUEUED and agent.run_state in ON_HOST:
        return f"its run is {agent.run_state}, and `control` has not taken that up yet"
    if agent.state == AgentState.QUEUED and agent.decision is not None and agent.decision.code in _QUEUED:
        return "waits for a free slot of a host"
    if agent.decision is not None and agent.decision.answer in (Answer.DEFERRED, Answer.REFUSED):
        return sentence(agent.decision, now=now)
    if agent.state == AgentState.WAITING:
        return "waits for its sub-issues"
    return agent.summary


def sentence(decision: Decision, *, now: datetime) -> str:
    """`deferred: the fleet is paused, looked at again in 12s`."""
    when = ""
    if decision.answer == Answer.DEFERRED and decision.until is not None:
        when = f"; looked at again in {duration((decision.until - now).total_seconds())}"
    mode = f" ({decision.mode})" if decision.mode else ""
    return f"{decision.answer}{mode}: {decision.reason}{when}"


def running(rows: Sequence[Running], *, now: datetime) -> list[Text]:
    """What runs, a line each."""
    headers = ("path", "issue", "title", "state", "execution", "age", "attempts", "cost", "last line")
    return table(
        [
            (
                row.agent.path,
                row.agent.issue,
                cell(row.agent.title, limit=50),
                state(row.agent),
                " ".join(filter(None, [str(row.execution.id)[:8], row.execution.state, row.execution.phase])),
                duration((now - (row.execution.claimed_at or row.execution.created_at)).total_seconds()),
                str(row.execution.attempt),
                money.cost(row.cost) if row.cost is not None else "",
                cell(row.reported or row.last_line, "dim"),
            )
            for row in rows
        ],
        headers=headers,
    )


def waiting(agents: Sequence[AgentView], *, now: datetime) -> list[Text]:
    """What waits or has ended, a line each."""
    return table(
        [
            (
                agent.path,
                agent.issue,
                cell(agent.title, limit=50),
                state(agent),
                duration((now - (agent.ended_at or agent.updated_at)).total_seconds()),
                cell(why(agent, now=now), "dim"),
            )
            for agent in agents
        ],
        headers=("path", "issue", "title", "state", "since", "why"),
    )


def hosts(views: Sequence[HostView]) -> list[Text]:
    """Machines, a line each."""
    return table(
        [
            (
                host.name,
                f"{host.running} of {host.slots} slots",
                _pulse(host),
                cell(host.note, "dim"),
            )
            for host in views
        ],
        headers=("host", "busy", "heartbeat", "note"),
    )


def _pulse(host: HostView) -> Text:
    age = f"{duration(host.heartbeat_age_seconds)} ago"
    if host.heartbeat_age_seconds > SILENT_SECONDS:
        return Text(f"silent, {age}", style="red")
    return Text(f"{age}, stopping" if host.is_draining else age)


def envelopes(
    views: Sequence[EnvelopeView], *, names: Mapping[str, str], origin: Mapping[str, str] | None = None
) -> list[Text]:
    """Scopes with what they hold, a line each; `origin` says where a level's limits come from."""
    headers = [
        *("scope", "live", "executions", "wall time", "models", "tokens", "tool calls", "children", ""),
        *(["limits from"] if origin else []),
    ]
    rows: list[list[Cell]] = []
    for view in views:
        row: list[Cell] = [
            names.get(view.key, view.key),
            f"{view.live}{_of(view.max_live)}",
            _used(view.executions_spent, view.executions_reserved, view.executions_limit),
            _used(view.wall_spent_seconds, view.wall_reserved_seconds, view.wall_limit_seconds, unit="s"),
            money.spent(view),
            money.tokens_spent(view),
            _used(view.tool_calls_spent, view.tool_calls_reserved, view.tool_calls_limit),
            f"{view.children_spent:,}{_of(view.children_limit)}",
            _condition(view),
        ]
        rows.append([*row, cell(origin.get(view.kind, ""), "dim")] if origin else row)
    return table(rows, headers=headers)


def _condition(view: EnvelopeView) -> Text:
    if view.paused_at:
        return Text("paused", style="yellow")
    if view.breaker_opened_at:
        return Text("no progress", style="red")
    return Text("nearly spent", style="yellow") if view.warned_at else Text()


def warnings(views: Sequence[EnvelopeView], *, names: Mapping[str, str]) -> list[Text]:
    """What scopes are warned of or stopped for, a line each."""
    lines = [
        cell(f"{names.get(view.key, view.key)}: nearly spent, {view.warning}", "yellow")
        for view in views
        if view.warned_at
    ]
    return lines + [
        cell(
            f"{names.get(view.key, view.key)}: {money.dollars(view.since_progress_micros)} spent since work was accepted last; "
            "nothing starts until somebody nudges it or raises a limit",
            "red",
        )
        for view in views
        if view.breaker_opened_at
    ]


def origins(limits: Mapping[str, int], origin: Mapping[str, str], path: Sequence[EnvelopeView]) -> dict[str, str]:
    """For each level of an envelope path, where its limits come from."""
    tree = next((view for view in path if view.kind == ScopeKind.TREE), None)
    raised = tree is not None and (
        (tree.executions_limit or 0) > limits.get("tree_executions", 0)
        or (tree.wall_limit_seconds or 0) > limits.get("tree_wall_seconds", 0)
    )
    levels = {
        ScopeKind.FLEET: "AGENTGRID_MAX_LIVE",
        ScopeKind.REPOSITORY: f"concurrency: {origin.get('concurrency', '')}",
        ScopeKind.TREE: ", ".join(
            f"{name.removeprefix('tree_')}: {origin.get(name, '')}"
            for name in ("tree_concurrency", "tree_executions", "tree_wall_seconds")
        )
        + (", raised by hand" if raised else ""),
        ScopeKind.AGENT: "its profile and its share",
        ScopeKind.DAY: "AGENTGRID_DAY_*, AGENTGRID_REPOSITORY_DAY_*, day_*",
    }
    return {str(kind): text for kind, text in levels.items()}


def _of(limit: int | None) -> str:
    return "" if limit is None else f" of {limit}"


def _used(spent: int, reserved: int, limit: int | None, *, unit: str = "") -> str:
    reserved_words = f" + {reserved:,}{unit} reserved" if reserved else ""
    limit_words = "" if limit is None else f" of {limit:,}{unit}"
    return f"{spent:,}{unit}{reserved_words}{limit_words}"


def tree(
    agents: Sequence[AgentView],
    runs: Mapping[int, Sequence[ExecutionView]],
    *,
    now: datetime,
    ascii_only: bool,
    costs: Mapping[int, Cost] | None = None,
) -> list[Text]:
    """A tree in depth-first order, two or three lines for each agent, with guides."""
    tee, last, bar, gap = ASCII_GUIDES if ascii_only else LINE_GUIDES
    below: dict[int | None, list[int]] = {}
    for agent in agents:
        below.setdefault(agent.parent_id, []).append(agent.id)
    fronts: dict[int, str] = {}
    lines = []
    for agent in agents:
        siblings = below[agent.parent_id]
        is_last, is_top = siblings[-1] == agent.id, agent.parent_id not in fronts
        above = "" if is_top else fronts[agent.parent_id or 0]
        fronts[agent.id] = above if is_top else above + (gap if is_last else bar)
        head = above if is_top else above + (last if is_last else tee)
        rest = fronts[agent.id] + (bar if below.get(agent.id) else gap)
        own = _agent(agent, runs.get(agent.id, ()), now=now, cost=(costs or {}).get(agent.id))
        lines.append(joined(Text(head, style="dim"), own[0]))
        lines += [joined(Text(rest, style="dim"), line) for line in own[1:]]
    return lines


def _agent(agent: AgentView, runs: Sequence[ExecutionView], *, now: datetime, cost: Cost | None) -> list[Text]:
    seconds = sum(run.wall_seconds for run in runs)
    facts = [counted(agent.executions, "run"), duration(seconds)]
    if cost is not None:
        facts.append(money.cost(cost))
    if agent.attempts:
        facts.append(counted(agent.attempts, "failed attempt"))
    head = joined(
        Text(agent.path, style="bold"), "  ", cell(agent.issue, "dim"), "  ", cell(agent.title, limit=80), "  "
    )
    head.append_text(state(agent))
    where = f"branch {agent.branch}" + (f" at {agent.head[:10]}" if agent.head else ", nothing on it yet")
    lines = [head, joined(cell(", ".join(facts), "dim"), cell(f"; {where}", "dim"))]
    words = why(agent, now=now)
    return [*lines, cell(words, "italic")] if words else lines


def bus(found: BusView) -> Text:
    """Where the bus stands, in one line."""
    if not found.events_behind:
        return cell(f"{found.queue} has every event", "green")
    behind = f"{found.queue} is {found.events_behind} events behind, the oldest is {found.seconds_behind:.0f} s old"
    return cell(behind, "yellow")
