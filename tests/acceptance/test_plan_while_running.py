"""A plan is edited while its agents run: what is taken out ends cleanly, what is added is done, and the tree ends done."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.factories import git, make_git_repository

COMMAND = r"""
set -e
head -1 > "$HOME/first-line"
case "$(cat "$HOME/first-line")" in
*resume*)
    test -s quick.txt
    gridctl finish --outcome done --summary "all is in" ;;
*Slow*)
    gridctl acquire_lock --path app.txt > "MARKS/lock.json"
    sleep 600 &
    echo $! > "MARKS/sleeper"
    echo $$ > "MARKS/slow"
    wait ;;
*Quick*) echo quick > quick.txt ;;
*)
    touch "MARKS/top"
    while [ ! -e "MARKS/go" ]; do sleep 0.05; done
    gridctl finish --outcome done --summary "my part is done" ;;
esac
"""


def written(path: Path) -> bool:
    return path.exists() and bool(path.read_text().strip())


@pytest.mark.timeout(240)
def test_a_child_taken_out_of_the_plan_while_it_runs_leaves_nothing_behind(new_stack, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    stack = new_stack().start("web", "control", "executions", "beat")
    repository = make_git_repository(tmp_path / "app", {"app.txt": "one\n"})
    command = COMMAND.replace("MARKS", str(marks))
    stack.manage("submit", "--repo", str(repository), "--title", "Top", "--command", command)
    stack.wait_until((marks / "top").exists, "the root runs")

    plan = tmp_path / "plan.yml"
    text = stack.manage("plan", "export", "1").stdout
    head, _, seen = text.partition("\nseen:")
    slow = "\n  children:\n    - new: slow\n      goal: Slow\n      footprint: [app.txt]\n      budget: {usd: 1}"
    plan.write_text(f"{head}{slow}\nseen:{seen}")
    assert "1 add" in stack.manage("plan", "apply", "1", str(plan), "--yes").stdout
    stack.wait_until(lambda: written(marks / "slow"), "the child runs")
    assert [lock["path"] for lock in stack.manage_json("locks")["locks"]] == ["app.txt"]
    processes = [psutil.Process(int((marks / name).read_text())) for name in ("slow", "sleeper")]

    text = stack.manage("plan", "export", "1").stdout
    head, _, seen = text.partition("\nseen:")
    above = head.partition("\n  children:")[0]
    plan.write_text(f"{above}\n  children:\n    - new: quick\n      goal: Quick\n      files: [quick.txt]\nseen:{seen}")
    shown = stack.manage_json("plan", "diff", "1", str(plan))
    assert ([change["kind"] for change in shown["changes"]], shown["running"]) == (["add", "cancel"], 1)
    done = stack.manage_json("plan", "apply", "1", str(plan), "--yes")
    assert done["applied_as"] == 2
    assert stack.manage_json("plan", "apply", "1", str(plan), "--yes")["changes"] == []

    def is_over() -> bool:
        (run,) = stack.manage_json("explain", "1.1")["executions"]
        return run["state"] == "cancelled"

    stack.wait_until(is_over, "the cancelled run has ended")
    stack.wait_until(lambda: not any(process.is_running() for process in processes), "its processes are gone")
    slow_one = stack.manage_json("explain", "1.1")
    assert (
        slow_one["agent"]["state"] == "abandoned"
        and "taken out of the plan by cli:" in slow_one["agent"]["blocked_reason"]
    )
    assert stack.manage_json("locks")["locks"] == []
    (marks / "go").touch()
    stack.wait_until(
        lambda: stack.manage_json("explain", "1")["agent"]["state"] == "done", "the tree is done", timeout=120
    )
    tree = stack.manage_json("tree", "1")["agents"]
    assert [(row["title"], row["state"]) for row in tree] == [("Top", "done"), ("Slow", "abandoned"), ("Quick", "done")]
    assert git(repository, "show", f"{tree[0]['branch']}:quick.txt") == "quick"
    envelopes = {row["key"]: row for row in stack.manage_json("budget", "show")["envelopes"]}
    assert all(row["live"] == 0 == row["executions_reserved"] for row in envelopes.values())
    assert stack.manage_json("doctor")["violations"] == []
