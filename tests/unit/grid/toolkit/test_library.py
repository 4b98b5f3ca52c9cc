"""The shipped definitions, toolsets, tiers, and layers over them."""

from __future__ import annotations

import pytest

from grid.toolkit.errors import DefinitionError
from grid.toolkit.library import library
from grid.toolkit.names import GRID_TOOLS, LOCAL_TOOLS, split
from grid.toolkit.sources import Source, read
from grid.toolkit.toolsets import ToolsetDefinition, ToolsetFile, resolve


def test_all_shipped_definitions_are_right_and_explain_themselves() -> None:
    shipped = library()
    shipped.check()
    assert shipped.names("profile") == ("base", "micro", "orchestrator", "planner", "worker")
    assert shipped.names("toolset") == ("editor", "orchestrator", "planner", "reader", "worker")
    for kind in ("profile", "toolset", "tiers"):
        for name in shipped.names(kind):
            assert shipped.about(kind, name)


def test_shipped_profiles_leave_adapter_and_model_to_the_repository() -> None:
    for name in library().names("profile"):
        profile = library().profile(name)
        assert (profile.adapter, profile.model, profile.sandbox) == ("", "", "")


def test_the_usual_profiles_allow_all_local_tools() -> None:
    for name in ("orchestrator", "worker"):
        assert library().profile(name).tools == LOCAL_TOOLS
    assert library().profile("orchestrator").grid_tools == GRID_TOOLS


def test_shipped_profiles_narrow_from_the_root_down() -> None:
    shipped = library()
    ranks, tools = [], []
    for name in ("orchestrator", "worker", "micro"):
        profile = shipped.profile(name)
        ranks.append(shipped.tiers().rank(profile.tier))
        tools.append(set(profile.tools or ()) | set(profile.grid_tools))
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == 3
    assert tools[0] > tools[1] > tools[2]
    assert "run_command" not in tools[2]


def test_no_shipped_planner_writes_files() -> None:
    assert not {"write_file", "edit_file"} & set(library().profile("planner").tools or ())


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("scripted", "small"),
        ("ollama:qwen3:8b", "small"),
        ("anthropic:claude-haiku-4-5-20251001", "small"),
        ("anthropic:claude-sonnet-4-5", "medium"),
        ("anthropic:claude-opus-4-5", "large"),
        ("anthropic:claude-of-next-year", "large"),
        ("openai:gpt-5-mini", "small"),
        ("openai:gpt-5.2", "medium"),
        ("openai:gpt-5-pro", "large"),
        ("openai:gpt-5.5-pro", "large"),
        ("openai:gpt-9", "large"),
        ("gemini:gemini-2.5-flash-lite", "small"),
        ("gemini:gemini-2.5-flash", "medium"),
        ("gemini:gemini-2.5-pro", "large"),
        ("nobody:knows", None),
        ("anthropic", None),
        ("", None),
    ],
)
def test_a_model_belongs_to_the_tier_with_the_longest_pattern(model: str, tier: str | None) -> None:
    tiers = library().tiers()
    assert tiers.rank_of(model) == (tiers.rank(tier) if tier else None)


def test_an_exact_name_counts_before_any_pattern() -> None:
    text = "tiers: {a: {rank: 1, models: ['x:abc']}, b: {rank: 2, models: ['x:abc*', 'x:*']}}"
    tiers = library({("tiers", "tiers"): text}).tiers()
    assert (tiers.rank_of("x:abc"), tiers.rank_of("x:abcd"), tiers.rank_of("x:a")) == (1, 2, 2)
    assert tiers.names() == ("a", "b")
    assert tiers.patterns(1) == {"x:abc"}


def test_a_tier_may_have_limits_of_its_own() -> None:
    text = "extends: tiers\ntiers: {local: {rank: 0, models: ['ollama:q*'], in_flight: 3, per_minute: 60}}"
    local, *others = library({("tiers", "tiers"): text}).tiers().all
    assert (local.in_flight, local.per_minute) == (3, 60)
    assert {(tier.in_flight, tier.per_minute) for tier in others} == {(None, None)}
    with pytest.raises(DefinitionError, match="in_flight"):
        library({("tiers", "tiers"): text.replace("in_flight: 3", "in_flight: 0")}).tiers()


