"""Plans as people write them: read back as written, and refused with a line for each mistake."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from coordinator.documents import plan_nodes, plan_schema, plan_text
from coordinator.documents.plan_nodes import Node, fingerprint
from coordinator.documents.plan_schema import MAX_BYTES, PlanError
from coordinator.rules import plan_rules
from coordinator.rules.plan_rules import Present
from tests.unit.coordinator.plan_trees import trees

BASE = "0-0123456789abcdef"
HEAD = f"version: 1\nbase: {BASE}\nroot:\n  id: a1\n  goal: Top\n"


def problems_of(text: str | bytes) -> str:
    with pytest.raises(PlanError) as caught:
        checked(text)
    assert caught.value.problems
    return str(caught.value)


def checked(text: str | bytes) -> None:
    """As `plans` reads a document."""
    found = plan_rules.alone(plan_schema.parse(text))
    if found:
        raise PlanError(found)


def written(root: Node) -> str:
    return plan_text.dump(plan_text.exported(root, base=fingerprint(root, revision=0)), name="app#1", issue="1")


@given(trees())
@settings(max_examples=40, deadline=None)
def test_what_is_written_reads_back_the_same(root):
    text = written(root)
    read = plan_schema.parse(text)
    assert [plan_nodes.part(place.node, "body") for place in plan_nodes.walk(read.plan.root)] == [
        plan_nodes.part(place.node, "body") for place in plan_nodes.walk(root)
    ]
    assert plan_text.asked_for(read.plan.root) == plan_text.asked_for(root)
    assert fingerprint(read.plan.root, revision=0) == read.plan.base == fingerprint(root, revision=0)
    assert plan_rules.alone(read) == []
    assert plan_nodes.changed_since(read.plan, root) == []


def test_a_long_tree_of_full_texts_is_read():
    below = tuple(
        Node(id=f"a{n}", goal=f"Part {n}", body="line\n" * 50, acceptance=("true",) * 1, priority=n % 3)
        for n in range(2, 400)
    )
    groups = tuple(Node(id=f"a{1000 + n}", goal="Group", children=below[n : n + 80]) for n in range(0, len(below), 80))
    root = Node(id="a1", goal="Top", children=groups)
    assert len(plan_nodes.by_id(plan_schema.parse(written(root)).plan.root)) == 1 + len(groups) + len(below)


def test_every_mistake_is_told_at_once_each_with_its_line():
    said = problems_of(
        f"version: 2\nbase: {BASE}\nroot:\n  id: a1\n  goaal: x\n  acceptance: true\n  priority: high\n  children:\n"
        "  - new: p\n    goal: 3\n    budget: {share: 300, usd: -1, eur: 2}\n  - new: p\n    goal: y\n"
        "    files: [/etc/passwd, ../x, 'a\\b', C:/x, .git/hooks, ok/./then//]\n  - goal: nameless\n  - 7\nextra: 1\n"
    )
    lines = said.splitlines()
    assert int(lines[0].split()[2]) == len(lines) - 1 >= 17, said
    for line in (
        "line 1: must be `version: 1`",
        "line 5: unknown key 'goaal'; did you mean 'goal'?",
        "line 6: `acceptance` must be a list",
        "line 7: `priority` must be a whole number from -1000 to 1000",
        "line 10: `goal` must be text; put 3 in quotes",
        "line 11: `share` must be a whole number from 1 to 100",
        "line 11: `usd` must be a number of dollars",
        "line 11: unknown key 'eur'",
        "line 12: p is already on line 9",
        "line 14: `files`: '/etc/passwd' must be a path inside the repository",
        "line 14: `files`: '../x' must not leave the repository",
        "line 14: `files`: '.git/hooks' is git's own",
        "line 15: a node has neither `id`",
        "line 16: a node must be a mapping",
        "line 17: unknown key 'extra'",
    ):
        assert line in said, (line, said)


HOSTILE = {
    "an alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1: anchors (&name) and aliases"),
    "a tag": (f"{HEAD}  body: !!python/object/apply:os.system ['ls']\n", "line 6: tags (!name) are refused"),
    "a second document": (f"{HEAD}---\nversion: 1\n", "line 6"),
    "control characters": (f"{HEAD}  body: a\x07b\n", "line 6: the character U+0007 is not allowed"),
    "an escaped control character": (
        f'{HEAD}  body: "a\\x00b"\n',
        "line 6: the text holds the control character U+0000",
    ),
    "no UTF-8": (HEAD.encode() + b"  body: \xff\n", "line 6: this is not UTF-8"),
    "ten megabytes": (HEAD + "  body: " + "x" * 10_000_000, f"at most {MAX_BYTES:,} are read"),
    "a deep list": (HEAD + "  children: " + "[" * 5_000, "nested more than 24 levels deep"),
    "a deep tree": (
        HEAD
        + "".join(f"{'  ' * n}  children:\n{'  ' * n}  - new: n{n}\n{'  ' * n}    goal: g\n" for n in range(1, 40)),
        "line",
    ),
    "many values": (HEAD + "  acceptance: [" + "x," * 70_000 + "]", "more than 60,000 values"),
    "tabs": (f"{HEAD}\tbody: x\n", "line 6"),
    "a list": ("- version: 1\n", "this is no plan"),
    "nothing": ("", "this is no plan"),
    "a duplicate key": (f"{HEAD}  goal: again\n", "line 6: the key 'goal' is already given on line 5"),
    "no root": (f"version: 1\nbase: {BASE}\n", "`root` is missing"),
    "no base": ("version: 1\nroot:\n  id: a1\n  goal: x\n", "`base` must be as exported"),
    "a number for an id": (HEAD.replace("a1", "12"), "line 4: 12 is no id"),
    "a key that is a list": (f"{HEAD}  ? [a]\n  : b\n", "line 6: a key must be text"),
    "a name like an id": (f"{HEAD}  children:\n  - new: a7\n    goal: x\n", "line 7: 'a7' cannot be a name"),
    "a long title": (HEAD.replace("Top", "x" * 300), "line 5: `goal` has 300 characters; at most 256"),
    "a command that looks other than it is": (
        f"{HEAD}  acceptance: ['true\u202e # eslaf']\n",
        "line 6: `acceptance`: holds characters that nobody can see",
    ),
    "an id in wide digits": (HEAD.replace("a1", "a\uff11"), "is no id"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_plan_is_refused_in_words(name):
    text, told = HOSTILE[name]
    said = problems_of(text)
    assert told in said, said
    assert len(said) < 8_000


def test_the_same_node_twice_and_circles_are_refused():
    base = f"{HEAD}  children:\n"
    said = problems_of(f"{base}  - id: a2\n    goal: x\n  - id: a2\n    goal: y\n")
    assert "line 9: a2 is already on line 7; a node stands in the plan once" in said
    said = problems_of(
        f"{base}  - id: a2\n    goal: x\n    depends_on: [a3]\n  - id: a3\n    goal: y\n    depends_on: [a2]\n"
    )
    assert "these wait for each other for ever: a2 -> a3 -> a2" in said or "a3 -> a2 -> a3" in said
    said = problems_of(f"{base}  - id: a2\n    goal: x\n    depends_on: [a1, a2, a9]\n")
    assert "a2 cannot depend on a1, of which it is a part" in said and "a2 cannot wait for itself" in said
    assert "line 9: depends_on names a9, which is not in the plan" in said
    said = problems_of(f"{HEAD}  depends_on: [a2]\n  children:\n  - id: a2\n    goal: x\n")
    assert "a1 cannot depend on a2, which is a part of it" in said


def test_a_circle_over_parts_is_found():
    """A part of one waits for the other, and a part of that for the first: both would wait for ever."""
    said = problems_of(
        f"{HEAD}  children:\n  - id: a2\n    goal: x\n    children:\n    - id: a3\n      goal: y\n      depends_on: [a4]\n"
        "  - id: a4\n    goal: z\n    children:\n    - id: a5\n      goal: w\n      depends_on: [a2]\n"
    )
    assert "wait for each other for ever" in said


def test_shares_levels_and_widths_have_bounds():
    below = "".join(f"  - new: n{n}\n    goal: g\n    budget: {{share: 30}}\n" for n in range(4))
    assert "line 6: the budget shares below a1 are 120 % together" in problems_of(f"{HEAD}  children:\n{below}")
    wide = "".join(f"  - new: n{n}\n    goal: g\n" for n in range(101))
    assert "line 6: a1 has 101 children; at most 100" in problems_of(f"{HEAD}  children:\n{wide}")
    deep = "".join(f"{'  ' * n}children:\n{'  ' * n}- new: n{n}\n{'  ' * n}  goal: g\n" for n in range(1, 9))
    assert "n8 is on level 9; at most 8" in problems_of(HEAD + deep)


def present(**more: object) -> Present:
    return Present(**{"state": {}, "profiles": ("worker", "orchestrator"), **more})


def test_what_is_not_of_this_tree_is_named():
    draft = plan_schema.parse(
        f"{HEAD}  children:\n  - id: a7\n    goal: x\n  - id: a8\n    goal: y\n    profile: workr\n  - id: a9\n    goal: z\n"
    )
    now = Node(id="a1", goal="Top", children=(Node(id="a8", goal="y"),))
    said = [str(problem) for problem in plan_rules.beside(draft, now, present(gone=["a9"]))]
    assert any("a7 is no node of this tree; a new one has `new: some-name`" in one for one in said)
    assert any("a9 was cancelled; take it out of the plan, or `manage.py retry` it first" in one for one in said)
    assert any("there is no profile 'workr'; did you mean 'worker'?" in one for one in said)
    other = Node(id="a2", goal="Top")
    assert any("the root must stay a2" in problem.message for problem in plan_rules.beside(draft, other, present()))
    deep = plan_rules.beside(draft, now, present(levels_above=7))
    assert any("would be on level 9; at most 8" in problem.message for problem in deep)
    full = plan_rules.beside(draft, now, present(closed_children={"a1": 98}))
    assert any("2 are possible, cancelled ones count" in problem.message for problem in full)


def test_an_unfinished_edit_is_told_by_what_changed_since():
    old = Node(id="a1", goal="Top", children=(Node(id="a2", goal="x"), Node(id="a3", goal="y")))
    new = Node(id="a1", goal="Top", children=(Node(id="a2", goal="other"), Node(id="a4", goal="z")))
    plan = plan_text.exported(old, base=fingerprint(old, revision=0))
    assert plan_nodes.changed_since(plan, new) == ["a4 is new (z)", "a3 is gone", "a2 was changed (other)"]
    assert fingerprint(old, revision=0) != fingerprint(old, revision=1)


def test_a_document_of_mistakes_costs_no_more_than_its_size():
    """Each guess at what was meant compares with every name there is, and may list them all."""
    names = [f"{n:03}".translate(str.maketrans("0123456789", "abcdefghij")) + "x" * 30 for n in range(200)]
    unknown = ", ".join(f"q{n}-" for n in range(45))
    text = (
        HEAD + "  children:\n" + "".join(f"  - {{new: {name}, goal: g, depends_on: [{unknown}]}}\n" for name in names)
    )
    with pytest.raises(PlanError) as caught:
        checked(text)
    assert len(caught.value.problems) == 9_001
    assert sum(len(problem.message) for problem in caught.value.problems) < 10 * len(text)
    text = HEAD + "".join(f"  gaol{n}: x\n" for n in range(2_000))
    with pytest.raises(PlanError) as caught:
        checked(text)
    assert sum("did you mean" in problem.message for problem in caught.value.problems) <= 50
