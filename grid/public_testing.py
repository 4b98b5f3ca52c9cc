"""Doubles that are part of the product: what stands for the outside world in tests, demos and checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grid import wiring
from grid.agents import registry
from grid.agents.base import Launch, RunFiles
from grid.conf import conf
from grid.fake_model.script import Script
from grid.fake_model.server import MODEL, FakeModel
from grid.public_types import AgentSpec

__all__ = ["MODEL", "FakeModel", "Launch", "Script", "plan_start"]


def plan_start(spec: AgentSpec, *, profile: Mapping[str, Any], folder: Path, prompt: str) -> Launch:
    """What a run of an agent would start, wired to the grid's offers but without a token; nothing is started or written.

    Args:
        spec: Which agent, and how.
        profile: A frozen profile as a launch spec holds it; may be empty.
        folder: Where its `workspace` and `home` would be.
        prompt: What it would be asked.

    Raises:
        GridError: It cannot be run like this.
    """
    settings, adapter = conf(), registry.get(spec.adapter)
    wired = adapter.wired(options=spec.options, wiring=wiring.wiring_for(profile, settings))
    home = folder / "home"
    files = RunFiles(workspace=folder / "workspace", home=home, python=settings.python, path=settings.agent_path)
    return adapter.launch(options=wired.options, files=files, prompt=prompt)
