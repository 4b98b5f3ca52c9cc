"""Law 1 under 16 processes that nudge, launch and claim the same 50 issues, on both databases."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.factories import make_git_repository
from tests.services import forks

PROCESSES, ISSUES, SECONDS = 16, 50, 3
MAKE = """
from pathlib import Path
from grid.models import Host
from tests.factories import make_agent
first = make_agent(Path({path!r}))
from tests import factories
from coordinator.agents import roster
from coordinator.care import repositories
from coordinator.money import scopes
from coordinator.models import Agent, Envelope
from tracker import public_api as tracker
from tracker.public_types import IssueDraft
for n in range({issues} - 1):
    issue = tracker.create_issue(repository_id=first.repository_id, draft=IssueDraft(title=f"Issue {{n}}"))
    roster.take_on(issue_id=tracker.issue_id(issue.ref, repository_id=first.repository_id),
                   repository_id=first.repository_id, spec=first.spec)
for row in Envelope.objects.all():
    scopes.follow_setting(row, max_live=None, executions_limit=None, wall_limit_seconds=None)
for n in range(4):
    Host.objects.create(name=f"h{{n}}", slots=100)
"""
DROP = "from django.db import connection; connection.cursor().execute('DROP INDEX one_live_execution_per_subject')"


def hammer(stack, tmp_path: Path, *, drop_constraint: bool = False) -> tuple[Counter[str], set[str]]:
    repository = make_git_repository(tmp_path / "repository")
    stack.manage("shell", "-v0", "-c", MAKE.format(path=str(repository), issues=ISSUES), timeout=120)
    if drop_constraint:
        stack.manage("shell", "-v0", "-c", DROP)
    env = {**stack.env, "AGENTGRID_MAX_LIVE": "100000", "AGENTGRID_MAX_LIVE_PER_REPOSITORY": "100000"}
    counts: Counter[str] = Counter()
    doubles: set[str] = set()
    reports = forks.run("tests.services.hammer", PROCESSES, SECONDS, env=env)
    assert len(reports) == PROCESSES
    for report in reports:
        counts.update(report["counts"])
        doubles.update(report["doubles"])
    return counts, doubles


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_never_two_live_executions_of_one_issue(new_stack, tmp_path, database):
    stack = new_stack(database=database)
    counts, doubles = hammer(stack, tmp_path)
    assert doubles == set()
    # The test is worth something only if the processes really met; the slowest machine does the least acts it may.
    met = ("refused by the constraint", "claimed", "ended", "admitted")
    assert min(counts[what] for what in met) > 10, counts
    assert not [what for what in counts if what.startswith("database")], counts
    shown = stack.manage(
        "shell",
        "-v0",
        "-c",
        "from coordinator import invariants as i; import json;"
        "print(json.dumps([str(v) for law in (i.one_live_execution, i.budgets_add_up, i.events_have_no_gap,"
        " i.terminal_is_final, i.tree_is_sound) for v in law()]))",
    )
    assert json.loads(shown.stdout) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_hammer_notices_a_missing_constraint(new_stack, tmp_path, database):
    """The mutation run: without the constraint the same test must be red."""
    _, doubles = hammer(new_stack(database=database, is_replayed=False), tmp_path, drop_constraint=True)
    assert doubles
