"""One fixture for each contract, parametrised over what must keep it."""

from __future__ import annotations

import pytest

from tests.contracts.tracker_worlds import TrackerWorld, local_world

_WORLDS = {"local": local_world}


@pytest.fixture(params=sorted(_WORLDS))
def world(request: pytest.FixtureRequest, db: None) -> TrackerWorld:
    """A tracker of every kind, with one empty repository."""
    return _WORLDS[request.param]()
