"""An agent whose program speaks no MCP has children made and reports by `gridctl`, on a whole installation."""

from __future__ import annotations

import pytest

from tests.factories import git, make_git_repository

COMMAND = r"""
set -e
head -1 > first-line
if grep -q 'resume' first-line; then
    test -s part.txt
    gridctl finish --outcome done --summary "the part is in"
elif grep -q 'Write both' first-line; then
    gridctl report_state --status "asking for help" --done 1 --total 2
    gridctl spawn_agents --children '[{"key": "part", "title": "Write the part", "acceptance": ["test -s part.txt"]}]'
    gridctl call nudge '{"agent": "99"}' && exit 9 || test $? = 1
    rm first-line
    echo whole > whole.txt
    gridctl finish --outcome done --summary "my own half is written"
    exit 0
else
    echo part > part.txt
    gridctl send_message --to parent --text "part.txt is there"
    gridctl finish --outcome done --summary "written"
fi
rm first-line
"""


@pytest.mark.timeout(180)
def test_a_command_agent_spawns_a_child_and_the_tree_ends_done(new_stack, tmp_path):
    stack = new_stack().start("web", "control", "executions", "beat")
    repository = make_git_repository(tmp_path / "app")
    stack.manage(
        "submit", "--repo", str(repository), "--title", "Write both", "--command", COMMAND, "--wait", "120", timeout=150
    )
    tree = stack.manage_json("tree", "1")["agents"]
    assert [(row["path"], row["title"], row["state"]) for row in tree] == [
        ("1", "Write both", "done"),
        ("1.1", "Write the part", "done"),
    ]
    branch = tree[0]["branch"]
    assert git(repository, "show", f"{branch}:whole.txt") == "whole"
    assert git(repository, "show", f"{branch}:part.txt") == "part"
    root = stack.manage_json("explain", "1")
    assert [run["mode"] for run in root["executions"]] == ["resume", "work"]
    assert "spawn_agents" in stack.manage("tail", "1", "-n", "400").stdout
    assert stack.manage_json("doctor")["violations"] == []
