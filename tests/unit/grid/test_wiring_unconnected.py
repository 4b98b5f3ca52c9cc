"""A run that was offered the grid's tools and never came for them."""

from __future__ import annotations

import pytest

from grid.agents.base import Wiring
from grid.wiring import unconnected

OFFERED = Wiring(mcp_url="http://127.0.0.1:1/mcp", grid_tools=("finish",))


def test_it_has_failed_and_the_reason_names_the_address_and_the_fix():
    why = unconnected(OFFERED, connects=True, has_connected=False)
    assert "never connected" in why and "http://127.0.0.1:1/mcp" in why and "`web` runs" in why


@pytest.mark.parametrize(
    ("offers", "connects", "has_connected"),
    [(OFFERED, True, True), (OFFERED, False, False), (Wiring(grid_tools=("finish",)), True, False)],
    ids=["it connected", "its adapter hands on no tools", "nothing was offered"],
)
def test_otherwise_all_is_well(offers, connects, has_connected):
    assert unconnected(offers, connects=connects, has_connected=has_connected) == ""
