"""Two children that change one file, through a real host, real processes and real git: both changes are in the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator import invariants
from coordinator.ending import resolutions
from coordinator.launching import dispatch
from coordinator.models import Agent, Conflict
from coordinator.public_types import AgentState, Source
from coordinator.reading import queries
from coordinator.teamwork import conflicts
from grid import public_code as grid_code
from grid import public_locks as grid_locks
from grid.conf import conf
from grid.models import Event, Execution
from tests.factories import git, make_agent
from tests.integration.coordinator.conftest import GridHere

PATH = "app.txt"
# Where a merge is to be done, the lines of both sides are kept.
COMMAND = r"""
P=$(mktemp); cat > $P
report() { mkdir -p .agentgrid; cat > .agentgrid/outcome.json; }
B=$(basename $(git branch --show-current))
COMMIT=$(grep -oE 'git merge --no-edit [0-9a-f]{40}' $P | tail -1 | cut -d' ' -f4)
if [ -n "$COMMIT" ]; then
    git merge -q --no-edit $COMMIT || {
        { git show HEAD:app.txt; git show $COMMIT:app.txt; } | sort -u > app.txt; git add -A; git commit -qm both
    }
    echo '{"outcome": "done", "summary": "merged"}' | report
elif head -1 $P | grep -qE 'resolve|resume'; then
    N=$(sed -nE 's/^### Conflict ([0-9]+).*/\1/p' $P | tail -1)
    [ -n "$N" ] && R=', "resolutions": [{"conflict": '$N', %(answer)s}]'
    echo '{"outcome": "done", "summary": "looked"'$R'}' | report
elif [ $B = 1-both ]; then
    echo '%(split)s' | report
else
    touch %(folder)s/began-$B
    while [ ! -e %(folder)s/go-$B ]; do sleep 0.05; done
    echo $B >> app.txt
    git add -A; git commit -qm $B
fi
"""


class Pair:
    """A root that splits into two children, each of which adds a line to the same file when it is told to go on."""

    def __init__(self, grid: GridHere, folder: Path, repository: Path, *, answer: dict[str, Any] | None = None) -> None:
        parts = [{"key": key, "title": f"Part {key}", "body": ""} for key in ("a", "b")]
        split = json.dumps({"outcome": "split", "summary": "two", "children": parts})
        said = json.dumps(answer or {"choice": "fork"})[1:-1]
        command = COMMAND % {"split": split, "folder": folder, "answer": said}
        self.grid, self.folder, self.repository = grid, folder, repository
        self.root = make_agent(repository, title="Both", command=command)
        dispatch.nudge(self.root.pk, source=Source.OPERATOR)

    def child(self, key: str) -> Agent:
        return Agent.objects.select_related("issue", "repository", "execution").get(issue__title=f"Part {key}")

    def both_run(self) -> None:
        names = {"a": "2-part-a", "b": "3-part-b"}
        self.grid.until(lambda: all((self.folder / f"began-{name}").exists() for name in names.values()))
        self.until(lambda: {self.child(key).state for key in names} == {"running"})

    def go(self, *keys: str) -> None:
        for key in keys:
            (self.folder / f"go-{'2-part-a' if key == 'a' else '3-part-b'}").touch()

    def until(self, condition: Callable[[], bool]) -> None:
        self.grid.until(condition, timeout=60)

    def refused(self) -> Conflict:
        """`a` has the file, and `b` is refused."""
        a, b = self.child("a").execution, self.child("b").execution
        assert grid_locks.acquire(a.pk, fence=a.token, path=PATH).granted
        answer = grid_locks.acquire(b.pk, fence=b.token, path=PATH)
        assert not answer.granted
        row = conflicts.from_lock(self.child("b"), answer.blockers, path=PATH, reason="a line")
        assert row is not None
        return row

    def ends_done(self) -> list[str]:
        """The lines of the file in the root's branch."""
        self.until(lambda: Agent.objects.get(pk=self.root.pk).state in (AgentState.DONE, AgentState.BLOCKED))
        self.grid.until_quiet()
        assert [one.state for one in queries.tree(self.root.pk)] == ["done", "done", "done"]
        resolutions.advance_all()
        assert set(Conflict.objects.values_list("state", flat=True)) <= {"carried-out", "cancelled"}
        assert invariants.violations() == []
        return git(self.repository, "show", f"{Agent.objects.get(pk=self.root.pk).branch}:{PATH}").split()

    def root_head(self, branch: str) -> str:
        return grid_code.branch_head(repository=f"r{self.root.repository_id}", branch=branch)

    def modes(self, key: str = "") -> list[str]:
        agent = self.child(key) if key else self.root
        return [str(run.mode) for run in queries.executions_of(agent.pk)][::-1]


BOTH = {"one", "two", "three", "2-part-a", "3-part-b"}


@pytest.fixture
def pair(grid_here: GridHere, tmp_path: Path, repository: Path, settings: Any) -> Pair:
    settings.COORDINATOR_CONFLICT_GRACE_SECONDS = 0
    return Pair(grid_here, tmp_path, repository)


