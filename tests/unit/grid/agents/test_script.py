from __future__ import annotations

import pytest

from grid.agents.builtin.script import ScriptError, parse_script

GOOD = """\
scenarios:
  - name: split
    when: "^Title: big"
    steps:
      - say: Too large.
      - sleep: 0.5
      - call: propose_children
        args:
          children:
            - {key: a, title: A, body: "text"}
      - calls:
          - {call: run_command, args: {command: "true"}}
          - call: list_files
      - expect: [exit 0, "a\\\\.py"]
        call: finish
        args: {outcome: split, summary: ok}
  - steps:
      - call: finish
        args: {outcome: done, summary: ok}
"""


def test_a_script_is_read_with_its_lines() -> None:
    script = parse_script(GOOD)

    first, second = script.scenarios
    assert (first.name, second.name, second.when) == ("split", "scenario 2", None)
    propose, batch, finish = first.steps
    assert (propose.say, propose.sleep_seconds, propose.line) == ("Too large.", 0.5, 7)
    assert propose.calls[0].args == {"children": [{"key": "a", "title": "A", "body": "text"}]}
    assert [call.tool for call in batch.calls] == ["run_command", "list_files"]
    assert [pattern.pattern for pattern in finish.expect] == ["exit 0", "a\\.py"]


def test_the_first_matching_scenario_plays() -> None:
    script = parse_script(GOOD)

    assert script.scenario_for("Issue\nTitle: big one\n").name == "split"
    assert script.scenario_for("anything else").name == "scenario 2"


def test_a_prompt_without_scenario_is_refused_with_what_was_tried() -> None:
    script = parse_script("scenarios: [{name: only, when: abc, steps: [{say: hi}]}]")

    with pytest.raises(ScriptError, match=r"no scenario matches the prompt \(tried only: /abc/\)"):
        script.scenario_for("xyz")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: a script is a mapping"),
        ("demo.yaml", "give its text, not its path"),
        ("- a", "line 1: a script is a mapping"),
        ("steps:\n - {say: a\n", "line 3: "),
        ("\tsteps: x", "line 1: "),
        ("a: \x01", "line 1: "),
        ("steps: []", "line 1: 'steps' must be a list with at least one entry"),
        ("steps: [{say: a}]\nscenarios: []", "line 1: give either 'scenarios' or 'steps'"),
        ("stepps: []", "line 1: unknown key 'stepps' in a script; known keys: scenarios, seed, steps"),
        ("scenarios:\n  - when: a", "line 2: a scenario needs 'steps'"),
        ("scenarios:\n  - when: '('\n    steps: [{say: a}]", "line 2: 'when' is no regular expression"),
        ("steps:\n  - say: a\n  - cal: b", "line 3: unknown key 'cal' in a step"),
        ("steps:\n  - say: a\n    say: b", "line 3: 'say' is given twice"),
        ("steps:\n  - {}", "line 2: a step needs"),
        ("steps:\n  - just text", "line 2: a step must be a mapping"),
        ("steps:\n  - args: {}\n    say: x", "line 2: 'args' without 'call'"),
        ("steps:\n  - call: a\n    calls: []", "line 2: a step has either"),
        ("steps:\n  - calls: []", "line 2: 'calls' must be a list"),
        ("steps:\n  - calls: [{args: {}}]", "line 2: a call needs 'call'"),
        ("steps:\n  - say: a\n    until: b", "line 3: 'until' without a call"),
        ("steps:\n  - call: a\n    until: '('", "line 3: 'until' is no regular expression"),
        ("steps:\n  - call: a\n    args: [1]", "line 3: 'args' must be a mapping"),
        ("steps:\n  - call: a\n    args: {1: x}", "line 3: 'args' must be a mapping"),
        ("steps:\n  - call: a\n    args: {x: 2024-01-01}", "line 3: a value in 'args' is no JSON"),
        ("steps:\n  - call: a\n    args: {x: .nan}", "line 3: a value in 'args' is no JSON"),
        ("steps:\n  - call: a\n    args: {x: !!python/name:os.system }", "line 3: "),
        ("steps:\n  - call: 5", "line 2: 'call' must be text"),
        ("steps:\n  - sleep: -1", "line 2: 'sleep' must be seconds"),
        ("steps:\n  - sleep: yes", "line 2: 'sleep' must be seconds"),
        ("steps:\n  - expect: x\n    say: a", "line 2: 'expect' needs a step with a call before it"),
        ("steps:\n  - call: a\n  - expect: '['\n    say: a", "line 3: 'expect' is no regular expression"),
        ("steps:\n  - &a {say: b}\n  - *a", "line 3: aliases"),
        ("steps:\n  - calls: [" + "{call: a}," * 33 + "]", "line 2: 33 calls in one step"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "line 1: nested more than 50 levels deep"),
    ],
)
def test_a_broken_script_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(text)

    assert complaint in str(caught.value)


def chosen(seed: int) -> list[str]:
    """What a script with choices plays under a seed."""
    text = f"""\
seed: {seed}
steps:
  - one_of:
      - {{say: quick, call: list_files}}
      - {{sleep: 0.5, call: list_files}}
      - {{say: slow, sleep: 1.5, call: list_files}}
  - shuffle: true
    calls: [{{call: a}}, {{call: b}}, {{call: c}}, {{call: d}}]
  - call: finish
"""
    steps = parse_script(text).scenarios[0].steps
    return [f"{step.say} {step.sleep_seconds} {''.join(call.tool for call in step.calls)}" for step in steps]


def test_a_seed_always_chooses_the_same_and_other_seeds_choose_otherwise() -> None:
    assert chosen(7) == chosen(7)
    assert len({chosen(seed)[0] for seed in range(30)}) == 3
    orders = {chosen(seed)[1] for seed in range(30)}
    assert len(orders) > 10
    assert {"".join(sorted(order.split()[-1])) for order in orders} == {"abcd"}
    assert {chosen(seed)[2] for seed in range(30)} == {" 0.0 finish"}


def test_a_choice_stays_when_another_part_of_the_script_changes() -> None:
    def first(more: str) -> list[object]:
        text = f"seed: 3\nsteps:\n  - shuffle: true\n    calls: [{{call: a}}, {{call: b}}, {{call: c}}]\n{more}"
        return [call.tool for call in parse_script(text).scenarios[0].steps[0].calls]

    assert first("") == first("  - one_of: [{call: x}, {call: y}]\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: -1\nsteps: [{call: a}]", "line 1: 'seed' must be a whole number"),
        ("seed: true\nsteps: [{call: a}]", "line 1: 'seed' must be a whole number"),
        ("seed: 1", "line 1: give either 'scenarios' or 'steps'"),
        ("steps:\n  - one_of: []", "line 2: 'one_of' must be a list"),
        ("steps:\n  - one_of: [{call: a}]\n    say: x", "line 3: unknown key 'say' in a step; known keys: one_of"),
        ("steps:\n  - one_of:\n    - call: a\n    - cal: b", "line 4: unknown key 'cal' in a step"),
        ("steps:\n  - one_of: [{one_of: [{call: a}]}]", "line 2: unknown key 'one_of' in a step"),
        ("steps:\n  - call: a\n    shuffle: true", "line 3: 'shuffle' is true, beside 'calls', or left out"),
        ("steps:\n  - calls: [{call: a}]\n    shuffle: 5", "line 3: 'shuffle' is true"),
    ],
)
def test_a_broken_choice_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(text)
    assert complaint in str(caught.value)
