"""What people read on the tracker: bounded, and nothing in an agent's words works."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.documents import pull_requests
from coordinator.documents.pull_requests import Commit, Evidence, Part, Proposal, Run, Said, Status

NASTY = "Closes #7\n```\n@team fixes #8 <!-- agent-grid:end --> | [x](http://evil) `code\u202e\\| ~~~\n> Closes #9"
MANY = st.text(max_size=400) | st.just(NASTY) | st.just("`" * 40)


def outside_code(markdown: str) -> str:
    """What is left when code blocks and code spans are taken away, as a renderer would see them."""
    kept, fence = [], ""
    for line in markdown.split("\n"):
        text = line.removeprefix(">").lstrip()
        found = re.match(r"(`{3,})", text)
        if not fence and found:
            fence = found[1]
        elif fence and text.strip() == fence:
            fence = ""
        elif not fence:
            kept.append(re.sub(r"(`+)(?:(?!\1).)+\1", "", line))
    assert not fence, "a block is not closed"
    return "\n".join(kept)


def proposal(**changes: object) -> Proposal:
    facts = {"key": "12", "summary": "Did it.", "head": "a" * 40, "evidence": [], "commits": [], **changes}
    return Proposal(**facts)


def status(**changes: object) -> Status:
    return Status(**{"state": "running", "attempt": 1, "attempts": 3, "branch": "agent/12-x", **changes})


def test_the_first_line_closes_the_issue_and_evidence_follows():
    evidence = [Evidence(command="pytest -q | tee log", passed=True, seconds=1.25)]
    text = pull_requests.body(proposal(evidence=evidence, commits=[Commit(id="b" * 40, subject="Add it")]))
    assert text.startswith("Closes #12\n")
    assert "| `pytest -q \\| tee log` | passed | 1.2 |" in text
    assert "aaaaaaaaaaaa" in text and "bbbbbbbbbbbb Add it" in text


def test_without_evidence_it_says_that_it_stays_a_draft():
    assert "stays a draft" in pull_requests.body(proposal())


def test_a_link_is_there_only_when_people_can_follow_it():
    assert "](https://grid.example/1)" in pull_requests.body(proposal(url="https://grid.example/1"))
    assert "](" not in pull_requests.body(proposal()) + pull_requests.status(status())


@given(summary=MANY, subject=MANY, command=MANY)
def test_nothing_in_a_pull_request_works_but_our_own_first_line(summary: str, subject: str, command: str):
    text = pull_requests.body(
        proposal(
            summary=summary,
            commits=[Commit(id="b" * 40, subject=subject)],
            evidence=[Evidence(command=command, passed=True, seconds=1)],
        )
    )
    first, _, rest = text.partition("\n")
    assert first == "Closes #12"
    assert not re.search(r"#\d|@\w|\]\(|<!--", outside_code(rest))


@given(reason=MANY, summary=MANY, title=MANY, tail=MANY, author=MANY, path=MANY)
def test_nothing_in_a_status_comment_works(reason: str, summary: str, title: str, tail: str, author: str, path: str):
    text = pull_requests.status(
        status(
            reason=reason,
            summary=summary,
            parts=[Part(key="13", title=title, state="done")],
            evidence=[Evidence(command=title, passed=False, seconds=1, tail=tail)],
            said=[Said(author=author, place=path)],
            change="15",
        )
    )
    left = outside_code(text).replace("Pull request #15", "").replace("| #13 ", "")
    assert not re.search(r"#\d|@\w|\]\(|<!--", left)
    # A bar in a title must not make another cell.
    row = next(line for line in text.split("\n") if line.startswith("| #13"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_a_status_comment_has_everything_in_few_lines():
    text = pull_requests.status(
        status(
            state="waiting",
            attempt=2,
            head="c" * 40,
            parts=[Part(key="13", title="Parser", state="done"), Part(key="14", title="Command", state="running")],
            runs=[Run(id="0123456789", mode="work", state="succeeded", seconds=61)],
            executions=3,
            wall_seconds=1_234,
        )
    )
    assert text.startswith("**Agent: waiting** - attempt 2 of 3\n")
    assert "| #14 `Command` | running |" in text and "| `01234567` | work | succeeded | 61 |" in text
    assert "Used so far: 3 runs, 1,234 seconds of running time." in text
    assert "branch `agent/12-x`, commit `cccccccccccc`" in text


def test_texts_are_bounded_however_much_there_is():
    evidence = [Evidence(command="x" * 5_000, passed=False, seconds=1, tail="y" * 50_000)] * 50
    parts = [Part(key=str(n), title="t" * 1_000, state="running") for n in range(300)]
    runs = [Run(id="0" * 32, mode="work", state="failed", seconds=1)] * 50
    said = [Said(author="a" * 500, place="p" * 5_000)] * 100
    commits = [Commit(id="b" * 40, subject="s" * 9_000)] * 500
    words = "w" * 1_000_000
    texts = [
        pull_requests.body(proposal(summary=words, evidence=evidence, commits=commits)),
        pull_requests.status(status(reason=words, summary=words, parts=parts, evidence=evidence, runs=runs, said=said)),
        pull_requests.plan(parts, summary=words),
        pull_requests.proposed("15", is_ready=True, said=said),
        pull_requests.needs_you("failed", words),
    ]
    assert max(len(text) for text in texts) <= pull_requests.MAX_CHARACTERS < 65_000
    assert all(len(text) < 30_000 for text in texts[2:])
    assert "… and 200 more" in texts[1] and texts[1].count("| `00000000` |") == 10


@pytest.mark.parametrize(("text", "title"), [("Add  a\nparser", "Add a parser"), ("\u200b", "Work of an agent")])
def test_a_title_is_one_line(text: str, title: str):
    assert pull_requests.title(text) == title
    assert len(pull_requests.title("x" * 10_000)) <= 256


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Fixes #9: crash", "Fixes # 9: crash"),
        ("Resolve acme/other#3 and close GH-4", "Resolve acme/other# 3 and close GH- 4"),
        ("closes:#5", "closes:# 5"),
        ("fix https://github.com/acme/x/issues/6 at last", "fix https: //github.com/acme/x/issues/6 at last"),
        ("Show #9 beside prefixes #10", "Show #9 beside prefixes #10"),
    ],
)
def test_a_title_closes_nothing_when_it_is_squashed(text: str, title: str):
    assert pull_requests.title(text) == title
    assert pull_requests.closed_by(title) == set()
    assert len(pull_requests.title("fixes #9 " * 100)) <= 256


@given(summary=MANY, subject=MANY, command=MANY, title=MANY)
def test_as_the_message_of_a_squashed_commit_a_pull_request_closes_its_own_issue_only(
    summary: str, subject: str, command: str, title: str
):
    words = f"{summary} closes #99 and {subject}"
    commits = [Commit(id="b" * 40, subject=f"fixes acme/other#3 {subject}")]
    evidence = [Evidence(command=f"resolve: GH-7 {command}", passed=True, seconds=1)]
    text = pull_requests.body(proposal(summary=words, commits=commits, evidence=evidence))
    assert pull_requests.closed_by(f"{pull_requests.title(f'{title} fix #98')} (#15)\n\n{text}") == {"12"}


def test_a_long_message_is_read_in_no_time():
    for text in ("close:http://", "fixes.", "fix/", "close: "):
        started = time.monotonic()
        assert pull_requests.closed_by(text * (1_000_000 // len(text))) == set()
        assert time.monotonic() - started < 5


def test_a_title_in_a_commit_of_ours_closes_and_mentions_nothing():
    evil = "Fixes #9, closes acme/other#8, GH-7 and https://github.com/acme/x/issues/6 cc @team"
    made = pull_requests.in_commit(evil + "\nCloses #5")
    assert made == "Fixes # 9, closes acme/other# 8, GH- 7 and https: //github.com/acme/x/issues/6 cc @ team Closes # 5"
    assert pull_requests.in_commit("Add C# and a@ b") == "Add C# and a@ b"


@pytest.mark.parametrize(
    ("message", "closed"),
    [
        ("Fix the parser\n\nCloses #12, fixes: #13 and resolved GH-14", {"12", "13", "14"}),
        ("fixes acme/app#3", {"acme/app#3"}),
        ("Closes https://github.com/acme/app/issues/9", {"https://github.com/acme/app/issues/9"}),
        ("See #12; prefixes #4; fix 5; close the # 6", set()),
    ],
)
def test_closing_words_are_read_as_github_reads_them(message: str, closed: set[str]) -> None:
    assert pull_requests.closed_by(message) == closed
