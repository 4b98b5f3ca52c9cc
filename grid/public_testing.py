"""Doubles that are part of the product: what stands for the outside world in tests, demos and checks."""

from __future__ import annotations

from grid.fake_model.script import Script
from grid.fake_model.server import MODEL, FakeModel

__all__ = ["MODEL", "FakeModel", "Script"]
