"""The policy file: what it may say, and how it is refused."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents.policy import FleetLimits, effective
from coordinator.documents.policy_file import (
    MAX_BYTES,
    DepthLevel,
    Policy,
    PolicyError,
    dump_policy,
    load_policy,
    parse_policy,
)
from coordinator.documents.policy_schema import Limits as LimitsModel

DOCS = Path(__file__).parents[3] / "docs" / "policy-file.md"
FLEET = FleetLimits(
    max_live_per_repository=20,
    max_live_per_tree=10,
    max_depth=3,
    max_children=10,
    max_open_descendants=50,
    max_attempts=3,
    tree_executions=100,
    tree_wall_seconds=1000,
)
FULL = b"""\
version: 1
agent:
  adapter: command
  options: {command: "make fix", tries: 2, ratio: 0.5, flags: [true, null]}
setup: ["pip install -e ."]
acceptance:
  - pytest -q
  - |
    ruff check .
    ruff format --check .
limits:
  wall_seconds: 60
  children: 0
"""


def problems_of(data: bytes | str) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_policy(data if isinstance(data, bytes) else data.encode())
    assert caught.value.problems
    return str(caught.value)


def test_a_full_file_is_read():
    assert parse_policy(FULL) == Policy(
        adapter="command",
        options={"command": "make fix", "tries": 2, "ratio": 0.5, "flags": [True, None]},
        setup=("pip install -e .",),
        acceptance=("pytest -q", "ruff check .\nruff format --check ."),
        limits={"wall_seconds": 60, "children": 0},
    )


@pytest.mark.parametrize("data", [b"", b"\n", b"# nothing yet\n", b"{}", b"version: 1", b"\xef\xbb\xbfversion: 1\r\n"])
def test_a_file_may_say_nothing(data):
    assert parse_policy(data) == Policy()


def test_every_problem_is_listed_with_its_line_and_the_fix():
    text = """\
version: 2
acceptence: [pytest]
agent:
  adapter: Built In
  optoins: {}
setup: pip install .
acceptance:
  - pytest
  - 5
  - ""
limits:
  attempts: 100
  children: "3"
  depth:
  memory_bytes: 512
  processes: true
