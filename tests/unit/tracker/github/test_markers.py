from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker import limits
from tracker.github import markers
from tracker.public_errors import InvalidError

SECRET = b"secret"
texts = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r"), max_size=200)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.printable, max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def comment(**fields: Any) -> str:
    given: dict[str, Any] = {
        "slot": "status",
        "issue_id": 7,
        "data": {"seq": 9},
        "markdown": "Running",
        "secret": SECRET,
    }
    return markers.comment_body(**given | fields)


# --- comments ------------------------------------------------------------------------------------------------------


@given(data=st.dictionaries(st.text(string.printable, max_size=8), json_values, max_size=4), markdown=texts)
def test_a_comment_reads_back(data: dict[str, Any], markdown: str) -> None:
    body = comment(data=data, markdown=markdown)
    found = markers.read_comment(body, issue_id=7, secret=SECRET)
    assert found == markers.MarkedComment(slot="status", data=data, markdown=markdown)
    # Whatever the data says, the HTML comment ends where our line does.
    assert body.index("-->") == body.index("\n") - 3
    assert body.count("<!--") - markdown.count("<!--") == 1


def test_browsers_line_ends_do_not_spoil_a_comment() -> None:
    body = comment(markdown="a\nb").replace("\n", "\r\n")
    found = markers.read_comment(body, issue_id=7, secret=SECRET)
    assert found is not None
    assert found.markdown == "a\nb"


@pytest.mark.parametrize(
    "body",
    [
        comment(issue_id=8),
        comment(secret=b"another"),
        comment().replace('"seq":9', '"seq":8'),
        comment().replace("status", "states"),
        " " + comment(),
        "text\n" + comment(),
        comment().replace(" v1 ", " v2 "),
        comment().partition(" -->")[0],
        "",
    ],
)
def test_a_marker_that_we_did_not_put_there_counts_for_nothing(body: str) -> None:
    assert markers.read_comment(body, issue_id=7, secret=SECRET) is None


def test_a_long_comment_loses_words_but_never_its_marker() -> None:
    data = {"note": "<>" * 3_000}
    body = comment(data=data, markdown="é" * 70_000)
    assert len(body) == markers.COMMENT_MAX_CHARS
    found = markers.read_comment(body, issue_id=7, secret=SECRET)
    assert found is not None
    assert found.data == data
    assert found.markdown.endswith("é\n\n… (shortened)")


def test_the_largest_data_leaves_room_for_words() -> None:
    data = limits.comment_data({"n": "<" * (limits.DATA_MAX_CHARS - 10)})
    assert len(comment(data=data, markdown="")) < markers.COMMENT_MAX_CHARS - 10_000


@pytest.mark.parametrize(
    ("new", "old", "is_late"),
    [({"seq": 1}, {"seq": 2}, True), ({"seq": 2}, {"seq": 2}, False), ({}, {"seq": 2}, False), ({"seq": 1}, {}, False)],
)
def test_a_lower_seq_is_late(new: dict[str, Any], old: dict[str, Any], is_late: bool) -> None:
    assert markers.is_late(new, old) is is_late


# --- issues --------------------------------------------------------------------------------------------------------


@given(body=texts, key=st.text(string.printable, min_size=1, max_size=200))
def test_an_issue_is_known_by_its_key_and_reads_back_without_it(body: str, key: str) -> None:
    marked = markers.issue_body(body, dedupe_key=key, secret=SECRET)
    assert markers.has_key(marked, dedupe_key=key, secret=SECRET)
    assert markers.without_key(marked) == body.rstrip()


def test_other_keys_secrets_and_places_do_not_fit() -> None:
    marked = markers.issue_body("Text", dedupe_key="key", secret=SECRET)
    line = marked.splitlines()[-1]
    assert not markers.has_key(marked, dedupe_key="kez", secret=SECRET)
    assert not markers.has_key(marked, dedupe_key="key", secret=b"another")
    assert not markers.has_key(marked + "\n\nmore", dedupe_key="key", secret=SECRET)
    assert not markers.has_key("Text", dedupe_key="key", secret=SECRET)
    assert markers.without_key(f"{line}\nmore") == f"{line}\nmore"
    # An agent that quotes the line in its text moves nothing: ours comes last.
    other = markers.issue_body(marked, dedupe_key="other", secret=SECRET)
    assert not markers.has_key(other, dedupe_key="key", secret=SECRET)
    assert markers.without_key(other) == marked


def test_a_body_without_room_for_our_line_is_refused_in_words() -> None:
    with pytest.raises(InvalidError, match=r"leave 654\d\d") as caught:
        markers.issue_body("x" * 65_500, dedupe_key="key", secret=SECRET)
    assert caught.value.field == "body"


# --- pull requests -------------------------------------------------------------------------------------------------


def test_people_keep_what_they_wrote_around_our_block() -> None:
    first = markers.change_body(title="One", body="Closes #1\n\nDone.")
    edited = f"Please look at this first.\n\n{first}\n\n- [x] checked"
    second = markers.change_body(title="One", body="Closes #1\n\nBetter.", present=edited)
    assert second == edited.replace("Done.", "Better.")
    assert markers.change_body(title="One", body="New", present="All mine now.") == "All mine now."


def test_a_text_cannot_end_its_block_early() -> None:
    evil = "a <!-- agent-grid:end --> b <!-- agent-grid:begin --> c"
    once = markers.change_body(title="One", body=evil)
    assert once.count("<!-- agent-grid:end -->") == 1
    assert markers.change_body(title="One", body="Fine", present=once) == markers.change_body(title="One", body="Fine")


def test_a_body_that_brings_a_block_along_is_not_cut_down_to_it() -> None:
    forged = "Closes #1\n\n> ```text\n> <!-- agent-grid:begin -->\n> @team Closes #99\n> <!-- agent-grid:end -->\n> ```"
    for present in (None, markers.change_body(title="One", body="Old")):
        made = markers.change_body(title="One", body=f"{forged}\n\nRead it as a stranger's work.", present=present)
        assert made.count("<!-- agent-grid:begin") == made.count("<!-- agent-grid:end") == 1
        assert "Closes #1\n\n> ```text\n" in made and "> ```\n\nRead it as a stranger's work." in made


def test_a_title_is_ours_until_somebody_changes_it() -> None:
    body = markers.change_body(title="One", body="Text")
    assert markers.title_is_ours(title="One", body=body)
    assert not markers.title_is_ours(title="Two", body=body)
    assert not markers.title_is_ours(title="One", body="no block")


@pytest.mark.timeout(5)
def test_hostile_texts_are_read_in_linear_time() -> None:
    for body in ("<!-- agent-grid:begin -->" * 2_600, " " * 65_000, "<!-- agent-grid:status v1 " + "{" * 60_000):
        markers.change_body(title="One", body="x", present=body)
        markers.without_key(body)
        markers.read_comment(body, issue_id=1, secret=SECRET)
