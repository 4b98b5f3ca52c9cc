"""Profiles: inheritance, merging, origins, and complaints that name file, line and fix."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.toolkit.errors import DefinitionError
from grid.toolkit.library import library
from grid.toolkit.profiles import FrozenProfile
from grid.toolkit.sources import Source


def made(name: str = "child", /, **texts: str) -> FrozenProfile:
    """A profile among some given texts."""
    return library({("profile", key): text for key, text in texts.items()}).profile(name)


PARENT = """\
adapter: builtin
model: anthropic:claude-haiku-4-5
fallback_models: [ollama:qwen3]
toolset: worker
mixins: [trace, {retry: {attempts: 2}}]
limits: {requests: 10, tool_calls: 20}
budget: {usd: 1.5, tokens: 1000}
budget_share: 40
options: {a: 1, b: {deep: true}}
instructions: Be brief.
"""


def test_a_child_says_only_what_is_different() -> None:
    child = made(parent=PARENT, child="extends: parent\nmodel: ollama:qwen3:8b\n")

    assert child == FrozenProfile(
        name="child",
        chain=("child", "parent"),
        adapter="builtin",
        model="ollama:qwen3:8b",
        fallback_models=("ollama:qwen3",),
        tools=made("parent", parent=PARENT).tools,
        grid_tools=made("parent", parent=PARENT).grid_tools,
        mixins=({"trace": {}}, {"retry": {"attempts": 2}}),
        instructions="Be brief.",
        limits={"requests": 10, "tool_calls": 20},
        budget={"usd_micros": 1_500_000, "tokens": 1_000},
        budget_share=40,
        options={"a": 1, "b": {"deep": True}},
        origin=child.origin,
    )


def test_lists_replace_mappings_merge_and_mixins_extend() -> None:
    text = """\
extends: parent
fallback_models: []
mixins:
  - retry: {attempts: 5}
  - budget: {tool_calls: 7}
  - trace: false