"""
    assert problems_of(text).splitlines() == [
        ".agentgrid.yml: 12 problems",
        "  line 1: version: is 2; must be at most 1",
        "  line 2: unknown key 'acceptence'; did you mean 'acceptance'?",
        "  line 4: agent.adapter: must be a name in lower case, such as builtin or command",
        "  line 5: agent: unknown key 'optoins'; did you mean 'options'?",
        "  line 6: setup: is 'pip install .'; must be a list of commands, such as [\"pytest -q\"]",
        "  line 9: acceptance, entry 2: is 5; must be text; put it in quotes",
        "  line 10: acceptance, entry 3: is an empty command; remove it",
        "  line 12: limits.attempts: is 100; must be at most 20",
        "  line 13: limits.children: is '3'; must be a whole number without quotes, such as 10",
        "  line 14: limits.depth: has no value; give it one or remove the line",
        "  line 15: limits.memory_bytes: is 512; must be at least 33,554,432",
        "  line 16: limits.processes: is true; must be a whole number without quotes, such as 10",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("limits:\n  attempts: 2\n  depth: 1\n  attempts: 3", "line 4: the key 'attempts' is already given on line 2"),
        ("a: &x [1]\n", "line 1: anchors (&name) and aliases (*name) are refused"),
        ("setup: *x\n", "line 1: anchors (&name) and aliases (*name) are refused"),
        ("setup: !!python/object/apply:os.system [id]\n", "line 1: tags (!name) are refused"),
        ("setup: ! text\n", "line 1: tags (!name) are refused"),
        ("version: 1\n---\nversion: 1\n", "line 2: not valid YAML: expected a single document"),
        ("limits:\n\tattempts: 1\n", "indent with spaces, not with tabs"),
        ("setup: [a,\n", "not valid YAML"),
        ("version: 1\nsetup: [\"a\0b\"]\n", "line 2: the character U+0000 is not allowed; remove it"),
        ('version: 1\nsetup: ["a\\0b"]\n', "line 2: the text holds the control character U+0000; remove it"),
        ('setup: ["\\ud800"]\n', "line 1: the text holds the control character U+D800"),
        ('\nsetup: ["\\U99999999"]\n', "line 2: this escape names no character"),
        ('setup: ["\\uD83D', "not valid YAML: while scanning a quoted scalar"),
        (b"version: 1\nsetup: [\xff]\n", "line 2: this is not UTF-8"),
        (b"\xff\xfev\0e\0", "line 1: this is not UTF-8"),
        ("limits: {attempts: " + "9" * 5000 + "}", "line 1: the number '9999"),
        ("agent: {options: {ratio: 1e999}}", "line 1: the number '1e999' is too large"),
        ("[]", "must be a mapping"),
        ("pytest", "must be a mapping"),
        ("limits: [1]", "line 1: limits: must be a mapping"),
        ("? [a]\n: b\n", "line 1: a key must be text"),
        ("setup:\n- 'pip install x\u202e'\n", "line 2: setup, entry 1: holds characters that nobody can see"),
        ("setup: ['" + "x" * 2001 + "']", "has 2,001 characters; at most 2,000 are read. Put it in a script"),
        ("setup: [" + "x, " * 21 + "]", "line 1: setup: has 21 entries; at most 20 are read"),
        ("limits: {concurrency: 0}", "limits.concurrency: is 0; must be at least 1"),
        ("limits: {concurrency: -1}", "limits.concurrency: is -1; must be at least 1"),
        ("limits: {concurrency: 1.0}", "limits.concurrency: is 1.0; must be a whole number"),
        ("limits: {concurrency: 1:30}", "limits.concurrency: is '1:30'; must be a whole number"),
        ("version: true", "version: is true; must be a whole number"),
        ("on: push", "line 1: unknown key 'on'; known here: version, agent, setup, acceptance, limits"),
        ("version: 1\n\x85setup: 1", "setup: is 1; must be a list"),
    ],
)  # fmt: skip
def test_what_is_refused(data, said):
    assert said in problems_of(data)


BOMBS = {
    "billion laughs": "a: &a [x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p}]\n" for p, c in itertools.pairwise("abcdefghi")),
    "depth, flow": "[" * 60_000,
    "depth, flow mappings": "{a: " * 16_000,
    "depth, block": "- " * 30_000,
    "depth, keys": "? " * 30_000,
    "width": "agent: {options: {x: [" + "1," * 30_000 + "]}}",
    "keys": "{" + "".join(f"k{i}: 1," for i in range(6_000)) + "}",
    "problems": "".join(f"k{i}: 1\n" for i in range(2_000)),
    "one key": "x" * 60_000 + ": 1",
    "one word": "x" * 60_000,
    "quotes": "setup: ['" + "''" * 30_000 + "']",
    "lines": "\n" * 65_000 + "x",
    "comments": "#\n" * 32_000 + "x",
    "anchors": "&a " * 20_000,
    "directives": "%YAML 1.1\n" * 6_000,
    "tags": "!" * 60_000,
    "colons": ": " * 30_000,
    "dashes": "-" * 60_000,
    "documents": "---\n" * 16_000,
    "block text": "setup: |\n" + " \n" * 30_000,
    "digits": "version: " + "9" * 60_000,
    "decimals": "version: " + "9" * 30_000 + "." + "9" * 30_000 + "x",
    "merge keys": "<<: {a: 1}",
    "huge": "x" * 10_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_is_refused_soon_and_shortly(name):
    started = time.monotonic()
    said = problems_of(BOMBS[name])
    assert time.monotonic() - started < 5
    assert len(said) < 12_000


def test_a_file_at_the_limit_is_read_and_one_byte_more_is_not():
    text = b"version: 1\n#".ljust(MAX_BYTES, b"x")
    assert parse_policy(text) == Policy()
    assert "at most 65,536 are read" in problems_of(text + b"x")


def test_many_problems_are_counted_but_not_all_shown():
    said = problems_of("".join(f"k{i}: 1\n" for i in range(60)))
    assert "60 problems" in said
    assert said.endswith("and 10 more")


@settings(deadline=None)  # a busy machine is no bug
@given(
    st.one_of(
        st.binary(max_size=300), st.text(alphabet="[]{}:,-?&*!|>'\"%@`# \n\tab1.\\u0", max_size=120).map(str.encode)
    )
)
def test_any_bytes_are_a_policy_or_a_policy_error(data):  # fmt: skip
    policy = parsed_or_none(data)
    if policy is None:
        assert "line" in problems_of(data) or "must be a mapping" in problems_of(data)
    else:
        assert load_policy(json.loads(json.dumps(dump_policy(policy)))) == policy


def parsed_or_none(data: bytes) -> Policy | None:
    try:
        return parse_policy(data)
    except PolicyError:
        return None


def test_a_policy_survives_storage():
    policy = parse_policy(FULL)
    assert load_policy(json.loads(json.dumps(dump_policy(policy)))) == policy
    assert load_policy(dump_policy(Policy())) == Policy()


@pytest.mark.parametrize("value", [None, [], "x", {"limits": {"attempts": 0}}, {"unknown": 1}, {"setup": ["\0"]}])
def test_a_stored_policy_is_not_believed_blindly(value):
    with pytest.raises(PolicyError, match="stored policy: 1 problem"):
        load_policy(value)


def test_the_documented_example_is_valid():
    example = DOCS.read_text().split("```yaml\n")[1].split("```")[0]
    policy = parse_policy(example.encode())
    assert policy.adapter
    assert policy.limits["wall_seconds"] == 1200


def test_the_documented_limits_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d,]+) \| ([\d,]+) \|", DOCS.read_text(), re.MULTILINE)
    documented = {name: (int(low.replace(",", "")), int(high.replace(",", ""))) for name, low, high in rows}
    assert list(documented) == list(LimitsModel.model_fields)
    for name, (low, high) in documented.items():
        for value in (low, high):
            assert parse_policy(f"limits: {{{name}: {value}}}".encode()).limits == {name: value}
        assert "must be at least" in problems_of(f"limits: {{{name}: {low - 1}}}")
        assert "must be at most" in problems_of(f"limits: {{{name}: {high + 1}}}")


def test_the_policy_says_what_becomes_of_outsiders_words():
    policy = parse_policy(b"outsiders: fence\n")
    assert policy.outsiders == "fence"
    assert load_policy(dump_policy(policy)) == policy
    assert "outsiders: must be one of: drop, fence" in problems_of("outsiders: show\n")
    assert "outsiders" in problems_of("outsiders: [drop]\n")
    assert "`outsiders`" in DOCS.read_text()


def test_profiles_toolsets_and_the_rule_for_depths_are_read():
    policy = parse_policy(
        b"""\
