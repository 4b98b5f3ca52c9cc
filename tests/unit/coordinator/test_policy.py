"""The policy in force: a file under the fleet's caps."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents.policy import CAPS, EffectivePolicy, FleetLimits, effective, protected
from coordinator.documents.policy_file import Policy
from coordinator.documents.policy_schema import Limits as LimitsModel

FLEET = FleetLimits(
    max_live_per_repository=20,
    max_live_per_tree=10,
    max_depth=3,
    max_children=10,
    max_open_descendants=50,
    max_attempts=3,
    tree_executions=100,
    tree_wall_seconds=28_800,
)
UNCAPPED = {
    *("memory_bytes", "processes", "tool_calls", "tree_tool_calls", "tree_usd", "tree_tokens", "tree_children"),
    *("spend_without_progress_usd", "day_usd", "day_tokens", "day_executions"),
}
"""Where the fleet's 0 means no cap."""


def test_without_a_file_the_fleets_limits_hold():
    policy = effective(None, FLEET)
    assert policy == effective(Policy(), FLEET)
    assert (policy.adapter, policy.setup, policy.acceptance) == ("builtin", (), ())
    assert (policy.wall_seconds, policy.idle_seconds, policy.verify_wall_seconds) == (1800, 600, 900)
    assert (policy.children, policy.depth, policy.attempts, policy.concurrency) == (10, 3, 3, 20)
    assert policy.origin["children"] == "fleet"
    assert policy.origin["wall_seconds"] == policy.origin["adapter"] == policy.origin["memory_bytes"] == "default"
    assert policy.not_granted == {}


def test_a_file_lowers_a_limit_and_cannot_raise_one():
    policy = effective(Policy(limits={"children": 2, "attempts": 9, "depth": 3}), FLEET)
    assert (policy.children, policy.attempts, policy.depth) == (2, 3, 3)
    assert policy.origin["children"] == policy.origin["depth"] == ".agentgrid.yml"
    assert policy.origin["attempts"] == "fleet"
    assert policy.not_granted == {"attempts": 9}


def test_a_file_may_forbid_splitting():
    policy = effective(Policy(limits={"children": 0, "depth": 0}), FLEET)
    assert (policy.children, policy.depth) == (0, 0)


def test_where_the_fleet_has_no_cap_the_file_decides():
    policy = effective(Policy(limits={"memory_bytes": 1 << 30}), FLEET)
    assert policy.memory_bytes == 1 << 30
    assert policy.origin["memory_bytes"] == ".agentgrid.yml"
    capped = effective(Policy(limits={"memory_bytes": 1 << 30}), dataclasses.replace(FLEET, memory_bytes=1 << 29))
    assert (capped.memory_bytes, capped.origin["memory_bytes"]) == (1 << 29, "fleet")


def test_an_operators_own_time_limit_is_not_called_a_default():
    assert effective(None, dataclasses.replace(FLEET, wall_seconds=60)).origin["wall_seconds"] == "fleet"


def test_the_rest_of_the_file_is_taken_as_it_is():
    said = Policy(adapter="command", options={"command": "x"}, setup=("a",), acceptance=("b",))
    policy = effective(said, FLEET)
    assert (policy.adapter, policy.options, policy.setup, policy.acceptance) == (
        "command",
        {"command": "x"},
        ("a",),
        ("b",),
    )
    assert {policy.origin[name] for name in ("adapter", "options", "setup", "acceptance")} == {".agentgrid.yml"}


def test_run_and_verify_get_limits_of_their_own():
    policy = effective(Policy(limits={"wall_seconds": 5, "verify_wall_seconds": 7, "processes": 9}), FLEET)
    assert (policy.run_limits.wall_seconds, policy.verify_limits.wall_seconds) == (5, 7)
    assert policy.run_limits.processes == policy.verify_limits.processes == 9
    assert policy.run_limits.idle_seconds == policy.verify_limits.idle_seconds == 600


@settings(deadline=None)  # a busy machine is no bug
@given(st.dictionaries(st.sampled_from(sorted(CAPS)), st.integers(min_value=0, max_value=10**6)))
def test_no_file_gets_more_than_the_fleet_allows(limits):
    policy = effective(Policy(limits=limits), FLEET)
    for name, cap_name in CAPS.items():
        if name not in UNCAPPED:
            assert getattr(policy, name) <= getattr(FLEET, cap_name)
            assert getattr(policy, name) == min(limits.get(name, 10**9), getattr(FLEET, cap_name))


@pytest.mark.parametrize("known", [list(CAPS), [f.name for f in dataclasses.fields(EffectivePolicy)]])
def test_every_limit_of_the_file_has_a_cap_and_an_effect(known):
    assert set(LimitsModel.model_fields) <= set(known)
    assert set(CAPS.values()) == {field.name for field in dataclasses.fields(FleetLimits)}
    origin = effective(None, FLEET).origin
    assert set(origin) == {f.name for f in dataclasses.fields(EffectivePolicy)} - {"origin", "not_granted"}


# --- protected files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/workflows/deep/er.yml",
        ".GitHub/Workflows/ci.yml",
        "CODEOWNERS",
        ".github/CODEOWNERS",
        "docs/CODEOWNERS",
        "docs/codeowners",
        ".github/actions/setup/action.yml",
        ".agentgrid.yml",
        # a link, a submodule or a file instead of the folder
        ".github",
        ".github/workflows",
        ".github/actions",
        "docs",
        # what the file systems of other machines take for the same name
        ".github/work\u200cflows/ci.yml",
        "\ufeff.github/workflows/ci.yml",
        ".gith\u00adub/workflows/ci.yml",
        "\uff0egithub/\uff37orkflows/ci.yml",
        ".github/workflow\u017f/ci.yml",
        ".github./workflows /ci.yml",
        ".github::$INDEX_ALLOCATION/workflows/ci.yml",
        ".github\\workflows\\ci.yml",
        ".github\ufe0f",
        ".AGENTGRID.yml",
        "CODEOWNERS.",
    ],
)
def test_files_that_decide_what_runs_are_protected(path: str):
    assert protected([path, "src/app.py"], allowed=()) == [path]
    assert protected([path], allowed=["*"]) == []
    assert protected([path], allowed=["src/*"]) == [path]


@pytest.mark.parametrize(
    "path",
    [
        ".github/dependabot.yml",
        "src/CODEOWNERS",
        "workflows/ci.yml",
        "x/.github/workflows/ci.yml",
        "docs/index.md",
        ".githubs/workflows/ci.yml",
        ".github/workflows-old/ci.yml",
        "src/.agentgrid.yml",
    ],
)
def test_other_files_are_not(path: str):
    assert protected([path], allowed=()) == []


def test_a_pattern_lets_through_what_it_names_only():
    paths = [".github/workflows/docs.yml", ".github/workflows/release.yml"]
    assert protected(paths, allowed=[".github/workflows/docs.yml"]) == paths[1:]
    lookalike = ".github/workflow\u200cs/docs.yml"
    assert protected([lookalike], allowed=[".github/workflows/*"]) == [lookalike]


def test_a_name_is_protected_in_every_case_and_composition():
    for name in (".github/workflows/Prüfung.yml", ".github/CODEOWNERS"):
        for form in ("NFC", "NFD", "NFKD"):
            path = unicodedata.normalize(form, name)
            assert protected([path.upper()], allowed=()) == [path.upper()]
