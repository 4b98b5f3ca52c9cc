"""Where the processes of one machine tell their agents to find `web`."""

from __future__ import annotations

import pytest

from agentgrid.supervisor import KINDS, stack


@pytest.mark.parametrize(
    ("kinds", "said", "expected"),
    [
        (KINDS, "", "http://127.0.0.1:8123"),
        (("control", "executions"), "", None),
        (KINDS, "https://grid.example.com", "https://grid.example.com"),
        (("executions",), "https://grid.example.com", "https://grid.example.com"),
    ],
    ids=["its own web", "no web, no tools", "the operator's word", "somebody else's web"],
)
def test_agents_are_told_of_web(kinds, said, expected):
    specs = stack(kinds, broker_kind="gridfs", port=8123, agent_url=said)
    assert [spec.name for spec in specs] == list(kinds)
    assert {spec.environment.get("AGENTGRID_AGENT_URL") for spec in specs} == {expected}
