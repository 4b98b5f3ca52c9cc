"""Templates of the library: who may save which, whose counts, and that a bad one costs no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from coordinator.care import prompt_library
from coordinator.launching import dispatch
from coordinator.models import Agent, AuditEntry, Prompt
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, NotAllowedError
from coordinator.public_types import Answer, Source
from grid import public_api as grid
from grid import public_events as grid_events
from tests.factories import make_agent, make_child
from tests.integration.coordinator.at_once import together
from tests.integration.coordinator.command_rows import run

pytestmark = pytest.mark.django_db
BODY = "Check {{ key }} twice.\n{% include '_issue.txt' %}\n{% include '_report.txt' %}\n"


def by_operator(name: str = "review", body: str = BODY, **more: Any) -> prompt_library.Template:
    return prompt_library.save(name=name, body=body, author="cli:me", **more)


def by_agent(name: str = "review", body: str = BODY, *, tree: int = 1, **more: Any) -> prompt_library.Template:
    return prompt_library.save_as_agent(agent_id=5, tree_id=tree, execution_id=uuid4(), name=name, body=body, **more)


def launched(agent: Agent, prompt: str) -> str:
    """Launch the agent with a wish for a template; returns its prompt."""
    Agent.objects.filter(pk=agent.pk).update(spec={**agent.spec, "prompt": prompt})
    row = dispatch.nudge(agent.pk, source=Source.OPERATOR)
    assert row.answer == Answer.ADMITTED and row.execution_id is not None
    agent.refresh_from_db()
    return grid.prompt_of(row.execution_id)


def notes(agent: Agent) -> list[str]:
    return [event.body["why"] for event in grid_events.read_stream(agent.stream) if event.kind == "agent.wish-not-met"]


def test_a_tree_sees_its_own_templates_then_everybodys_then_the_shipped_ones() -> None:
    by_operator(description="for reviews")
    mine = by_agent(body="Mine {{ key }}", tree=1)
    by_agent("other", tree=2)
    assert prompt_library.get("review", tree_id=1) == mine
    assert prompt_library.get("review", tree_id=2).author == "cli:me"
    assert prompt_library.get("work", tree_id=1).author == "shipped"
    names = {(row.name, row.scope) for row in prompt_library.visible(1)}
    assert names == {("review", "tree:1"), ("work", ""), ("resume", ""), ("resolve", "")}
    assert len(prompt_library.visible()) == 6
    with pytest.raises(AgentNotFoundError, match="no prompt 'other'; there are: resolve, resume, review, work"):
        prompt_library.get("other", tree_id=1)
    with pytest.raises(AgentNotFoundError, match="in version 7"):
        prompt_library.get("review", tree_id=1, version=7)
    assert mine.provenance == "review version 1 by agent:5 for tree:1"


def test_versions_are_kept_and_an_old_base_is_refused() -> None:
    by_agent(body="one")
    by_agent(body="two", base_version=1)
    with pytest.raises(NotAllowedError, match="version 2 is current, not 1"):
        by_agent(body="three", base_version=1)
    assert [row.body for row in prompt_library.versions("review", scope="tree:1")] == ["two", "one"]
    assert prompt_library.get("review", tree_id=1, version=1).body == "one"
    assert Prompt.objects.filter(is_current=True).count() == 1


def test_agents_change_nothing_that_is_frozen_or_everybodys() -> None:
    by_operator()
    by_agent("own")
    prompt_library.freeze("own", scope="tree:1", is_frozen=True, actor="cli:me")
    prompt_library.freeze("review", scope="", is_frozen=True, actor="cli:me")
    for name in ("own", "review"):
        with pytest.raises(NotAllowedError, match=f"an operator has frozen the prompt '{name}'"):
            by_agent(name)
    for name in ("work", "resume", "resolve"):
        with pytest.raises(NotAllowedError, match="every agent's usual prompt"):
            by_agent(name)
    assert by_operator(body="new").is_frozen  # an operator may, and it stays frozen
    prompt_library.freeze("own", scope="tree:1", is_frozen=False, actor="cli:me")
    assert by_agent("own").version == 2
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "save_prompt",
        "freeze_prompt",
        "freeze_prompt",
        "save_prompt",
        "unfreeze_prompt",
    ]
    with pytest.raises(AgentNotFoundError):
        prompt_library.freeze("work", scope="", is_frozen=True, actor="cli:me")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Not a name"}, "is no name of a prompt"),
        ({"name": "x" * 61}, "is no name of a prompt"),
        ({"body": "{{ range(10**9) }}"}, "line 1: "),
        ({"body": "\n{% include 'secrets.txt' %}"}, "line 2: there is no template of that name"),
        ({"body": ""}, "the template is empty"),
        ({"body": "x" * 65_537}, "at most 65,536"),
        ({"description": "two\nlines"}, "one line"),
    ],
)
def test_a_template_that_is_not_good_is_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        by_agent(**{"name": "mine", "body": BODY, **change})
    with pytest.raises(InvalidInputError, match="is no scope"):
        by_operator(scope="tree:1; drop")
    assert not Prompt.objects.exists()


def test_a_tree_cannot_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_library, "NAMES_PER_TREE", 3)
    monkeypatch.setattr(prompt_library, "VERSIONS_PER_TREE", 5)
    for number in range(3):
        by_agent(f"p{number}")
    with pytest.raises(NotAllowedError, match="a tree keeps"):
        by_agent("p3")
    by_agent("p0")
    by_agent("p0")
    with pytest.raises(NotAllowedError, match="a tree keeps"):
        by_agent("p0")
    by_agent("p3", tree=2)


def test_an_agent_runs_with_the_template_of_its_wish(repository: Path) -> None:
    root = make_agent(repository, title="Fix the door")
    by_agent("careful", tree=root.pk)
    prompt = launched(root, "careful")
    lines = prompt.splitlines()
    assert lines[0] == "# agent-grid work: 1 Fix the door"
    assert "Check 1 twice." in lines and "## The issue" in lines
    assert notes(root) == []
    said = run("explain", "1", "--prompt")
    assert said.out.splitlines()[0] == f"(template: careful version 1 by agent:5 for tree:{root.pk})"
    assert run("explain", "1", "--prompt", "--json").json["prompt"] == prompt


def test_what_fails_when_it_is_filled_costs_no_run(repository: Path) -> None:
    root = make_agent(repository)
    by_agent("broken", body="{{ nobody_knows }}", tree=root.pk)
    prompt = launched(root, "broken")
    assert "You are an agent of agent-grid." in prompt  # the shipped one
    (note,) = notes(root)
    assert "broken version 1 by agent:5" in note and "nobody_knows" in note
    child = make_child(root)
    assert "You are an agent of agent-grid." in launched(child, "not-there")
    assert "no prompt 'not-there'" in notes(child)[0]


def test_a_stored_template_that_breaks_the_rules_by_now_is_not_filled(repository: Path) -> None:
    root = make_agent(repository)
    scope = prompt_library.tree_scope(root.pk)
    Prompt.objects.create(name="old", scope=scope, version=1, body="{{ 'x' * 10**10 }}", author="agent:1")
    assert "You are an agent of agent-grid." in launched(root, "old")
    assert "mul expressions are not allowed" in notes(root)[0]


def test_operators_may_replace_the_shipped_prompt_of_a_mode(repository: Path) -> None:
    by_operator("work", "Ours. {{ title }}")
    assert "Ours. Do it" in launched(make_agent(repository), "")
    by_operator("work", "{{ broken }}")
    other = make_agent(repository, title="Other")
    assert "You are an agent of agent-grid." in launched(other, "")
    assert "work version 2 by cli:me" in notes(other)[0]


def test_in_other_modes_a_template_of_its_own_is_used_if_there_is_one(repository: Path) -> None:
    root = make_agent(repository)
    by_agent("careful", tree=root.pk)
    conflict = {"paths": ["a.txt"], "commit": "0" * 40}
    Agent.objects.filter(pk=root.pk).update(next_mode="resolve", conflict=conflict)
    assert "cannot be merged" in launched(root, "careful")
    assert notes(root) == []
    other = make_agent(repository, title="Other")
    by_agent("careful-resolve", body="Merge {{ conflict.commit }}.", tree=other.pk)
    Agent.objects.filter(pk=other.pk).update(next_mode="resolve", conflict=conflict)
    assert f"Merge {'0' * 40}." in launched(other, "careful")


@pytest.mark.django_db(transaction=True)
def test_of_several_who_save_at_once_one_wins_and_a_freeze_is_not_overtaken() -> None:
    by_agent(body="zero")
    answers = together(6, lambda n: by_agent(body=f"by {n}", base_version=1))
    assert sum(isinstance(answer, prompt_library.Template) for answer in answers) == 1
    assert Prompt.objects.filter(is_current=True).count() == 1

    def act(number: int) -> object:
        if number == 0:
            return prompt_library.freeze("review", scope="tree:1", is_frozen=True, actor="cli:me")
        return by_agent(body=f"later {number}")

    together(4, act)
    current = Prompt.objects.get(is_current=True)
    assert current.is_frozen == AuditEntry.objects.filter(action="freeze_prompt").exists()
    if current.is_frozen:
        with pytest.raises(NotAllowedError):
            by_agent(body="after all")


# --- by commands ----------------------------------------------------------------------------------------------------


def test_operators_list_show_save_and_freeze(repository: Path, tmp_path: Path) -> None:
    root = make_agent(repository)
    by_agent("mine", body="A \x7fstrange one: {{ title }}".replace("\x7f", ""), tree=root.pk)
    said = run("prompt", "list")
    assert "work" in said.out and f"tree:{root.pk}" in said.out and "agent:5" in said.out
    assert "A strange one" in run("prompt", "show", "mine", "--tree", "1").out
    assert run("prompt", "show", "mine").code == 2
    assert run("prompt", "show").code == 2
    assert run("prompt", "show", "work", "--json").json["prompt"]["author"] == "shipped"
    file = tmp_path / "review.txt"
    file.write_text("Look at {{ key }}.")
    said = run("prompt", "save", "review", str(file), "--base", "0", "--description", "ours")
    assert (said.code, said.out.split(" by ")[0]) == (0, "saved: review version 1")
    assert run("prompt", "save", "review", str(file), "--base", "0").code == 1
    assert "review version 1" in run("prompt", "show", "review", "--number", "1").out
    file.write_text("{{ open('/etc/passwd') }}")
    broken = run("prompt", "save", "review", str(file))
    assert broken.code == 2 and "calls are not allowed" in broken.error
    assert "frozen: mine version 1" in run("prompt", "freeze", "mine", "--tree", "1").out
    assert run("prompt", "list", "--tree", "1", "--json").json["prompts"][0]["is_frozen"]
    assert "unfrozen: mine" in run("prompt", "unfreeze", "mine", "--tree", "1").out
    assert len(run("prompt", "versions", "review", "--json").json["prompts"]) == 1
