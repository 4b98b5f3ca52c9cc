"""Who set what: people's requirements stay whatever agents plan, and agents' own ones are theirs to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.documents.plan_nodes import Node
from coordinator.rules import plan_origins
from coordinator.rules.plan_origins import Given

ANN, AGENT = "admin:ann", "agent:12"
EARLY, LATE = "2026-11-28T10:00:00+00:00", "2026-11-28T11:00:00+00:00"
BARE = Node(id="a13", goal="A part")
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3, unique=True).map(tuple)


def after(held: dict[str, Any], old: Node | None, new: Node, actor: str = ANN, at: str = EARLY) -> dict[str, Any]:
    return plan_origins.after(held, old, new, actor=actor, at=at)


def lost(held: dict[str, Any], new: Node, **more: Any) -> list[str]:
    return [key for key, _ in plan_origins.lost(held, new, **more)]


def test_what_people_add_is_theirs_and_what_agents_add_is_not():
    first = replace(BARE, acceptance=("true",))
    assert after({}, None, first, AGENT) == {}
    second = replace(first, acceptance=("true", "pytest -q"), files=("a.py",))
    held = after({}, first, second)
    assert held == {"acceptance": {"pytest -q": ANN}, "files": {"a.py": ANN}}, "what was there is not theirs"
    third = replace(second, acceptance=("pytest -q", "mypy"))
    assert after(held, second, third, AGENT) == held
    assert after(held, third, replace(third, files=())) == {"acceptance": {"pytest -q": ANN}}


def test_an_agent_adds_and_is_told_who_set_what_it_takes_out():
    held = {"acceptance": {"pytest -q": ANN}, "footprint": {"src/**": "cli:root"}}
    kept = replace(BARE, acceptance=("mypy", "pytest -q"), footprint=("src/**", "docs/**"))
    assert lost(held, kept) == []
    found = dict(plan_origins.lost(held, BARE))
    assert found.keys() == {"acceptance", "footprint"}
    assert "'pytest -q' of the acceptance commands of a13 was set by a person (admin:ann)" in found["acceptance"]
    assert "send_message" in found["acceptance"] and "`blocked`" in found["acceptance"]
    assert lost(held, replace(kept, footprint=("src/a/**",))) == ["footprint"]


def test_money_may_be_lowered_and_comes_back_no_higher():
    five = replace(BARE, usd_micros=5_000_000, share=40)
    held = after({}, BARE, five)
    assert lost(held, five) == [] == lost(held, replace(five, usd_micros=1, share=1))
    assert lost(held, replace(five, usd_micros=5_000_001)) == ["budget"] == lost(held, replace(five, share=41))
    assert lost(held, replace(five, usd_micros=None)) == ["budget"], "taken out, nothing bounds it any more"
    lower = replace(five, usd_micros=2_000_000)
    assert after(held, five, lower, AGENT) == held
    assert lost(after(held, five, lower, AGENT), five) == []
    assert after(held, lower, replace(lower, share=50))["budget"]["usd_micros"]["most"] == 5_000_000
    assert after(held, five, replace(five, usd_micros=None))["budget"].keys() == {"share"}


def test_the_last_word_of_a_person_about_money_counts():
    held = after({}, BARE, replace(BARE, usd_micros=5_000_000), at=EARLY)
    raised, seven = Given(usd_micros=10_000_000, by="cli:root", at=LATE), replace(BARE, usd_micros=7_000_000)
    assert lost(held, seven) == ["budget"]
    assert lost(held, seven, given=raised, limit=7_000_000) == []
    assert lost(held, seven, given=raised, limit=10_000_001) == ["budget"]
    before = replace(raised, at="2026-11-28T09:00:00+00:00")
    assert lost(held, seven, given=before, limit=7_000_000) == ["budget"]
    assert lost({}, seven, given=raised, limit=None) == []


def test_what_a_person_requires_of_a_node_keeps_it_in_the_plan():
    assert plan_origins.not_for_cancelling("a13", {}) == ""
    said = plan_origins.not_for_cancelling("a13", after({}, BARE, replace(BARE, files=("a",), share=3)))
    assert said.startswith("a13 cannot be taken out by an agent: a person (admin:ann) set its required files, budget.")


def test_many_and_long_entries_are_told_in_few_words():
    many = {"acceptance": {f"{'x' * 1_900} {n}\n": ANN for n in range(50)}}
    found = list(plan_origins.lost(many, BARE))
    assert len(found) == 6 and "45 more" in found[-1][1]
    assert all(len(message) < 500 and "\n" not in message for _, message in found)


def test_commands_and_files_of_people_are_looked_at_before_an_agent_can_make_them_true():
    spec = {
        "acceptance": ["touch report", "pytest -q", "rm -r tests"],
        "files": ["made", "report"],
        "set_by": {"acceptance": {"pytest -q": ANN}, "files": {"report": ANN}},
    }
    assert plan_origins.checks(spec) == [
        "pytest -q",
        "test -e ./report",
        "touch report",
        "rm -r tests",
        "test -e ./made",
    ]
    assert plan_origins.checks({}) == []


@pytest.mark.parametrize("name", ["acceptance", "files", "footprint"])
@given(edits=st.lists(st.tuples(st.booleans(), PATHS), max_size=8))
def test_whatever_order_they_come_in_a_persons_entry_goes_by_a_person_only(name, edits):
    node, held = BARE, dict[str, Any]()
    theirs: set[str] = set()
    for by_person, wanted in edits:
        new = replace(node, **{name: wanted})
        if not by_person and lost(held, new):
            assert theirs - set(wanted), "nothing else is refused"
            continue
        assert by_person or theirs <= set(wanted)
        held = after(held, node, new, ANN if by_person else AGENT)
        added = set(wanted) - set(getattr(node, name)) if by_person else set()
        theirs = (theirs | added) & set(wanted)
        node = new
        assert set(held.get(name, {})) == theirs
