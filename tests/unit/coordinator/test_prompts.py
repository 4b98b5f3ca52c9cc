"""Prompts: every mode says what its agent needs, and nothing from outside speaks in our name."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents.prompts import (
    MAX_BODY_CHARACTERS,
    MAX_CHARACTERS,
    MODES,
    TEMPLATES,
    Blocker,
    Budget,
    Child,
    Comment,
    Conflict,
    FailedCheck,
    Failure,
    Parent,
    PromptContext,
    PromptError,
    render,
)
from grid.agents.outcome import parse_outcome
from grid.public_types import Mode, OutcomeKind

FAILURE = Failure(
    reason="acceptance failed: pytest (exit 1)",
    checks=(FailedCheck(command="pytest -q", tail="\x1b[31mE   assert 3 == 4\x1b[0m"),),
)
BASE, OTHER = "a" * 40, "c" * 40
PLAIN = PromptContext(
    key="12",
    title="Add a calculator",
    body="It adds numbers.",
    scope="acme/widgets",
    branch="agent/12-calculator",
    base=BASE,
    attempt=1,
    max_attempts=3,
    may_split=True,
    max_children=5,
    depth=0,
    wall_seconds=1800,
)
FULL = replace(
    PLAIN,
    attempt=2,
    comments=(Comment(author="ann", text="Use floats."), Comment(author="bob", text="No, integers.")),
    acceptance=("pytest -q", "grep '<!-- keep -->' index.html"),
    parent=Parent(key="3", title="Office suite"),
    blockers=(Blocker(key="4", title="Numbers", summary="They are in numbers.py."), Blocker(key="5", title="Signs")),
    children=(
        Child(key="13", title="Plus", state="done", summary="It adds.", branch="agent/13-plus", commit="b" * 40),
        Child(key="14", title="Minus", state="failed", attempts=3),
    ),
    last_failure=FAILURE,
    conflict=Conflict(paths=("calc.py", "docs/a b.md"), commit=OTHER),
    budget=Budget(executions=7, wall_seconds=4321),
)


def outside_of_blocks(prompt: str) -> str:
    """The lines that speak in our name: everything that CommonMark does not take as a fenced block."""
    lines, fence = [], ""
    for line in prompt.split("\n"):
        run = re.match(r" {0,3}(`{3,})", line)
        if fence:
            if run and len(run[1]) >= len(fence) and not line.strip(" \t`"):
                fence = ""
        elif run and "`" not in line[run.end() :]:
            fence = run[1]
        else:
            lines.append(line)
    assert not fence, "a block is never closed"
    return "\n".join(lines)


def examples_of(prompt: str) -> list[str]:
    return re.findall(r"^```json\n(.*?)\n```$", prompt, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("context", [replace(PLAIN, conflict=FULL.conflict), FULL], ids=["plain", "full"])
def test_every_mode_says_where_the_agent_is_and_what_is_asked(mode, context):
    prompt = render(mode, context)
    assert prompt.startswith(f"# agent-grid {mode}: 12 Add a calculator\n\n")
    for part in (
        "acme/widgets",
        "agent/12-calculator",
        BASE,
        "It adds numbers.",
        f"attempt {context.attempt} of 3",
        "1800 seconds",
    ):
        assert part in prompt
    for rule in ("Commit your work", "Do not push", ".agentgrid/outcome.json", "It is data"):
        assert rule in outside_of_blocks(prompt)
    assert "None" not in prompt
    assert "\n\n\n" not in prompt


def test_the_modes_are_those_of_the_grid_that_have_an_issue():
    assert set(MODES) == set(Mode) - {Mode.BENCH, Mode.CHAT}
    assert {path.stem for path in TEMPLATES.glob("[!_]*.txt")} == set(MODES)


def test_a_full_context_is_told_in_full():
    prompt = render("work", FULL)
    for part in ("Use floats.", "No, integers.", "Comment by ann", "issue 3 (depth 0 of the tree): Office suite",
                 "4: Numbers",
                 "They are in numbers.py.", "5: Signs", "acceptance failed: pytest (exit 1)", "E   assert 3 == 4",
                 "7 runs, 4321 seconds", "grep '<!-- keep -->' index.html"):  # fmt: skip
        assert part in prompt
    assert "\x1b" not in prompt
    assert prompt.index("Use floats.") < prompt.index("No, integers.")


def test_a_plain_context_leaves_out_what_there_is_not():
    prompt = render("work", PLAIN)
    for part in ("Comments", "Done before", "attempt before", "part of issue", "Left for", "fresh checkout"):
        assert part not in prompt
    assert "(The issue has no text.)" in render("work", replace(PLAIN, body=" <!-- a template -->\n"))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(executions=7), "- Left for the whole tree of issues: 7 runs.\n"),
        (Budget(wall_seconds=9), "- Left for the whole tree of issues: 9 seconds of running time.\n"),
        (Budget(executions=0, wall_seconds=0), "of issues: 0 runs, 0 seconds of running time.\n"),
        (Budget(executions=2, usd_micros=12_349_999), "of issues: 2 runs, $12.34 for models.\n"),
        (Budget(usd_micros=0, tokens=1_500_000), "of issues: $0.00 for models, 1,500,000 tokens of models.\n"),
    ],
)
def test_the_budget_left_is_told(budget, said):
    assert said in render("work", replace(PLAIN, budget=budget))


def test_a_resumed_parent_is_told_how_each_child_stands():
    prompt = render("resume", FULL)
    assert "### 13: Plus\n\nState: done. Work: commit `" + "b" * 40 + "` on `agent/13-plus`.\n" in prompt
    assert "It adds." in prompt
    assert "### 14: Minus\n\nState: failed, after 3 failed attempts. It left no work.\n" in prompt
    assert "There are none any more." in render("resume", PLAIN)
    assert "There are none any more." not in prompt


def test_a_conflict_names_the_files_and_the_commit_to_merge():
    prompt = render("resolve", FULL)
    assert f"git merge --no-edit {OTHER}" in prompt
    assert "calc.py\ndocs/a b.md" in prompt


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("max_children", [1, 2, 9])
def test_the_examples_are_reports_that_the_grid_accepts(mode, max_children):
    outcomes = [
        parse_outcome(text.encode()) for text in examples_of(render(mode, replace(FULL, max_children=max_children)))
    ]
    assert {outcome.kind for outcome in outcomes} == set(OutcomeKind)
    assert all(len(outcome.children) <= max_children for outcome in outcomes)


@pytest.mark.parametrize("change", [{"may_split": False}, {"max_children": 0}])
def test_an_agent_that_may_not_split_is_not_shown_how(change):
    prompt = render("work", replace(PLAIN, **change))
    assert OutcomeKind.SPLIT not in {parse_outcome(text.encode()).kind for text in examples_of(prompt)}
    assert "You cannot split this issue" in prompt
    assert "Splitting ends this run" in render("work", PLAIN)


def test_an_unknown_variable_is_an_error_that_names_it(tmp_path):
    (tmp_path / "work.txt").write_text("# {{ key }} {{ colour_of_the_bikeshed }}")
    with pytest.raises(PromptError, match="colour_of_the_bikeshed"):
        render("work", PLAIN, folder=tmp_path)


def test_an_unknown_attribute_is_an_error_that_names_it(tmp_path):
    (tmp_path / "work.txt").write_text("{{ budget.dollars }}")
    with pytest.raises(PromptError, match="dollars"):
        render("work", PLAIN, folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for %}", "work.txt"),
        ("{{ ''.__class__.__mro__ }}", "__class__"),
        ("{% include 'x.txt' %}", "x.txt is missing"),
    ],
)
def test_a_broken_or_curious_template_is_an_error(tmp_path, text, said):
    (tmp_path / "work.txt").write_text(text)
    with pytest.raises(PromptError, match=re.escape(said)):
        render("work", PLAIN, folder=tmp_path)


def test_a_template_that_is_too_long_by_itself_is_an_error(tmp_path):
    (tmp_path / "work.txt").write_text("x" * (MAX_CHARACTERS + 1))
    with pytest.raises(PromptError, match="shorten it"):
        render("work", PLAIN, folder=tmp_path)


def test_an_unknown_mode_is_an_error_that_lists_the_known_ones():
    with pytest.raises(PromptError, match="'dance'; known: work, resume, resolve"):
        render("dance", PLAIN)


def test_resolving_without_a_conflict_is_an_error_that_names_the_fix():
    with pytest.raises(PromptError, match=r"needs context\.conflict"):
        render("resolve", PLAIN)


evil = st.lists(
    st.sampled_from(["```", "````", "`", "~~~", "\n", " ", "# agent-grid work: 1", "EVIL", "<!--", "-->",
                     "\r", "\u2028", "{{ 7*7 }}", "{% raw %}"]),
    max_size=20,
).map("".join)  # fmt: skip


@settings(deadline=None)  # a busy machine is no bug
@given(text=evil, mode=st.sampled_from(MODES))
def test_no_text_of_others_changes_what_we_say(text, mode):
    """Apart from names and titles, which stay on their lines, what stands outside of blocks is always the same."""
    shown = replace(
        FULL,
        body="x" + text,
        comments=(Comment(author="ann", text="x" + text), Comment(author="bob", text="x" + text)),
        acceptance=("x" + text, "x" + text),
        blockers=(Blocker(key="4", title="Numbers", summary="x" + text), Blocker(key="5", title="Signs")),
        children=tuple(replace(child, summary="x" + text if child.summary else "") for child in FULL.children),
        last_failure=replace(FAILURE, checks=(FailedCheck(command="x" + text, tail="x" + text),)),
        conflict=Conflict(paths=("x" + text, "y"), commit=OTHER),
    )
    assert outside_of_blocks(render(mode, shown)) == outside_of_blocks(render(mode, FULL))


@settings(deadline=None)  # a busy machine is no bug
@given(text=evil, mode=st.sampled_from(MODES))
def test_names_and_titles_stay_on_their_lines(text, mode):
    shown = replace(
        FULL,
        title=text,
        comments=tuple(replace(comment, author=text) for comment in FULL.comments),
        parent=Parent(key=text, title=text),
        blockers=tuple(replace(blocker, title=text) for blocker in FULL.blockers),
        children=tuple(replace(child, key=text, title=text, state=text, branch=text) for child in FULL.children),
        last_failure=replace(FAILURE, reason=text),
    )
    said, usual = (outside_of_blocks(render(mode, context)).split("\n") for context in (shown, FULL))
    assert len(said) == len(usual)
    assert [line for line in said if line.startswith("# agent-grid")] == said[:1]


@pytest.mark.parametrize("mode", MODES)
def test_hidden_text_reaches_no_prompt(mode):
    text = "see\u200b<!-- SECRET -->\u202e" + "".join(chr(0xE0000 + ord(char)) for char in "obey")
    shown = replace(
        FULL,
        title=text,
        body=text,
        scope=text,
        branch=text,
        comments=(Comment(author=text, text=text),),
        parent=Parent(key=text, title=text),
        blockers=(Blocker(key=text, title=text, summary=text),),
        children=(Child(key=text, title=text, state=text, summary=text, branch=text, commit=text),),
        last_failure=replace(FAILURE, reason=text),
        conflict=Conflict(paths=(text,), commit=text),
    )
    prompt = render(mode, shown)
    assert "SECRET" not in prompt
    # What programs print and run may hold HTML comments, yet nothing that nobody can see.
    unseen = replace(
        shown, acceptance=(text,), last_failure=Failure(reason=text, checks=(FailedCheck(command=text, tail=text),))
    )
    assert not re.search("[\u200b\u202e\U000e0000-\U000e007f]", prompt + render(mode, unseen))


def test_a_long_issue_is_cut_with_an_honest_mark():
    prompt = render("work", replace(PLAIN, body="x" * 100_000))
    left_out = re.search(r"\[… ([\d,]+) characters left out\]", prompt)
    assert left_out
    longest = max(re.findall("x+", prompt), key=len)
    assert len(longest) + int(left_out[1].replace(",", "")) == 100_000
    assert len(longest) <= MAX_BODY_CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        "word " * 14_000,
        "`` ``` " * 9_000,
        ("`" * 17 + "x") * 4_000,
        "`" * 64 + "x" * 70_000,
        "\n" * 40_000 + "x" * 40_000,
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_no_prompt_is_longer_than_the_limit_and_the_report_is_always_asked_for(mode, text):
    part = text[:9_000]
    big = replace(
        FULL,
        title=part,
        body=text,
        comments=(Comment(author=part, text=part),) * 41,
        acceptance=(part,) * 51,
        parent=Parent(key=part, title=part),
        blockers=(Blocker(key=part, title=part, summary=part),) * 51,
        children=(Child(key=part, title=part, state=part, summary=part, branch=part, commit=part, attempts=9),) * 101,
        last_failure=Failure(reason=part, checks=(FailedCheck(command=part, tail=part),) * 11),
        conflict=Conflict(paths=(part,) * 201, commit=OTHER),
    )
    prompt = render(mode, big)
    assert len(prompt) <= MAX_CHARACTERS
    assert len(examples_of(prompt)) == 5
    marks = re.findall(r"^\[… 1 (.*) left out\]$", outside_of_blocks(prompt), re.MULTILINE)
    own_list = [] if mode == "work" else ["more"]  # of children, or of paths
    assert marks == [*own_list, "earlier comments", "more", "more failed commands", "more commands"]


def test_the_newest_comments_and_the_end_of_an_output_are_kept():
    comments = tuple(Comment(author="ann", text=f"word {number}.") for number in range(100))
    failure = Failure(reason="r", checks=(FailedCheck(command="c", tail="start " + "x" * 9_000 + " end"),))
    prompt = render("work", replace(PLAIN, comments=comments, last_failure=failure))
    assert "word 99." in prompt
    assert "word 1." not in prompt
    assert " end\n" in prompt
    assert "start x" not in prompt
