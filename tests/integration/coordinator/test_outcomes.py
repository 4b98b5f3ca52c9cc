"""From a nudge to merged work: every outcome, through a real host, real processes and real git."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator import invariants, lifecycle
from coordinator.care import prompt_library
from coordinator.launching import dispatch
from coordinator.models import Agent, Envelope
from coordinator.money import budgets, soft_limits
from coordinator.public_types import AgentState, Source
from coordinator.reading import queries
from grid import public_events as grid_events
from grid.models import Execution
from tests.factories import git, make_agent
from tests.integration.coordinator.github_trees import Office, office, prompt, runs  # noqa: F401 - a fixture
from tests.integration.tracker.github_here import github, github_server  # noqa: F401 - fixtures
from tracker import public_api as tracker


def outcome_file(kind: str, **more: object) -> str:
    """A shell command that leaves a report."""
    data = json.dumps({"outcome": kind, "summary": f"says {kind}", **more})
    return f"mkdir -p .agentgrid && cat > .agentgrid/outcome.json <<'END'\n{data}\nEND\n"


def start(agent: Agent) -> None:
    dispatch.nudge(agent.pk, source=Source.OPERATOR)


def fresh(agent: Agent) -> Agent:
    return Agent.objects.get(pk=agent.pk)


def test_a_change_arrives_on_a_branch_and_the_issue_is_closed(grid_here, repository: Path):
    agent = make_agent(repository, title="Say hi", command="echo hi > hi.txt", acceptance=["test -s hi.txt"])
    start(agent)
    grid_here.until_quiet()
    agent = fresh(agent)
    assert (agent.state, agent.branch) == (AgentState.DONE, "agent/1-say-hi")
    assert git(repository, "show", f"{agent.branch}:hi.txt") == "hi"
    assert git(repository, "branch", "--show-current") == "main" and not (repository / "hi.txt").exists()
    issue = tracker.get_issue(agent.issue_id)
    assert not issue.is_open and issue.agent_state == ""
    comment = tracker.tracker_for(agent.repository_id).comments(issue.ref)[0]
    assert "acceptance passed" in comment.body and comment.is_ours
    assert invariants.violations() == []


def test_acceptance_runs_on_what_was_committed_not_on_what_lies_around(grid_here, repository: Path):
    (repository / ".gitignore").write_text("ignored.txt\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "ignore")
    agent = make_agent(repository, command="echo x > ignored.txt; echo y > y.txt", acceptance=["test -e ignored.txt"])
    start(agent)
    grid_here.until_quiet()
    assert fresh(agent).state == AgentState.FAILED


def test_a_failed_acceptance_is_retried_from_the_work_and_told_why(grid_here, repository: Path):
    command = "cat > prompt.txt; echo x >> tries.txt"
    agent = make_agent(repository, command=command, acceptance=["echo needs two; test $(wc -l < tries.txt) = 2"])
    start(agent)
    grid_here.until_quiet()
    agent = fresh(agent)
    assert agent.state == AgentState.DONE
    assert Execution.objects.filter(subject=agent.subject).count() == 2
    second = Execution.objects.filter(subject=agent.subject).order_by("-created_at")[0]
    assert "needs two" in second.prompt and "acceptance failed" in second.prompt


def test_attempts_are_spent_and_then_a_person_is_asked(grid_here, repository: Path):
    agent = make_agent(repository, command="echo no >&2; exit 3")
    start(agent)
    grid_here.until_quiet()
    agent = fresh(agent)
    assert (agent.state, agent.attempts) == (AgentState.FAILED, 3)
    assert "exit 3" in agent.blocked_reason
    assert Execution.objects.filter(subject=agent.subject).count() == 3
    assert queries.needing_attention()[0].id == agent.pk


@pytest.mark.parametrize("setup", ["", "setup: ['true']\n"])
def test_a_program_that_is_not_there_asks_a_person_at_once(grid_here, repository: Path, setup: str):
    (repository / ".agentgrid.yml").write_text(setup)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "policy")
    agent = make_agent(repository)
    Agent.objects.update(spec={"adapter": "command", "options": {"argv": ["no-such-program"]}})
    start(agent)
    grid_here.until_quiet()
    agent, run = fresh(agent), Execution.objects.get()
    assert (agent.state, agent.attempts) == (AgentState.BLOCKED, 0)
    assert "there is no program 'no-such-program'" in agent.blocked_reason
    assert "AGENTGRID_AGENT_PATH" in agent.blocked_reason and "retry" in agent.blocked_reason
    assert run.result["is_permanent"] and "no-such-program" in run.result["reason"]


def test_exit_0_without_a_change_or_a_report_is_a_failure(grid_here, repository: Path):
    agent = make_agent(repository, command="true")
    start(agent)
    grid_here.until_quiet()
    assert "neither a change nor" in fresh(agent).blocked_reason


def test_an_agent_that_is_blocked_waits_for_a_person_and_goes_on_when_nudged(grid_here, repository: Path):
    command = f"if [ -e asked ]; then echo y > y.txt; else touch asked; {outcome_file('blocked')} fi"
    agent = make_agent(repository, command=command)
    start(agent)
    grid_here.until_quiet()
    assert (fresh(agent).state, fresh(agent).blocked_reason) == (AgentState.BLOCKED, "says blocked")


def test_nothing_to_do_closes_the_issue_without_a_branch(grid_here, repository: Path):
    agent = make_agent(repository, command=outcome_file("nothing_to_do"))
    start(agent)
    grid_here.until_quiet()
    assert fresh(agent).state == AgentState.DONE
    assert git(repository, "branch", "--list", "agent/*") == ""


SPLITTER = """
if head -1 | grep -q resume; then {resume}
elif [ "$(ls *.part 2>/dev/null)" = "" ] && [ "$(basename $(git branch --show-current))" = "1-split-me" ]; then {split}
else {child}
fi
"""


def splitting_agent(repository: Path, *, child: str, children: list[dict[str, object]], resume: str = "") -> Agent:
    command = SPLITTER.format(
        resume=resume or outcome_file("done"), split=outcome_file("split", children=children), child=child
    )
    return make_agent(repository, title="Split me", command=command)


def parts(*keys: str, **blocked_by: list[str]) -> list[dict[str, object]]:
    return [{"key": k, "title": f"Part {k}", "body": "", "blocked_by": blocked_by.get(k, [])} for k in keys]


def test_a_split_is_worked_on_merged_and_resumed(grid_here, repository: Path):
    child = "b=$(basename $(git branch --show-current)); ls *.part 2>/dev/null > seen-$b.txt; echo $b > $b.part"
    agent = splitting_agent(repository, child=child, children=parts("a", "b", "c", c=["a", "b"]))
    start(agent)
    grid_here.until(lambda: fresh(agent).state == AgentState.DONE)
    grid_here.until_quiet()
    tree = queries.tree(agent.pk)
    assert [(a.path, a.state) for a in tree] == [("1", "done"), ("1.1", "done"), ("1.2", "done"), ("1.3", "done")]
    files = git(repository, "ls-tree", "--name-only", fresh(agent).branch).split()
    assert {"2-part-a.part", "3-part-b.part", "4-part-c.part"} <= set(files)
    # The blocked one began after the others were merged, and on top of them.
    assert git(repository, "show", f"{fresh(agent).branch}:seen-4-part-c.txt").split() == [
        "2-part-a.part",
        "3-part-b.part",
    ]
    assert [r.mode for r in queries.executions_of(agent.pk)] == ["resume", "work"]
    assert not any(tracker.get_issue(pk).is_open for pk in tracker.children_ids(agent.issue_id))
    assert invariants.violations() == []


def test_ends_and_adoptions_take_rows_in_the_order_of_launches(grid_here, repository: Path, monkeypatch):
    """Agents, then envelopes, then streams: who takes them crosswise has PostgreSQL end one of two transactions."""
    taken: list[tuple[str, object]] = []

    def note(module: object, name: str, what: Callable[..., object]) -> None:
        real = getattr(module, name)

        def noted(*args: object, **kwargs: object) -> object:
            taken.append((name, what(*args)))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)

    note(dispatch, "locked", lambda agent_id: agent_id)
    note(soft_limits, "note_progress", lambda envelope: envelope.key)
    note(budgets, "hold", lambda envelope: envelope.key)
    note(lifecycle, "record", lambda agent, *events: events[0][0])
    agent = splitting_agent(repository, child="echo a > a.part", children=parts("a"))
    start(agent)
    grid_here.until(lambda: fresh(agent).state == AgentState.DONE)
    child = Agent.objects.get(parent=agent)
    assert taken[taken.index(("note_progress", child.stream)) - 1] == ("locked", agent.pk)
    assert taken[taken.index(("record", "agent.children-made")) - 1] == ("hold", agent.stream)


def test_children_run_under_the_profile_and_the_prompt_that_their_parent_names(grid_here, repository: Path):
    prompt_library.save(name="terse", body="Be brief about {{ title }}.", author="cli:me")
    children = parts("a", "b")
    children[0] |= {"profile": "micro", "prompt": "terse"}
    children[1] |= {"profile": "unheard-of", "prompt": "unheard-of"}
    agent = splitting_agent(repository, child="cat > $(basename $(git branch --show-current)).txt", children=children)
    start(agent)
    grid_here.until(lambda: fresh(agent).state == AgentState.DONE)
    grid_here.until_quiet()
    first, second = Agent.objects.filter(parent=agent).order_by("pk")
    assert first.execution is not None and second.execution is not None
    given = git(repository, "show", f"{fresh(agent).branch}:2-part-a.txt").splitlines()
    assert given[-1] == "Be brief about Part a."  # the script's own `head -1` took the first line
    assert first.execution.prompt.startswith("# agent-grid work: 2 Part a\n")
    assert first.execution.spec["profile"]["name"] == "micro"
    assert "run_command" not in first.capability["tools"] and first.capability["children"] == 0
    # What there is not is told, and the work is done all the same.
    assert second.execution.spec["profile"]["name"] == "worker"
    assert "You are an agent of agent-grid." in second.execution.prompt
    kinds = [event.kind for event in grid_events.read_stream(second.stream)]
    assert kinds.count("agent.wish-not-met") == 2
    assert invariants.violations() == []


def test_an_agent_whose_profile_makes_no_children_cannot_split(grid_here, repository: Path):
    agent = splitting_agent(repository, child="true", children=parts("a"))
    Agent.objects.filter(pk=agent.pk).update(profile="micro")
    start(agent)
    grid_here.until_quiet()
    agent = fresh(agent)
    assert agent.state == AgentState.FAILED
    assert not Agent.objects.filter(parent=agent).exists()
    assert "0 is the deepest allowed" in agent.blocked_reason


def test_a_split_that_asks_for_too_much_is_refused_and_says_so(grid_here, repository: Path):
    agent = splitting_agent(repository, child="true", children=parts(*(f"p{n}" for n in range(11))))
    start(agent)
    grid_here.until_quiet()
    assert "11 sub-issues" in fresh(agent).blocked_reason
    assert tracker.children_ids(agent.issue_id) == []


def test_a_stuck_child_wakes_its_parent_once_and_the_parent_may_finish_without_it(grid_here, repository: Path):
    child = "if git branch --show-current | grep -q part-b; then exit 1; else echo a > a.part; fi"
    resume = f"cat > /dev/null; echo sum > sum.txt; {outcome_file('done')}"
    agent = splitting_agent(repository, child=child, children=parts("a", "b"), resume=resume)
    start(agent)
    grid_here.until(lambda: fresh(agent).state == AgentState.DONE)
    grid_here.until_quiet()
    assert [(a.path, a.state) for a in queries.tree(agent.pk)] == [("1", "done"), ("1.1", "done"), ("1.2", "abandoned")]
    assert [run.mode for run in queries.executions_of(agent.pk)] == ["resume", "work"]


def test_a_part_that_is_told_of_closing_words_goes_on_without_its_parent_hearing_of_it(office: Office):  # noqa: F811
    told = office.folder / "told"
    first = "echo part > part.txt; git add -A; git commit -qm 'Part. Fixes #999'"
    then = f"git merge -q --squash $(cat {told}); git commit -qm 'Part, see 999'"
    command = (
        "case $(head -1) in "
        f"*resume:*) {outcome_file('done')};; "
        f"*Part*) if [ -e {told} ]; then {then}; else {first}; git rev-parse HEAD > {told}; fi;; "
        f"*) {outcome_file('split', children=parts('a'))};; esac"
    )
    agent = office.take_on(command=command, acceptance=())
    start(agent)
    office.grid.until(lambda: fresh(agent).state == AgentState.REVIEW, timeout=60)
    office.settle()
    child, work = Agent.objects.get(parent=agent), told.read_text().strip()
    assert (child.state, child.attempts, child.conflict) == (AgentState.DONE, 0, {})
    assert (runs(child), runs(agent)) == (2, 2), "its parent ran to split and to resume only"
    assert "would close 999" in prompt(child) and f"git merge --squash {work}" in prompt(child)
    assert git(office.clone(), "show", f"origin/{agent.branch}:part.txt") == "part"
    messages = git(office.clone(), "log", "--format=%B", f"origin/main..origin/{agent.branch}")
    assert "Part, see 999" in messages and "Fixes" not in messages
    assert work not in git(office.clone(), "log", "--format=%H", f"origin/{agent.branch}")
    assert invariants.violations() == []


def test_two_children_that_change_the_same_line_are_resolved_by_the_later_one(grid_here, repository: Path):
    # The prompt names the commit to merge; a plain command reads it from there.
    child = (
        "P=$(mktemp); cat > $P; b=$(basename $(git branch --show-current)); "
        'if grep -q "^# agent-grid resolve" $P; then '
        'git merge -q $(grep -oE "[0-9a-f]{40}" $P | tail -1) || { printf "both\\n" > app.txt; git add -A; git commit -qm both; }; '
        "else sleep 0.5; echo $b > app.txt; touch $b.part; fi"
    )
    command = SPLITTER.replace(
        "if head -1 | grep -q resume", 'IN=$(cat); if echo "$IN" | head -1 | grep -q resume'
    ).format(
        resume=outcome_file("done"),
        split=outcome_file("split", children=parts("a", "b")),
        child=f'echo "$IN" | {{ {child}; }}',
    )
    agent = make_agent(repository, title="Split me", command=command)
    start(agent)
    grid_here.until(lambda: fresh(agent).state in (AgentState.DONE, AgentState.BLOCKED), timeout=40)
    grid_here.until_quiet()
    assert [(a.path, a.state) for a in queries.tree(agent.pk)] == [("1", "done"), ("1.1", "done"), ("1.2", "done")]
    assert git(repository, "show", f"{fresh(agent).branch}:app.txt") == "both"
    modes = [run.mode for child in queries.tree(agent.pk)[1:] for run in queries.executions_of(child.id)]
    assert sorted(modes) == ["resolve", "work", "work"]


def test_the_ledger_ends_with_what_was_used(grid_here, repository: Path):
    agent = make_agent(repository)
    start(agent)
    grid_here.until_quiet()
    for envelope in Envelope.objects.all():
        assert (envelope.live, envelope.executions_reserved, envelope.wall_reserved_seconds) == (0, 0, 0)
        assert envelope.executions_spent == 1


@pytest.mark.parametrize("text", ['{"outcome": "done"', '{"outcome": "won"}', "[]", '{"outcome": "split"}'])
def test_a_broken_report_fails_the_run_and_names_the_fault(grid_here, repository: Path, text: str):
    command = f"mkdir -p .agentgrid; printf '%s' '{text}' > .agentgrid/outcome.json; echo x > x.txt"
    agent = make_agent(repository, command=command)
    Agent.objects.filter(pk=agent.pk).update(attempts=2)
    start(agent)
    grid_here.until_quiet()
    assert fresh(agent).state == AgentState.FAILED
    assert "outcome.json" in fresh(agent).blocked_reason
