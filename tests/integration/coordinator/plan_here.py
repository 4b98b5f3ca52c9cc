"""Trees and documents for tests of plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from coordinator import invariants
from coordinator.documents import plan_text
from coordinator.documents.plan_nodes import Node
from coordinator.models import Agent
from coordinator.operating import plans
from coordinator.trees import plan_tree
from tests.factories import make_agent, make_git_repository
from tracker.models import Operation, Repository

CLI = "cli:test"


@pytest.fixture
def still(settings: Any) -> None:
    """Nothing is started."""
    settings.COORDINATOR_WORKING = False


@pytest.fixture
def top(tmp_path: Path, still: None) -> Agent:
    return make_agent(make_git_repository(tmp_path / "app"), title="Top")


def node_of(agent_id: int) -> Node:
    return plan_tree.read(agent_id).root


def text_of(root: Node, *, agent: Agent) -> str:
    """A document that asks for a tree, made from the agent's present one."""
    now = plan_tree.read(agent.pk)
    plan = replace(plan_text.exported(now.root, base=now.base), root=root)
    return plan_text.dump(plan, name="x", issue="1")


def apply(agent: Agent, root: Node, *, actor: str = CLI) -> plans.Preview:
    return plans.apply(agent.pk, text_of(root, agent=agent), actor=actor)


def new(name: str, *children: Node, **more: Any) -> Node:
    return Node(**{"id": name, "is_new": True, "goal": f"Do {name}", "children": children, **more})


def with_children(root: Node, *children: Node) -> Node:
    return replace(root, children=children)


def hold_outbox(top: Agent, *, is_held: bool) -> None:
    """As if another process carried out the repository's writes just now."""
    until = timezone.now() + timedelta(hours=1) if is_held else None
    Repository.objects.filter(pk=top.repository_id).update(outbox_lease_until=until)


def violations() -> list[str]:
    return [f"{found.law}: {found.subject} {found.detail}" for law in invariants.LAWS for found in law()]


def failed_writes() -> list[str]:
    return [row.error for row in Operation.objects.filter(state=Operation.State.FAILED)]
