"""The script of a scripted model: a YAML file of steps, checked strictly, with line numbers in every complaint.

    scenarios:
      - when: "Title: add a parser"       # regular expression, searched in the prompt; the first match plays
        steps:
          - say: I write the file.
            call: write_file
            args: {path: parser.py, content: "…"}
          - calls:                        # run side by side
              - {call: run_command, args: {command: "pytest -q"}}
              - {call: run_command, args: {command: "ruff check"}}
          - expect: exit 0                # regular expression, searched in the results of the step before
            call: finish
            args: {outcome: done, summary: Added the parser.}

`until: pattern` beside a call plays the step again until the pattern is found in its own results: the way to wait for others without a clock.
With `seed: 7` beside `scenarios`, `one_of: [step, step]` stands for one of some steps and `shuffle: true` puts the calls of a
batch into another order; the same seed always chooses the same. docs/scripted-model.md describes it for authors.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

_MAX_CALLS = 32
_MAX_DEPTH = 50
_MAX_SLEEP_SECONDS = 3_600.0
_MAX_SEED = 1 << 63
# libyaml is ten times faster; both give the same nodes and marks.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ScriptError(ValueError):
    """The script breaks a rule; the message begins with the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call."""

    tool: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One answer of the model."""

    line: int
    say: str = ""
    calls: tuple[Call, ...] = ()
    """Made in one batch, side by side where the tools allow it."""
    expect: tuple[re.Pattern[str], ...] = ()
    """Each must be found in the results of the step before."""
    until: re.Pattern[str] | None = None
    """Played again until this is found in its own results."""
    sleep_seconds: float = 0.0
    """Time the model "thinks" before it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Steps for the prompts that match."""

    name: str
    when: re.Pattern[str] | None
    """None matches every prompt."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Scenarios in order."""

    scenarios: tuple[Scenario, ...]

    def scenario_for(self, prompt: str) -> Scenario:
        """The first scenario that matches the prompt. Raises ScriptError when none does."""
        for scenario in self.scenarios:
            if scenario.when is None or scenario.when.search(prompt):
                return scenario
        tried = "; ".join(f"{s.name}: /{s.when.pattern[:80]}/" for s in self.scenarios if s.when)
        raise ScriptError(f"no scenario matches the prompt (tried {tried}); add one without 'when' as the last")


def parse_script(text: str) -> Script:
    """Read a script.

    Raises:
        ScriptError: `line 12: unknown key 'cal' in a step; known keys: …`.
    """
    root = _compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise ScriptError("line 1: a script is a mapping with 'scenarios' or 'steps'; give its text, not its path")
    fields = _fields(root, "script", {"scenarios", "steps", "seed"})
    seed = _seed(fields.pop("seed")) if "seed" in fields else 0
    if len(fields) != 1:
        raise ScriptError(f"line {_line(root)}: give either 'scenarios' or 'steps'")
    if "steps" in fields:
        return Script(scenarios=(Scenario(name="steps", when=None, steps=_steps(fields["steps"], seed)),))
    items = _items(fields["scenarios"], "scenarios")
    return Script(scenarios=tuple(_scenario(node, number, seed) for number, node in enumerate(items, 1)))