def test_tiers_can_be_added_to_the_shipped_ones() -> None:
    text = "extends: tiers\ntiers: {local: {rank: 0, models: ['ollama:qwen3*']}}"
    tiers = library({("tiers", "tiers"): text}).tiers()
    assert tiers.names() == ("local", "small", "medium", "large")
    assert (tiers.rank_of("ollama:qwen3:8b"), tiers.rank_of("ollama:other")) == (0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiers: {a: {rank: 1, models: ['x:*']}, b: {rank: 1, models: []}}", "tiers.b: rank 1 is that of 'a'"),
        ("tiers: {a: {rank: 1, models: ['x:*']}, b: {rank: 2, models: ['x:*']}}", "'x:*' is in 'a' as well"),
        ("tiers: {a: {rank: 1, models: ['*']}}", "tiers.a.models, entry 1: is '*'"),
        ("tiers: {a: {rank: 1, models: ['x:a*b']}}", "tiers.a.models, entry 1: is 'x:a*b'"),
        ("tiers: {}", "tiers: "),
        ("extends: others\ntiers: {a: {rank: 1, models: []}}", "extends: can only be 'tiers'"),
    ],
)
def test_wrong_tiers_are_refused(text: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        library({("tiers", "tiers"): text}).check()
    assert words in str(caught.value)


def toolset(**texts: str) -> tuple[str, ...]:
    return library({("toolset", name): text for name, text in texts.items()}).toolset("mine")


def test_a_toolset_is_what_its_parents_hold_and_its_own_changes() -> None:
    assert toolset(
        mine="extends: [a, b]\nadd: [nudge]\nremove: [finish]", a="add: [read_file, finish]", b="add: [list_files]"
    ) == (
        "list_files",
        "read_file",
        "nudge",
    )


def test_a_toolset_may_reach_one_parent_in_two_ways() -> None:
    assert toolset(mine="extends: [a, b]", a="extends: [c]", b="extends: [c]", c="add: [read_file]") == ("read_file",)


def test_a_toolset_of_its_own_name_extends_the_shipped_one() -> None:
    changed = library({("toolset", "reader"): "extends: [reader]\nremove: [send_message]"})
    assert "send_message" not in changed.toolset("reader")
    assert "send_message" not in changed.toolset("worker")
    assert "read_file" in changed.toolset("reader")


def test_a_toolset_deeper_than_anybody_needs_is_refused() -> None:
    with pytest.raises(DefinitionError, match="extends: more than 20 levels deep"):
        toolset(mine="extends: [t0]", **{f"t{n}": f"extends: [t{n + 1}]" for n in range(3_000)}, t3000="")


def test_shared_parents_are_looked_at_once_however_many_ways_lead_there() -> None:
    asked: list[str] = []

    def find(name: str, by: ToolsetDefinition | None) -> ToolsetDefinition:
        asked.append(name)
        level = int(name[1:])
        below = f"[a{level + 1}, b{level + 1}]" if level < 15 else "[]"
        return read("toolset", name, 0, Source(where="test", text=f"extends: {below}\nadd: [nudge]"), ToolsetFile)

    assert resolve("a0", find) == ("nudge",)
    assert len(asked) == 1 + 2 + 14 * 4  # not 2 to the power of 15


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"mine": "extends: [minee]"}, "extends: there is no toolset 'minee'; did you mean 'mine'?"),
        ({"mine": "add: [nudge, raed_file]"}, "add: unknown tool 'raed_file'; did you mean 'read_file'?"),
        ({"mine": "remove: [raed_file]"}, "remove: unknown tool 'raed_file'; did you mean 'read_file'?"),
        ({"mine": "extends: [a]", "a": "extends: [mine]"}, "extends: goes in a circle: mine -> a -> mine; remove one"),
        ({"mine": "extends: reader"}, "extends: is 'reader'; must be a list, such as [one, two]"),
        ({"mine": "add: ['*']"}, "add, entry 1: is '*'"),
    ],
)
def test_wrong_toolsets_are_refused(texts: dict[str, str], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        toolset(**texts)
    assert words in str(caught.value)


def test_the_source_that_counts_is_shown_as_it_was_written() -> None:
    mine = Source(where="admin, version 3", text="extends: worker\n")
    changed = library({("profile", "worker"): mine})
    assert changed.source("profile", "worker") is mine
    assert "toolset: planner" in changed.source("profile", "planner").text
    assert changed.source("profile", "planner").where == "shipped/profiles/planner.yml"


@pytest.mark.parametrize("name", ["", "Worker", "a b", "../x", "9a", "a" * 61, "ä"])
def test_a_name_that_nobody_could_use_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="is no name of a profile"):
        library({("profile", name): ""})


def test_unknown_kinds_and_definitions_are_named() -> None:
    with pytest.raises(DefinitionError, match="there is no kind 'profil' of definition; did you mean 'profile'"):
        library({("profil", "x"): ""})
    with pytest.raises(DefinitionError, match="there is one table of tiers only"):
        library({("tiers", "x"): ""})
    with pytest.raises(DefinitionError, match="there is no profile 'mircro'; did you mean 'micro'"):
        library().profile("mircro")


def test_finish_is_in_both_halves_of_a_split() -> None:
    assert split(["nudge", "finish", "read_file"]) == (("read_file", "finish"), ("nudge", "finish"))
