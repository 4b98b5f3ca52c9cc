"""A child never holds more than its parent, whatever anybody asks for."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.rules.capability import (
    ALL_TOOLS,
    EVERYTHING,
    MAX_PATTERNS,
    NOTHING,
    SPLITTING,
    Capability,
    CapabilityError,
    Level,
    allows_model,
    as_json,
    beyond,
    child_capability,
    from_json,
    in_words,
    intersect,
    is_within,
    next_rank,
    of_profile,
    rank_of,
    rule_for,
    tier_name,
    union,
    why_not,
    with_model,
)
from grid.public_toolkit import FrozenProfile, Tier, Tiers

TIERS = Tiers(
    (
        Tier(name="small", rank=1, models=("anthropic:claude-haiku-*", "openai:gpt-5-mini", "openai:gpt-5-mini-*")),
        Tier(name="standard", rank=2, models=("anthropic:claude-sonnet-*", "openai:gpt-5*")),
        Tier(name="strong", rank=3, models=("anthropic:claude-opus-*", "openai:gpt-5-pro*")),
    )
)
NO_TIERS = Tiers(())
# Few letters, so that patterns nest and meet often.
names = st.text("ab:", max_size=4)
patterns = st.one_of(names, names.map(lambda text: text + "*"), st.sampled_from(["*", "**", "a*b", "", "a\0", "ä*"]))
numbers = st.one_of(st.integers(-5, 12), st.sampled_from([-(10**30), 10**30, 2**63]))
tools = st.frozensets(st.sampled_from([*sorted(ALL_TOOLS), "*", "rm -rf", "", "nobody_knows_this"]), max_size=12)
capabilities = st.builds(
    Capability,
    tier=numbers,
    models=st.frozensets(patterns, max_size=6),
    tools=tools,
    children=numbers,
    depth=numbers,
    share=numbers,
)
models = st.text("ab:", min_size=1, max_size=5)


@given(parent=capabilities, profiles=st.lists(st.tuples(capabilities, capabilities), min_size=1, max_size=8))
def test_down_any_tree_a_child_stays_within_its_parent(
    parent: Capability, profiles: list[tuple[Capability, Capability]]
) -> None:
    chain = [parent]
    for profile, rule in profiles:
        child = child_capability(chain[-1], profile, rule)
        assert is_within(child, chain[-1])
        assert is_within(child, profile)
        assert is_within(child, rule)
        assert child.depth < max(1, chain[-1].depth)
        chain.append(child)
    assert is_within(chain[-1], chain[0])  # and so does every descendant


@given(parent=capabilities)
def test_a_profile_that_asks_for_everything_gets_what_its_parent_has(parent: Capability) -> None:
    greedy = Capability(
        tier=10**30,
        models=frozenset({"*", "**", "*:*"}),
        tools=frozenset({"*", *ALL_TOOLS}),
        children=10**30,
        depth=2**63,
        share=10**9,
    )
    assert child_capability(parent, greedy, EVERYTHING) == replace(
        intersect(parent, EVERYTHING), depth=max(0, parent.depth - 1)
    )


@given(parent=capabilities)
def test_negative_numbers_mean_nothing_and_never_more(parent: Capability) -> None:
    below = Capability(tier=-1, models=frozenset(), tools=frozenset(), children=-5, depth=-1, share=-100)
    child = child_capability(parent, below, EVERYTHING)
    assert (child.tier, child.children, child.depth, child.share) == (0, 0, 0, 0)
    assert not child.models and not child.tools


@given(a=capabilities, b=capabilities, model=models)
def test_the_meet_of_patterns_is_exact(a: Capability, b: Capability, model: str) -> None:
    both = allows_model(a, model, NO_TIERS) and allows_model(b, model, NO_TIERS)
    assert allows_model(intersect(a, b), model, NO_TIERS) == both
    assert allows_model(union(a, b), model, NO_TIERS) == (
        allows_model(a, model, NO_TIERS) or allows_model(b, model, NO_TIERS)
    )


@given(a=capabilities, b=capabilities, c=capabilities)
def test_meet_join_and_order_agree(a: Capability, b: Capability, c: Capability) -> None:
    assert intersect(a, b) == intersect(b, a)
    assert intersect(a, a) == a == union(a, a)
    assert intersect(intersect(a, b), c) == intersect(a, intersect(b, c))
    assert is_within(a, b) == (intersect(a, b) == a) == (union(a, b) == b)
    assert is_within(intersect(a, b), a) and is_within(a, union(a, b))
    assert (beyond(a, b) == NOTHING) == is_within(a, b)
    assert union(beyond(a, b), b) == union(a, b)


@given(a=capabilities, b=capabilities, model=models)
def test_within_means_that_every_model_of_the_child_is_one_of_the_parent(
    a: Capability, b: Capability, model: str
) -> None:
    tiers = Tiers((Tier(name="low", rank=1, models=("a*",)), Tier(name="high", rank=4, models=("ab*", "b*"))))
    if is_within(a, b) and allows_model(a, model, tiers):
        assert allows_model(b, model, tiers)


@given(capability=capabilities)
def test_json_and_back(capability: Capability) -> None:
    assert from_json(json.loads(json.dumps(as_json(capability)))) == capability
    assert as_json(from_json(as_json(capability))) == as_json(capability)


@given(
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["tier", "models", "tools", "children", "depth", "share", "x"]), inner, max_size=7
            ),
        ),
        max_leaves=12,
    ),
    base=capabilities,
)
def test_whatever_is_read_is_a_capability_or_refused_in_words(value: Any, base: Capability) -> None:
    with contextlib.suppress(CapabilityError):  # any other error fails the test
        read = from_json(value, base=base)
        assert is_within(intersect(read, base), base)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "a mapping"),
        ({"tier": 1}, "children is missing"),
        (as_json(EVERYTHING) | {"toolz": []}, "unknown key 'toolz'"),
        (as_json(EVERYTHING) | {"tier": True}, "tier must be a whole number"),
        (as_json(EVERYTHING) | {"tools": "finish"}, "tools must be a list"),
        (as_json(EVERYTHING) | {"models": ["a:"] * (MAX_PATTERNS + 1)}, "at most 2000"),
    ],
)
def test_what_is_wrong_is_named(value: object, said: str) -> None:
    with pytest.raises(CapabilityError, match=said):
        from_json(value)


def holding(*found: str, tier: int = 9) -> Capability:
    return replace(EVERYTHING, models=frozenset(found), tier=tier)


@pytest.mark.parametrize(
    ("model", "rank"),
    [
        ("anthropic:claude-haiku-4-5", 1),
        ("openai:gpt-5-mini", 1),
        ("openai:gpt-5.1", 2),
        ("openai:gpt-5-pro", 3),
        ("anthropic:claude-opus-4-1", 3),
        ("ollama:qwen3:8b", 3),  # nobody ranked it: it may be the strongest there is
    ],
)
def test_a_model_has_the_rank_of_the_pattern_that_names_it_best(model: str, rank: int) -> None:
    assert rank_of(model, TIERS) == rank


def test_a_model_above_the_tier_is_refused_though_a_pattern_covers_it() -> None:
    small = holding("openai:gpt-5*", tier=2)
    assert allows_model(small, "openai:gpt-5", TIERS)
    assert "of the tier strong, above standard" in why_not(small, "openai:gpt-5-pro", TIERS)
    assert why_not(small, "openai:gpt-4", TIERS) == "its models are openai:gpt-5*"


@pytest.mark.parametrize("model", ["", "*", "openai:gpt-5*", "openai:*", "openai:gpt\n5", "x" * 201])
def test_a_pattern_is_not_a_model(model: str) -> None:
    assert not allows_model(EVERYTHING, model, TIERS)


def test_a_profile_grants_what_it_names_and_all_of_what_it_does_not_name() -> None:
    assert of_profile(FrozenProfile(name="x", chain=("x",)), TIERS) == replace(
        EVERYTHING, tools=of_profile(FrozenProfile(name="x", chain=("x",)), TIERS).tools
    )
    profile = FrozenProfile(
        name="x",
        chain=("x",),
        tier="standard",
        models=("openai:*",),
        tools=("read_file", "finish"),
        grid_tools=("nudge",),
        limits={"children": 0, "depth": 1, "requests": 3},
        budget_share=20,
    )
    assert as_json(of_profile(profile, TIERS)) == {
        "tier": 2,
        "models": ["openai:*"],
        "tools": ["finish", "nudge", "read_file"],
        "children": 0,
        "depth": 1,
        "share": 20,
    }


@pytest.mark.parametrize("before", [holding("*", tier=2), holding("openai:*", "anthropic:claude-sonnet-*", tier=2)])
def test_one_more_model_is_that_model_alone(before: Capability) -> None:
    more = with_model(before, "anthropic:claude-opus-4-1", TIERS)
    assert allows_model(more, "anthropic:claude-opus-4-1", TIERS)
    for model in ("anthropic:claude-opus-4-2", "openai:gpt-5-pro", "ollama:qwen3:8b"):
        assert not allows_model(more, model, TIERS), model
    for model in ("anthropic:claude-sonnet-4-5", "openai:gpt-5-mini"):
        assert allows_model(more, model, TIERS), model
    assert with_model(before, "openai:gpt-5-mini", TIERS).tier == 2


def test_what_is_held_is_said_in_words() -> None:
    held = Capability(tier=2, models=frozenset({"b:*", "a:x"}), tools=frozenset(), children=0, depth=1, share=0)
    assert in_words(held, TIERS) == ["tier standard", "depth 1", "models a:x, b:*"]
    assert in_words(NOTHING, TIERS) == []


def test_tiers_have_names_and_an_order() -> None:
    assert [tier_name(rank, TIERS) for rank in (0, 1, 2, 9)] == ["none", "small", "standard", "strong"]
    assert [next_rank(rank, TIERS) for rank in (0, 1, 2, 3)] == [1, 2, 3, 3]


def test_the_rule_goes_by_depth_and_the_last_level_holds_for_all_below() -> None:
    levels = (Level(), Level(tier=2), Level(tier=1, without=frozenset({"run_command"})))
    tiers = [rule_for(levels, depth=depth, deepest=4, children=5).tier for depth in range(5)]
    assert tiers[1:] == [2, 1, 1, 1] and tiers[0] > 2
    third = rule_for(levels, depth=3, deepest=4, children=5)
    assert "run_command" not in third.tools and third.tools >= SPLITTING
    assert (third.depth, third.children) == (1, 5)


@pytest.mark.parametrize(("depth", "deepest", "children"), [(4, 4, 5), (5, 4, 5), (0, 0, 5), (1, 4, 0)])
def test_who_may_not_split_has_no_tool_for_it(depth: int, deepest: int, children: int) -> None:
    rule = rule_for((), depth=depth, deepest=deepest, children=children)
    assert not rule.tools & SPLITTING
    assert rule.children == 0