def _compose(text: str) -> yaml.Node | None:
    try:
        _check_events(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ScriptError(f"line {line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ScriptError(f"line 1: not YAML: {str(error).splitlines()[0][:200]}") from error
    return node


def _check_events(text: str) -> None:
    """Refuse what cannot be composed safely: aliases can expand to gigabytes, depth can exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ScriptError(f"line {_line(event)}: aliases (*name) are not allowed; repeat the text")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ScriptError(f"line {_line(event)}: nested more than {_MAX_DEPTH} levels deep")


def _scenario(node: yaml.Node, number: int, seed: int) -> Scenario:
    fields = _fields(node, "scenario", {"name", "when", "steps"})
    if "steps" not in fields:
        raise ScriptError(f"line {_line(node)}: a scenario needs 'steps'")
    name = _text(fields["name"], "name") if "name" in fields else f"scenario {number}"
    when = _pattern(fields["when"], "when") if "when" in fields else None
    return Scenario(name=name, when=when, steps=_steps(fields["steps"], seed))


def _steps(node: yaml.Node, seed: int) -> tuple[Step, ...]:
    """The steps; one that only speaks or waits is put before the next one, since a model's answer is one whole."""
    steps: list[Step] = []
    for item in _items(node, "steps"):
        step = _chosen(item, seed)
        if step.expect and not any(earlier.calls for earlier in steps):
            raise ScriptError(f"line {step.line}: 'expect' needs a step with a call before it")
        if steps and not steps[-1].calls:
            before = steps.pop()
            step = replace(
                step,
                say="\n\n".join(filter(None, (before.say, step.say))),
                expect=before.expect + step.expect,
                sleep_seconds=before.sleep_seconds + step.sleep_seconds,
            )
        steps.append(step)
    return tuple(steps)


def _chosen(node: yaml.Node, seed: int) -> Step:
    """The step, or the one of its alternatives that the seed chooses; each of them must be right."""
    # By seed and line alone: whatever else the script says, this choice stays. No secret depends on it.
    dice = random.Random(f"{seed}:{_line(node)}")  # noqa: S311
    if not isinstance(node, yaml.MappingNode) or not any(key.value == "one_of" for key, _ in node.value):
        return _step(node, dice)
    alternatives = _items(_fields(node, "step", {"one_of"})["one_of"], "one_of")
    return dice.choice([_step(item, dice) for item in alternatives])


def _step(node: yaml.Node, dice: random.Random) -> Step:
    fields = _fields(node, "step", {"say", "call", "args", "calls", "expect", "until", "sleep", "shuffle"})
    if not fields.keys() & {"say", "call", "calls", "sleep"}:
        raise ScriptError(f"line {_line(node)}: a step needs 'call', 'calls', 'say' or 'sleep'")
    if "calls" in fields and fields.keys() & {"call", "args"}:
        raise ScriptError(f"line {_line(node)}: a step has either 'call' with 'args' or 'calls'")
    if "args" in fields and "call" not in fields:
        raise ScriptError(f"line {_line(node)}: 'args' without 'call'")
    if "calls" in fields:
        calls = tuple(_call(_fields(item, "call", {"call", "args"}), item) for item in _items(fields["calls"], "calls"))
    else:
        calls = (_call(fields, node),) if "call" in fields else ()
    if "until" in fields and not calls:
        raise ScriptError(f"line {_line(fields['until'])}: 'until' without a call whose results could be searched")
    if len(calls) > _MAX_CALLS:
        raise ScriptError(f"line {_line(node)}: {len(calls)} calls in one step; at most {_MAX_CALLS}")
    if "shuffle" in fields:
        if _value(fields["shuffle"]) is not True or "calls" not in fields:
            raise ScriptError(f"line {_line(fields['shuffle'])}: 'shuffle' is true, beside 'calls', or left out")
        calls = tuple(dice.sample(calls, len(calls)))
    return Step(
        line=_line(node),
        say=_text(fields["say"], "say") if "say" in fields else "",
        calls=calls,
        expect=_expectations(fields["expect"]) if "expect" in fields else (),
        until=_pattern(fields["until"], "until") if "until" in fields else None,
        sleep_seconds=_seconds(fields["sleep"]) if "sleep" in fields else 0.0,
    )


def _call(fields: dict[str, yaml.Node], node: yaml.Node) -> Call:
    if "call" not in fields:
        raise ScriptError(f"line {_line(node)}: a call needs 'call': the tool's name")
    args = _value(fields["args"]) if "args" in fields else {}
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise ScriptError(f"line {_line(fields['args'])}: 'args' must be a mapping of argument names to values")
    try:
        json.dumps(args, allow_nan=False)
    except (TypeError, ValueError) as error:  # dates, sets, infinity
        raise ScriptError(f"line {_line(fields['args'])}: a value in 'args' is no JSON ({error}); quote it") from error
    return Call(tool=_text(fields["call"], "call"), args=args)


def _expectations(node: yaml.Node) -> tuple[re.Pattern[str], ...]:
    if isinstance(node, yaml.SequenceNode):
        return tuple(_pattern(item, "expect") for item in node.value)
    return (_pattern(node, "expect"),)


def _seconds(node: yaml.Node) -> float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SLEEP_SECONDS:
        raise ScriptError(f"line {_line(node)}: 'sleep' must be seconds between 0 and {_MAX_SLEEP_SECONDS:.0f}")
    return float(value)


def _seed(node: yaml.Node) -> int:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_SEED:
        raise ScriptError(f"line {_line(node)}: 'seed' must be a whole number from 0 to {_MAX_SEED - 1}")
    return value


def _pattern(node: yaml.Node, what: str) -> re.Pattern[str]:
    try:
        return re.compile(_text(node, what), re.MULTILINE)
    except re.error as error:
        raise ScriptError(f"line {_line(node)}: '{what}' is no regular expression: {error}") from error


def _text(node: yaml.Node, what: str) -> str:
    value = _value(node)
    if not isinstance(value, str) or not value:
        raise ScriptError(f"line {_line(node)}: '{what}' must be text; put it in quotes")
    return value


def _items(node: yaml.Node, what: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ScriptError(f"line {_line(node)}: '{what}' must be a list with at least one entry")
    return list(node.value)


def _fields(node: yaml.Node, what: str, known: set[str]) -> dict[str, yaml.Node]:
    """The entries of a mapping; refuses unknown keys and keys given twice."""
    if not isinstance(node, yaml.MappingNode):
        raise ScriptError(f"line {_line(node)}: a {what} must be a mapping")
    fields: dict[str, yaml.Node] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key not in known:
            raise ScriptError(
                f"line {_line(key_node)}: unknown key '{key[:40]}' in a {what}; known keys: {', '.join(sorted(known))}"
            )
        if key in fields:
            raise ScriptError(f"line {_line(key_node)}: '{key}' is given twice")
        fields[key] = value_node
    return fields


def _value(node: yaml.Node) -> Any:
    """The plain value of a node: what YAML's safe subset makes of it."""
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ScriptError(f"line {_line(node)}: {str(error).splitlines()[0][:200]}") from error
    finally:
        loader.dispose()


def _line(found: yaml.Node | yaml.Event) -> int:
    return 1 if found.start_mark is None else int(found.start_mark.line) + 1
