"""`/agent …`: only what a person sees as a line of its own is a command."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents.slash_commands import MAX_COMMANDS, USAGE, Command, Verb, is_only_commands, parse


def verbs(text: str) -> list[Verb | None]:
    return [command.verb for command in parse(text)]


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb != Verb.BUDGET])
def test_each_word_is_a_command(verb):
    assert parse(f"/agent {verb}") == (Command(verb=verb),)
    assert parse(f"  /Agent   {verb.upper()}  \r\n") == (Command(verb=verb),)


def test_a_budget_has_a_number():
    assert parse("/agent budget 50") == (Command(verb=Verb.BUDGET, number=50),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/agent", "needs a word"),
        ("/agent fly", "no command `fly`"),
        ("/agent budget", "budget 50"),
        ("/agent budget 0", "budget 50"),
        ("/agent budget -3", "budget 50"),
        ("/agent budget 99999999999", "budget 50"),
        ("/agent budget 5 6", "budget 50"),
        ("/agent budget ٣", "budget 50"),
        ("/agent cancel not yet please", "nothing was done"),
        ("/agent ``` @everyone <b>", "no command ``"),
    ],
)
def test_what_cannot_be_carried_out_is_said(text, words):
    (command,) = parse(text)
    assert command.verb is None
    assert words in command.problem


def test_what_somebody_wrote_does_not_get_out_of_its_quotes():
    (command,) = parse("/agent `x`@team`<img>")
    assert command.problem.startswith("There is no command `x@team<img>`.") or "`x@team" in command.problem


@pytest.mark.parametrize(
    "text",
    [
        "please do /agent run",
        "/agents run",
        "/agentrun",
        "`/agent run`",
        "> /agent run",
        ">/agent run",
        "   > /agent run",
        "> somebody wrote\n/agent run",
        "    /agent run",
        "\t/agent run",
        "```\n/agent run\n```",
        "```sh\n/agent run",
        "~~~\n```\n/agent run\n~~~",
        "````\n```\n/agent run\n````",
        "<!-- /agent run -->",
        "<!--\n/agent run\n-->",
        "<pre>\n/agent run\n</pre>",
        "- /agent run",
        "",
    ],
)
def test_quotations_code_and_running_text_hold_no_command(text):
    assert parse(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Looks good.\n\n/agent run\n", [Verb.RUN]),
        ("```\ncode\n```\n/agent retry", [Verb.RETRY]),
        ("> quoted\n\n/agent hold", [Verb.HOLD]),
        ("/agent budget 9\n/agent retry", [Verb.BUDGET, Verb.RETRY]),
        ("/agent run\n/agent run", [Verb.RUN]),
        ("``` a`b\n/agent plan", [Verb.PLAN]),
        ("/ag\u200bent explain", [Verb.EXPLAIN]),
    ],
)
def test_lines_of_their_own_are_commands(text, expected):
    assert verbs(text) == expected


def test_only_the_first_few_commands_count():
    assert len(parse("\n".join(f"/agent budget {n}" for n in range(1, 40)))) == MAX_COMMANDS


def test_a_comment_of_commands_alone_is_told_apart():
    assert is_only_commands("/agent run\n\n /agent explain ")
    assert not is_only_commands("/agent run\nand keep the old names")
    assert not is_only_commands("")


@settings(deadline=None)  # a busy machine is no bug
@given(st.text(max_size=300), st.sampled_from(["", "> ", "    ", "```\n"]))
def test_nothing_makes_it_fail(text, before):
    for command in parse(f"{before}/agent {text}"):
        assert (command.verb is None) == bool(command.problem)


@pytest.mark.parametrize("piece", ["/agent run ", "```\n", "> a\n", "/agent x\n", "\n"])
def test_a_huge_comment_takes_no_time(piece):
    started = time.monotonic()
    parse(piece * (2_000_000 // len(piece)))
    assert time.monotonic() - started < 5


def test_every_command_is_explained():
    assert set(USAGE) == set(Verb)