agent: {profile: careful}
profiles: {careful: {extends: worker, limits: {requests: 9}}}
toolsets: {looker: {add: [read_file]}}
depth_rule: [{}, {tier: small, without: [run_command]}]
upgrade_after_failures: 3
"""
    )
    assert policy.profile == "careful"
    assert policy.profiles == {"careful": {"extends": "worker", "limits": {"requests": 9}}}
    assert policy.toolsets == {"looker": {"add": ["read_file"]}}
    assert policy.depth_rule == (DepthLevel(), DepthLevel(tier="small", without=("run_command",)))
    assert policy.upgrade_after_failures == 3
    assert load_policy(json.loads(json.dumps(dump_policy(policy)))) == policy
    found = effective(policy, FLEET)
    for name in ("profile", "profiles", "toolsets", "depth_rule", "upgrade_after_failures"):
        assert getattr(found, name) == getattr(policy, name)
        assert found.origin[name] == ".agentgrid.yml"
        assert f"`{'agent.' if name == 'profile' else ''}{name}`" in DOCS.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent: {profile: 'Not One'}", "agent.profile: must be a name in lower case"),
        ("profiles: [worker]", "profiles: must be a mapping"),
        ("profiles: {'A b': {}}", "the name 'A b' must be lower-case letters"),
        ("profiles: {a: 5}", "must be a mapping"),
        ("toolsets: {" + ", ".join(f"a{n}: {{}}" for n in range(51)) + "}", "has 51 entries; at most 50"),
        ("depth_rule: {tier: small}", "depth_rule: must be a list"),
        ("depth_rule: [{teir: small}]", "unknown key 'teir'; did you mean 'tier'?"),
        ("depth_rule: [" + "{}, " * 9 + "]", "depth_rule: has 9 entries; at most 8"),
        ("upgrade_after_failures: -1", "must be at least 0"),
        ("upgrade_after_failures: 21", "must be at most 20"),
    ],
)
def test_mistakes_in_them_are_told(text, said):
    assert said in problems_of(text)
