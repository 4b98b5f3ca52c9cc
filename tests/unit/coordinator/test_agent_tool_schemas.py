"""The grid's tools as clients see them."""

from __future__ import annotations

import json
import re

import pytest

from coordinator.rules.capability import Capability
from coordinator.toolbox import registry, schemas
from coordinator.toolbox.registry import TOOLS
from grid.public_toolkit import GRID_TOOLS, ToolRefusedError


def capability(*tools: str) -> Capability:
    return Capability(tier=0, models=frozenset(), tools=frozenset(tools), children=0, depth=0, share=0)


def test_every_tool_that_a_capability_can_hold_exists_and_no_other():
    assert set(TOOLS) == set(GRID_TOOLS)


def test_only_what_a_capability_holds_is_offered():
    names = [tool.name for tool in registry.allowed(capability("finish", "nudge", "run_command", "no_such_tool"))]
    assert names == ["nudge", "finish"]


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_a_schema_stands_alone_and_every_client_can_read_it(name):
    schema = schemas.plain(TOOLS[name].schema)
    text = json.dumps(schema)
    assert "$ref" not in text and "$defs" not in text
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert re.fullmatch(r"[a-z][a-z_]{2,39}", name) and 20 < len(TOOLS[name].description) < 1_500


def test_children_are_described_to_their_last_field():
    child = schemas.plain(TOOLS["spawn_agents"].schema)["properties"]["children"]["items"]
    assert set(child["properties"]) == {
        "key",
        "title",
        "body",
        "blocked_by",
        "acceptance",
        "profile",
        "prompt",
        "footprint",
    }
    assert child["required"] == ["key", "title"]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("nudge", {}, "agent: Field required"),
        ("nudge", {"agent": "1", "who": "x"}, "who: Extra inputs are not permitted"),
        ("report_state", {"status": "x", "done": "3"}, "done: Input should be a valid integer"),
        ("spawn_agents", {"children": [{"key": "a"}]}, "children.0.title: Field required"),
        ("spawn_agents", {"children": []}, "at least 1 item"),
        ("finish", {"outcome": "maybe"}, "outcome: Input should be"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_guessed(name, arguments, says):
    with pytest.raises(ToolRefusedError, match=says):
        TOOLS[name].read(arguments)


def test_an_agent_may_be_named_by_number_or_text():
    assert TOOLS["nudge"].read({"agent": 12})["agent"] == "12"
    assert TOOLS["nudge"].read({"agent": "parent"})["agent"] == "parent"
