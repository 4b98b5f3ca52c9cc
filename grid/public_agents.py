"""What the rest of agent-grid may ask of the grid about agents: which there are, whether they work here, and running ones. Thin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from grid import (
    bearers,
    cli_checks,
    cli_install,
    delivery,
    finding,
    wiring,
)
from grid import tool_calls as calls_of_tools
from grid.agents import base, bounds, outcome, registry
from grid.agents.pins import PINS
from grid.conf import conf
from grid.public_types import (
    AgentSpec,
    Caller,
    ChildProposal,
    CliCheck,
    OutcomeKind,
)


def agent_names() -> tuple[str, ...]:
    """Names of all adapters."""
    return registry.names()


def check_cli(name: str, *, dry_run: bool = True) -> CliCheck:
    """Whether this machine can run an agent; a dry run takes up to a minute. Raises GridError for an unknown name."""
    registry.get(name)
    return cli_checks.check(name, dry_run=dry_run)


def install_clis(names: Collection[str]) -> dict[str, Path]:
    """Install coding CLIs at their pinned versions. Returns each one's program. Raises GridError that names the fix."""
    return cli_install.install(names)


def installable_clis() -> tuple[str, ...]:
    """Names of the coding CLIs that `install_clis` knows."""
    return tuple(PINS)


def check_agent(spec: AgentSpec, *, profile: Mapping[str, Any] | None = None) -> None:
    """Raise a GridError that names the fix when this agent cannot be run as asked under a frozen profile."""
    adapter, settings = registry.get(spec.adapter), conf()
    # Only the processes that start agents need to know the address; here any will do.
    offers = wiring.wiring_for(profile or {}, replace(settings, agent_url=settings.agent_url or "http://127.0.0.1"))
    adapter.validate(wiring.wire(adapter, spec.options, offers).options)


def why_missing(spec: AgentSpec, *, profile: Mapping[str, Any] | None = None) -> str:
    """Why this machine cannot start an agent: its program is not there. Empty when it is, or where an image holds it.

    Other machines may differ, and the worker of the queue `executions` has the last word.

    Raises:
        GridError: The agent cannot be run as asked; `check_agent` says so as well.
    """
    adapter, settings = registry.get(spec.adapter), conf()
    offers = wiring.wiring_for(profile or {}, replace(settings, agent_url=settings.agent_url or "http://127.0.0.1"))
    if settings.sandbox == "docker":
        return ""
    place = Path(settings.state_dir)
    files = base.RunFiles(workspace=place, home=place, python=settings.python, path=settings.agent_path)
    launch = adapter.launch(options=wiring.wire(adapter, spec.options, offers).options, files=files, prompt="")
    return finding.why_missing(launch.argv[0], path=launch.env.get("PATH", ""))


def deliver(execution_id: UUID, *, key: str, sender: str, text: str) -> bool:
    """Have a message written to a running agent; False when it does not run, or its program takes nothing while it works.

    Events tell how far it came: `message.taken`, `message.refused`, `agent.inbox`, each with the key as `id`.
    """
    return delivery.deliver(execution_id, key=key, sender=sender, text=text)


def caller_of(bearer: str) -> Caller | None:
    """Whose bearer token it is; None for a wrong, an old or an ended one."""
    return bearers.caller(bearer)


def record_call(execution_id: UUID, *, fence: int, events: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Add events, kind and body each, to a running execution's stream; False when the claim is over.

    Bodies are cut down to what an event may hold.
    """
    cut = [(kind, _bounded(body)) for kind, body in events]
    return bearers.record(execution_id, fence=fence, events=cut)


def _bounded(body: dict[str, Any]) -> dict[str, Any]:
    """Rows are whole, or they are no rows."""
    rows = body.get("rows")
    if rows is None:
        return bounds.bounded(body)
    return {**bounds.bounded({name: value for name, value in body.items() if name != "rows"}), "rows": rows}


def tool_calls(execution_id: UUID) -> int:
    """How many tools a run has called so far, its own and the grid's, each call once."""
    return calls_of_tools.used(execution_id)


def tool_calls_allowed(execution_id: UUID) -> int | None:
    """How many tools a run may call; None: any number."""
    return calls_of_tools.allowed(execution_id)


def is_over_tool_calls(execution_id: UUID) -> bool:
    """Whether a run has called more tools than it may; it is asked to stop then, and its work is kept."""
    return calls_of_tools.is_over(execution_id)


def note_connection(execution_id: UUID, *, fence: int) -> None:
    """Remember that the agent reached our tools."""
    bearers.note_connection(execution_id, fence=fence)


def report_outcome(execution_id: UUID, *, fence: int, report: dict[str, Any]) -> bool:
    """Store what the agent reported by the tool `finish`; False when the claim is over.

    Args:
        report: In the shape of `.agentgrid/outcome.json`.

    Raises:
        GridError: The report breaks a rule; the message names the place, so that the agent can correct itself.
    """
    checked = outcome.report_of(outcome.parse_outcome(outcome.encode_outcome(report)))
    return bearers.report(execution_id, fence=fence, outcome=checked)


def read_children(children: Sequence[Mapping[str, Any]]) -> tuple[ChildProposal, ...]:
    """Sub-issues that an agent asks for, in the shape of a report's `children`, checked.

    Raises:
        GridError: One of them breaks a rule; the message names the place, so that the agent can correct itself.
    """
    report = {"outcome": OutcomeKind.SPLIT, "children": [dict(child) for child in children]}
    return outcome.parse_outcome(outcome.encode_outcome(report)).children