def test_work_that_cannot_be_merged_is_merged_by_who_comes_later_and_that_is_shown(pair):
    pair.both_run()
    pair.go("a", "b")
    assert set(pair.ends_done()) == BOTH
    row = Conflict.objects.get()
    assert (row.kind, row.decided_by, row.choice, row.state) == ("merge", "policy", "merge_plan", "carried-out")
    assert row.order == [row.requester_id] and row.patterns == [PATH]
    assert {row.requester_id, row.holder_id} == {pair.child("a").pk, pair.child("b").pk}
    assert pair.modes() == ["work", "resume"], "its parent was not asked"


def test_with_the_policy_arbiter_the_parent_says_who_merges(grid_here, tmp_path, repository, settings):
    (repository / ".agentgrid.yml").write_text("version: 1\nconflicts: arbiter\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Policy")
    pair = Pair(grid_here, tmp_path, repository, answer={"choice": "merge_plan"})
    pair.both_run()
    pair.go("a", "b")
    assert set(pair.ends_done()) == BOTH
    row = Conflict.objects.get()
    assert row.decided_by == pair.root.stream
    assert pair.modes() == ["work", "resolve", "resume"]
    assert sorted(pair.modes("a") + pair.modes("b")) == ["resolve", "work", "work"]


def test_sequence_starts_the_second_from_the_work_of_the_first(pair):
    pair.both_run()
    row = pair.refused()
    conflicts.decide(row.pk, choice="sequence", actor="cli:me")
    pair.until(lambda: pair.child("b").decision["code"] == "conflict")
    assert pair.child("b").attempts == 0
    pair.go("a", "b")
    lines = pair.ends_done()
    assert set(lines) == BOTH and lines.index("2-part-a") < lines.index("3-part-b")
    assert pair.modes("b") == ["work", "work"], "nothing was left to be merged by hand"
    assert not Conflict.objects.filter(kind="merge").exists()


def test_fork_lets_both_go_on_and_the_parent_merges(pair):
    pair.both_run()
    conflicts.decide(pair.refused().pk, choice="fork", actor="cli:me")
    pair.until(lambda: Conflict.objects.get().step > 0)
    pair.go("b")
    pair.until(lambda: pair.child("b").state == AgentState.DONE)
    assert grid_locks.held(execution_id=pair.child("a").execution_id), (
        "its work was taken although the other has the lock"
    )
    pair.go("a")
    assert set(pair.ends_done()) == BOTH
    merge = Conflict.objects.get(kind="merge")
    assert (merge.order, merge.decided_by) == ([pair.root.pk], "cli:me")
    assert pair.modes("a") == pair.modes("b") == ["work"], "neither of the two did"
    assert pair.modes() in (["work", "resolve", "resolve", "resume"], ["work", "resolve", "resume"])


def test_a_merge_plan_has_the_named_one_merge_after_the_other(pair):
    pair.both_run()
    row = pair.refused()
    conflicts.decide(row.pk, choice="merge_plan", order=[pair.child("a").pk], actor="cli:me")
    pair.until(lambda: Conflict.objects.get().step > 0)
    pair.go("a")
    pair.until(lambda: pair.child("a").decision["code"] == "conflict")
    assert pair.child("a").state == AgentState.QUEUED, "its work is done, and waits for the other's"
    pair.go("b")
    assert set(pair.ends_done()) == BOTH
    assert pair.modes("a") == ["work", "resolve"] and pair.modes("b") == ["work"]


def test_release_takes_the_lock_and_what_the_holder_writes_after_it_is_not_taken(pair):
    pair.both_run()
    row = pair.refused()
    conflicts.decide(row.pk, choice="release", actor="cli:me")
    pair.until(lambda: Conflict.objects.get().state == "carried-out")
    b = pair.child("b").execution
    assert grid_locks.acquire(b.pk, fence=b.token, path=PATH).granted
    pair.go("b")
    pair.until(lambda: pair.child("b").state == AgentState.DONE)
    pair.go("a")
    pair.until(lambda: len(pair.modes("a")) == 2 or pair.child("a").state == AgentState.BLOCKED)
    runs = Execution.objects.filter(subject=pair.child("a").subject).order_by("created_at")
    assert "lost its lock" in (pair.child("a").blocked_reason or runs[1].prompt)
    store, head = f"r{pair.root.repository_id}", pair.root_head(Agent.objects.get(pk=pair.root.pk).branch)
    assert b"3-part-b" in (grid_code.read_file(repository=store, commit=head, path=PATH) or b"")
    # Its next run may have been taken by now; that one began from what is there.
    assert runs[0].result["head"] not in git(conf().store_dir(store), "rev-list", head).split()


def test_a_decision_is_carried_out_once_whoever_dies_in_between(pair, monkeypatch):
    """The worker dies at the end of the transaction of a step, and after it, before what follows outside."""
    pair.both_run()
    row = pair.refused()
    conflicts.decide(row.pk, choice="sequence", actor="cli:me")
    real = resolutions._stop

    def dies(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(resolutions, "_stop", dies)
    with pytest.raises(KeyboardInterrupt):
        resolutions.advance(row.pk)
    assert Conflict.objects.get().step == 0 and not Execution.objects.filter(stop_reason="interrupted").exists()
    monkeypatch.undo()
    resolutions.advance_all()
    resolutions.advance_all()
    pair.until(lambda: pair.child("b").decision["code"] == "conflict")
    pair.go("a", "b")
    assert set(pair.ends_done()) == BOTH
    steps = Event.objects.filter(kind="conflict.step").values_list("body__step", flat=True)
    assert sorted(steps) == ["free", "stop"]