limits: {requests: 3}
budget: {usd: 0.25}
options: {b: 2}
"""
    child = made(parent=PARENT, child=text)

    assert child.fallback_models == ()
    assert child.mixins == ({"retry": {"attempts": 5}}, {"budget": {"tool_calls": 7}})
    assert child.limits == {"requests": 3, "tool_calls": 20}
    assert child.budget == {"usd_micros": 250_000, "tokens": 1_000}
    assert child.options == {"a": 1, "b": 2}


def test_each_value_knows_where_it_was_said() -> None:
    child = made(parent=PARENT, child="extends: parent\nlimits:\n  requests: 3\nmixins:\n  - retry: {attempts: 5}\n")

    assert child.origin["model"] == "parent (profile parent:2)"
    assert child.origin["limits.requests"] == "child (profile child:3)"
    assert child.origin["limits.tool_calls"] == "parent (profile parent:6)"
    assert child.origin["budget.usd_micros"] == "parent (profile parent:7)"
    assert child.origin["mixins.retry"] == "child (profile child:5)"
    assert child.origin["mixins.trace"] == "parent (profile parent:5)"
    assert child.origin["tools"] == "parent (profile parent:4)"


def test_tools_come_from_the_toolset_and_are_adjusted() -> None:
    child = made(child="toolset: reader\nadd_tools: [write_file, nudge]\nremove_tools: [list_files, finish]\n")

    assert child.tools == ("read_file", "write_file", "finish")  # nobody can be kept from reporting
    assert "nudge" in child.grid_tools
    assert "finish" not in child.grid_tools


def test_without_a_toolset_all_local_tools_and_no_grid_tools_are_meant() -> None:
    child = made(child="model: scripted\n")
    assert child.tools is None
    assert child.grid_tools == ()
    assert "tools" not in child.as_json()


def test_removing_without_a_toolset_starts_from_all_local_tools() -> None:
    child = made(child="remove_tools: [run_command]\n")
    assert child.tools == ("list_files", "read_file", "write_file", "edit_file", "propose_children", "finish")


def test_its_own_name_as_parent_means_the_one_it_overrides() -> None:
    profile = library({("profile", "worker"): "extends: worker\nmodel: ollama:qwen3\n"}).profile("worker")
    shipped = library().profile("worker")

    assert profile.model == "ollama:qwen3"
    assert profile.chain == shipped.chain == ("worker", "base")
    assert profile.tools == shipped.tools
    assert profile.origin["tools"] == shipped.origin["tools"]


def test_layers_hide_each_other_and_reach_through() -> None:
    operators = {("profile", "base"): "extends: base\nsandbox: bwrap\n"}
    repository = {("profile", "base"): Source(where=".agentgrid.yml", value={"extends": "base", "prompt": "ours"})}

    worker = library(operators, repository).profile("worker")

    assert (worker.sandbox, worker.prompt) == ("bwrap", "ours")
    assert worker.origin["prompt"] == "base (.agentgrid.yml)"
    assert [list(mixin) for mixin in worker.mixins] == [["file_lock"], ["retry"]]


def test_a_part_of_a_file_keeps_its_lines() -> None:
    value = {"extends": "base", "limits": {"requests": 0}}
    source = Source(where=".agentgrid.yml", value=value, lines={("limits",): 30, ("limits", "requests"): 31})
    with pytest.raises(DefinitionError) as caught:
        library({("profile", "x"): source}).profile("x")
    assert str(caught.value).startswith("profile 'x': .agentgrid.yml:31: limits.requests: is 0; ")


WRONG = [
    (
        "extends: wroker",
        "profile 'child' (profile child:1): extends: there is no profile 'wroker'; did you mean 'worker'?",
    ),
    ("adaptor: builtin", "profile child:1: unknown key 'adaptor'; did you mean 'adapter'?"),
    ("extends: child", "profile 'child' (profile child:1): extends: goes in a circle: child -> child"),
    ("toolset: wurker", "(profile child:1): toolset: there is no toolset 'wurker'; did you mean 'worker'?"),
    (
        "add_tools:\n- read_file\n- raed_file",
        "(profile child:3): add_tools: unknown tool 'raed_file'; did you mean 'read_file'?",
    ),
    ("remove_tools: [x]", "remove_tools: unknown tool 'x'; there are: acquire_lock, answer_upgrade, "),
    ("mixins:\n- trace\n- rety: {}", "(profile child:3): mixins: unknown mixin 'rety'; did you mean 'retry'?"),
    ("mixins: [{retry: {attempt: 1}}]", "mixin 'retry': unknown option 'attempt'; did you mean 'attempts'?"),
    ("mixins: [{retry: false}]", "mixins: 'retry' is not there to be taken away; there are: none"),
    ("tier: lagre", "tier: unknown tier 'lagre'; did you mean 'large'?"),
    (
        "tier: small\nmodel: anthropic:claude-opus-4-5",
        "(profile child:2): model: 'anthropic:claude-opus-4-5' is of the tier 'large', above 'small'",
    ),
    ("tier: small\nfallback_models: [openai:gpt-5.2]", "fallback_models: 'openai:gpt-5.2' is of the tier 'medium'"),
    ("model: gpt-5", "profile child:1: model: is 'gpt-5'; "),
    ("limits: {request: 1}", "profile child:1: limits: unknown key 'request'; did you mean 'requests'?"),
    ("limits: 5", "limits: is 5; must be a mapping"),
    ("limits:\n  requests: '5'", "profile child:2: limits.requests: is '5'; must be a whole number"),
    ("budget: {usd: .inf}", "budget.usd: is '.inf'; must be a number"),
    ("budget_share: 101", "budget_share: is 101; "),
    ("model:", "model: has no value; give it one or remove the line"),
    ("[1]", "must be a mapping"),
    ("a: &x 1", "profile child:1: anchors"),
    ("model: scripted\nmodel: scripted", "profile child:2: the key 'model' is already given on line 1"),
    ("\t- x", "profile child:1: not valid YAML"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_wrong_profile_is_refused_with_its_place_and_the_fix(text: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        made(child=text)
    assert words in str(caught.value)


def test_a_long_circle_is_shown_whole() -> None:
    with pytest.raises(DefinitionError, match=r"extends: goes in a circle: a -> b -> c -> a; remove one of these"):
        made("a", a="extends: b", b="extends: c", c="extends: a")


def test_a_chain_that_never_ends_is_refused() -> None:
    chain = {f"p{number}": f"extends: p{number + 1}" for number in range(3_000)}
    with pytest.raises(DefinitionError, match=r"extends: more than 20 ancestors"):
        made("p0", **chain, p3000="")


def test_a_circle_over_layers_is_found() -> None:
    with pytest.raises(DefinitionError, match="goes in a circle: base -> worker -> base"):
        library({("profile", "base"): "extends: worker"}).profile("base")


SAID = st.fixed_dictionaries(
    {},
    optional={
        "adapter": st.sampled_from(["builtin", "claude"]),
        "model": st.sampled_from(["scripted", "ollama:qwen3:8b", "x:y"]),
        "fallback_models": st.lists(st.just("ollama:a"), max_size=2),
        "toolset": st.sampled_from(["reader", "worker", "planner", "orchestrator"]),
        "add_tools": st.lists(st.sampled_from(["nudge", "write_file"]), max_size=2),
        "remove_tools": st.lists(st.sampled_from(["read_file", "finish"]), max_size=2),
        "mixins": st.lists(st.sampled_from(["trace", {"retry": {"attempts": 2}}]), max_size=2),
        "limits": st.fixed_dictionaries({}, optional={"requests": st.integers(1, 9), "depth": st.integers(0, 3)}),
        "budget": st.fixed_dictionaries({}, optional={"usd": st.floats(0.1, 9), "tokens": st.integers(1, 9)}),
        "options": st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=3), max_size=3),
        "instructions": st.text("ab \n", max_size=5),
    },
)


@given(chain=st.lists(SAID, min_size=1, max_size=6))
def test_what_is_stored_is_read_back_and_has_an_origin_for_all_it_says(chain: list[dict[str, object]]) -> None:
    layer = {
        ("profile", f"p{number}"): Source(where="test", value=said | ({"extends": f"p{number - 1}"} if number else {}))
        for number, said in enumerate(chain)
    }
    name = f"p{len(chain) - 1}"

    profile = library(layer).profile(name)

    stored = json.loads(json.dumps(profile.as_json()))
    assert FrozenProfile.from_json(stored) == profile
    assert profile.chain == tuple(f"p{number}" for number in reversed(range(len(chain))))
    for key in ("limits", "budget", "options"):
        assert {f"{key}.{inner}" for inner in stored.get(key, {})} <= profile.origin.keys()
    for key in {"adapter", "model", "instructions", "tools"} & stored.keys():
        assert key in profile.origin
    assert {f"mixins.{one}" for mixin in profile.mixins for one in mixin} <= profile.origin.keys()


@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "chain", "tools", "limits", "x"]), inner, max_size=4)
        ),
    )
)
def test_a_stored_profile_that_is_none_is_refused_and_never_crashes(value: object) -> None:
    try:
        profile = FrozenProfile.from_json(value)
    except DefinitionError:
        return
    assert isinstance(value, dict)
    assert profile.name == value["name"]


def test_a_stored_profile_that_is_none_is_told_where() -> None:
    with pytest.raises(DefinitionError, match=r"this is no stored profile: look at chain, limits\.requests"):
        FrozenProfile.from_json({"name": "x", "limits": {"requests": "many"}})
