"""Two agents on a whole installation want one file: the lock is refused, their parent decides by `gridctl`, the worker that is
to carry it out is killed in between, and both changes are in the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.factories import git, make_git_repository

COMMAND = r"""
P=$(mktemp); cat > $P
B=$(basename $(git branch --show-current))
until_there() { while [ ! -e $F/$1 ]; do sleep 0.1; done; }
N=$(sed -nE 's/^### Conflict ([0-9]+).*/\1/p' $P | tail -1)
if head -1 $P | grep -q resolve; then
    touch $F/asked; until_there decide
    gridctl list_conflicts > $F/listed
    gridctl resolve_conflict --conflict $N --choice sequence --reason "the left half first"
    gridctl finish --outcome done --summary "decided"
elif head -1 $P | grep -q resume; then
    gridctl finish --outcome done --summary "both halves are in"
elif [ $B = 1-both ]; then
    gridctl finish --outcome split --children '[{"key": "a", "title": "Left", "body": ""}, {"key": "b", "title": "Right", "body": ""}]'
else
    [ $B = 3-right ] && until_there held
    until gridctl acquire_lock --path app.txt --reason "a line for $B" > $F/answer-$B && grep -q '"granted": true' $F/answer-$B
    do cp $F/answer-$B $F/refused-$B; sleep 0.3; done
    [ $B = 2-left ] && { touch $F/held; until_there go; }
    echo $B >> app.txt; git add -A; git commit -qm "$B"
    gridctl finish --outcome done --summary "a line"
fi
"""


@pytest.mark.timeout(240)
def test_a_conflict_is_decided_by_the_parent_and_carried_out_once_although_its_worker_is_killed(new_stack, tmp_path):
    folder = tmp_path / "signs"
    folder.mkdir()
    stack = new_stack(extra_env={"AGENTGRID_CONFLICT_SECONDS": "600", "AGENTGRID_CONFLICT_GRACE_SECONDS": "1"})
    stack.start("web", "control", "executions", "beat")
    repository = make_git_repository(tmp_path / "app", {"app.txt": "one\n"})
    command = f"F={folder}; {COMMAND}"
    stack.manage("submit", "--repo", str(repository), "--title", "Both", "--command", command)

    def sign(name: str) -> Path:
        return folder / name

    def the_conflict() -> dict[str, Any]:
        (row,) = stack.manage_json("conflict", "list", "--all", check=False)["conflicts"]
        return dict(row)

    stack.wait_until(sign("asked").exists, "the parent is asked", timeout=90)
    row = the_conflict()
    refused = json.loads(sign("refused-3-right").read_text())
    assert (row["state"], row["kind"], row["patterns"]) == ("open", "lock", ["app.txt"])
    assert (refused["conflict"], refused["thread"]) == (row["id"], row["thread_id"])
    stack.kill9("control", "beat")  # whoever would carry it out
    sign("decide").touch()
    stack.wait_until(lambda: the_conflict()["state"] == "decided", "it is decided", timeout=60)
    assert the_conflict()["decision"].endswith(f"by agent {row['arbiter_id']}")
    assert not any(done for _, done in the_conflict()["steps"])
    stack.start("control", "beat")
    waits = f"conflict {row['id']} about app.txt"
    stack.wait_until(lambda: waits in stack.manage("explain", "3").stdout, "the second one waits", timeout=60)
    sign("go").touch()
    stack.wait_until(
        lambda: stack.manage_json("tree", "1")["agents"][0]["state"] == "done", "the tree is done", timeout=120
    )
    tree = stack.manage_json("tree", "1")["agents"]
    assert [row["state"] for row in tree] == ["done", "done", "done"]
    lines = git(repository, "show", f"{tree[0]['branch']}:app.txt").split()
    assert lines == ["one", "2-left", "3-right"], "both changes, in the order of the decision"
    done = stack.manage_json("conflict", "show", str(row["id"]))["conflict"]
    assert (done["state"], done["decisions"]) == ("carried-out", 1)
    shown = [run["mode"] for run in stack.manage_json("explain", "1")["executions"]]
    assert sorted(shown) == ["resolve", "resume", "work"]
    timeline = stack.manage("tail", "3", "-n", "400").stdout
    assert timeline.count("conflict.step") == 2, timeline
    assert stack.manage_json("doctor")["violations"] == []
