"""Templates by agents: what a prompt needs is allowed, what could run away is refused, and what fails says so in words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.documents import prompts
from coordinator.documents.prompt_context import Child, Comment, FailedCheck, Failure, PromptContext
from coordinator.documents.prompt_rules import MAX_CHARACTERS, TemplateRefusedError

CONTEXT = PromptContext(
    key="12",
    title="Add a parser",
    body="Read `a=b`.",
    scope="local/app",
    branch="agent/12-x",
    base="0" * 40,
    attempt=1,
    max_attempts=3,
    may_split=True,
    max_children=5,
    depth=1,
    wall_seconds=60,
    comments=(Comment(author="ann", text="soon, please"), Comment(author="bob", text="no")),
    acceptance=("pytest -q",),
    children=(Child(key="13", title="Part", state="done"),),
    last_failure=Failure(reason="exit 1", checks=(FailedCheck(command="pytest", tail="boom"),)),
)

GOOD = """\
Review the work on {{ key|upper }}: {{ title|truncate(80) }}.
{% if comments and depth >= 1 %}
{% for comment in comments %}
{{ loop.index }}. {{ comment.author }} said {{ comment.text }}{% if not loop.last %};{% endif %}

{% endfor %}
{% endif %}
{% for check in last_failure.checks %}{{ check["command"] }}{% endfor %}
{{ acceptance|length }} commands, {{ parent.title if parent else "no parent" }}, {{ body[:20] }}
{% include "_issue.txt" %}
{% include '_report.txt' %}
"""


def test_a_template_has_what_a_prompt_needs() -> None:
    prompts.check(GOOD)
    text = prompts.render("work", CONTEXT, source=GOOD)
    lines = text.splitlines()
    assert lines[0] == "# agent-grid work: 12 Add a parser"
    assert "Review the work on 12: Add a parser." in lines
    assert "1. ann said" in text and "2. bob said" in text
    assert "no parent" in text
    assert "## The issue" in text and "Read `a=b`." in text
    assert ".agentgrid/outcome.json" in text


@pytest.mark.parametrize("mode", ["work", "resume"])
def test_the_shipped_templates_keep_to_the_rules(mode: str) -> None:
    prompts.check(prompts.shipped()[mode])
    assert prompts.render(mode, CONTEXT, source=prompts.shipped()[mode]).count("# agent-grid") >= 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("x" * (MAX_CHARACTERS + 1), "at most 65,536"),
        ("a\x1b[31m", "control characters"),
        ("a\ud800", "control characters"),
        ("{{ key", "line 1: unexpected end of template"),
        ("a\n{% bogus %}", "line 2: Encountered unknown tag 'bogus'"),
        ("{{ range(10**9) }}", "not allowed"),
        ("{{ 10 ** 10 ** 10 }}", "pow expressions are not allowed"),
        ("{{ 'x' * 1000000000 }}", "mul expressions are not allowed"),
        ("{{ body ~ body }}", "joining texts with ~ are not allowed"),
        ("{{ body + body }}", "add expressions are not allowed"),
        ("{% set x = body %}", "variables of its own (set) are not allowed"),
        ("{% set x %}{{ body }}{% endset %}", "variables of its own (set) are not allowed"),
        ("{% with x = body %}{% endwith %}", "variables of its own (with) are not allowed"),
        ("{% macro a() %}{{ key }}{% endmacro %}", "macros are not allowed"),
        ("{% extends 'work.txt' %}", "extends are not allowed"),
        ("{% block a %}{{ self.a() }}{% endblock %}", "blocks are not allowed"),
        ("{% import '_issue.txt' as x %}", "import are not allowed"),
        ("{% from '_issue.txt' import x %}", "import are not allowed"),
        ("{% include 'work.txt' %}", "no template of that name"),
        ("{% include '../../../settings.py' %}", "no template of that name"),
        ("{% include key %}", "no template of that name"),
        ("{% include ['_issue.txt', key] %}", "no template of that name"),
        ("{% include 'x' ignore missing %}", "no template of that name"),
        ("{% for c in comments %}{% include '_issue.txt' %}{% endfor %}", "no include within a loop"),
        ("{% for c in comments %}{% for d in comments %}{% endfor %}{% endfor %}", "no loop and no include"),
        ("{% for c in body %}{{ c }}{% endfor %}", "loops go over acceptance"),
        ("{% for c in comments|reverse %}{{ c }}{% endfor %}", "loops go over acceptance"),
        ("{% for c in children recursive %}{{ loop(children) }}{% endfor %}", "loops go over"),
        ("{% for comments in acceptance %}{% endfor %}", "a single name that is not taken"),
        ("{% for last_failure in remarks %}{% endfor %}", "a single name that is not taken"),
        ("{% for a, b in comments %}{% endfor %}", "a single name that is not taken"),
        ("{% for c in comments %}" + "{{ c.text }}" * 200 + "{% endfor %}", "would take too long"),
        ("{{ body.__class__.__mro__ }}", "there is nothing called __mro__"),
        ("{{ body['__class__'] }}{{ ''|attr('__class__') }}", "the filter attr is not allowed"),
        ("{{ body[key] }}", "only a number or a name in quotes"),
        ("{{ body|replace('a', 'bbbbbbbb') }}", "the filter replace is not allowed"),
        ("{{ key|center(1000000000) }}", "the filter center is not allowed"),
        ("{{ '%1000000000d'|format(1) }}", "the filter format is not allowed"),
        ("{{ [body, body]|join(body) }}", "the filter join is not allowed"),
        ("{% filter upper %}x{% endfilter %}", "filter blocks are not allowed"),
        ("{{ cycler.__init__.__globals__ }}", "there is nothing called __"),
        ("{{ lipsum() }}", "calls are not allowed"),
        ("{% if " * 900 + "%}", "line 1"),
        ("{% if key %}" * 300 + "{% endif %}" * 300, "nested too deeply"),
        ("{{ " + "(" * 5_000 + "key" + ")" * 5_000 + " }}", "nested too deeply"),
        ("{{ " + "not " * 5_000 + "key }}", "nested too deeply"),
        ("{{ " + " and ".join(["key"] * 5_000) + " }}", "nested too deeply"),
        ("{% if key is sameas key %}{% endif %}", "the test sameas is not allowed"),
    ],
)
def test_what_could_run_away_is_refused_with_the_line(source: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateRefusedError) as caught:
        prompts.check(source)
    assert said in str(caught.value)
    if source:
        with pytest.raises(prompts.PromptError):
            prompts.render("work", CONTEXT, source=source)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "source",
    [
        "{{ nobody_knows }}",
        "{{ comments.nothing }}",
        "{{ 5 > key }}",
        "{{ attempt[0] }}",
        "{{ attempt|length }}",
        "{{ -key }}",
        "{{ key[1:2:0] }}",
        "{{ key|truncate('x') }}",
    ],
)
def test_what_fails_only_when_filled_is_one_error_in_words(source: str) -> None:
    prompts.check(source)
    with pytest.raises(prompts.PromptError) as caught:
        prompts.render("work", CONTEXT, source=source)
    assert "the template of the library" in str(caught.value)


def test_an_endless_prompt_is_given_up_early() -> None:
    context = PromptContext(
        **{**{name: getattr(CONTEXT, name) for name in PromptContext.__slots__}, "body": "y" * 65_000}
    )
    started = time.monotonic()
    with pytest.raises(prompts.PromptError, match="more than 200,000 characters"):
        prompts.render("work", context, source="{{ body }}" * 6_000)
    assert time.monotonic() - started < 5


@given(
    source=st.lists(
        st.sampled_from(
            [
                "{{ key }}", "{{ body|", "{% if ", "comments", " %}", "{% endif %}", "{% for c in ", "{% endfor %}", " }}",
                "{{ c.text }}", "range(9)", "(", ")", "'", '"', "__class__", "[0]", "|first", "{#", "#}", "{% include '_issue.txt' %}",
                "{% raw %}", "{% endraw %}", "\n", "é", "loop.", "is defined", "not ", "{% else %}", "last_failure.checks",
            ]
        ),
        max_size=14,
    ).map("".join)
)  # fmt: skip
def test_any_text_is_filled_or_refused_and_never_anything_else(source: str) -> None:
    try:
        text = prompts.render("work", CONTEXT, source=source or "x")
    except prompts.PromptError:
        return
    assert text.startswith("# agent-grid work: 12")
