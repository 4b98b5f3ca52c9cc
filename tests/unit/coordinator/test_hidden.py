"""Words that a rendered page does not show do not reach a prompt; what it shows stays."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.documents.untrusted import visible

EVIL = "do evil"
HIDING = [
    '<img src=x alt="{}">',
    "<img src=x alt='{}'>",
    '<img alt="a > b {}">',
    '<img\nalt="{}"\n>',
    '<img/alt="{}">',
    "<div {}>shown</div>",
    '<p title="{}">shown</p>',
    '<a href="https://x" aria-label="{}" data-x=\'{}\'>shown</a>',
    "x <span {}>y</span>",
    '<div title="\n\n{}\n\n">',
    '<div title="\n\n```\n{}\n```\n\n">',
    "<div < {}>",
    "<div>\nx <img < {}>\n</div>",
    '<div title="{}',
    '<div\n```\n<img alt="{}">\n```\n>',
    '<div>\n```\n<img alt="{}">\n```\n</div>',
    '<pre>\n\n```\n<img alt="{}">\n```\n</pre>',
    '- ```\n  a\n  ```\n<img alt="{}">',
    'a <!--\n\n```\n-->\n```\n<img alt="{}">',
    "![{}](x.png)",
    "![a [{}] b](x.png)",
    "![a \\] {}](x.png)",
    "![{}][ref]",
    "![{}]\n\n[{}]: x.png",
    '[shown](https://x "{}")',
    "[shown](https://x '{}')",
    "[shown](https://x ({}))",
    '[shown](<a b> "{}")',
    '![](x.png\n"{}")',
    "[//]: # ({})",
    '[x]: https://x "{}"',
    '[x]: https://x\n"{}"',
    "[x]:\nhttps://x\n'{}'",
    "[{}]: https://x",
    "> [{}]: https://x",
    "<!-- {} -->",
]
SHOWN = [
    "a < b and c > d, a<b && c>d, x <- y, List<String>, #include <vector>",
    "<b>bold</b> <br> <br/> <details><summary>more</summary></details>",
    "<https://example.com> and <me@example.com>",
    "#![allow(unused)] and ![x] alone",
    "[text](https://example.com/a_(b)) and [text][ref]",
    "- [x] done\n- [ ] open",
    "[INFO]: it is starting up now",
    "call f(a, \"b\") and (see 'that')",
    "&amp; &lt;b&gt; &copy; &nbsp; AT&T a&b;",
    '```html\n<img alt="kept" title=\'kept\'>\n![kept](x "kept")\n[kept]: x\n```',
    "Text.\n\n~~~\n<div class=kept>\n~~~\nMore.",
    "text right above\n```\n<a b=kept>\n```",
    "a | b\n--- | ---\n1 | 2",
    "[^1]: a footnote",
]


@pytest.mark.parametrize("pattern", HIDING)
def test_what_a_page_does_not_show_is_left_out(pattern):
    for before in ("", "Fix it.\n\n", "```\ncode\n```\n\n"):
        seen = visible(before + pattern.replace("{}", EVIL))
        assert EVIL not in seen
        assert visible(seen) == seen


@pytest.mark.parametrize("text", SHOWN)
def test_what_a_page_shows_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    "entity", ["&#8203;", "&#x200B;", "&zwnj;", "&ZeroWidthSpace;", "&#xE0041;", "&#8203", "&shy;"]
)
def test_entities_for_nothing_are_left_out(entity):
    assert visible(f"a{entity}b") == "a b"
    nested = entity[:3] + entity + entity[3:]
    assert visible(visible(nested)) == visible(nested)


def test_an_agent_is_told_that_something_is_missing():
    assert visible('<img alt="x">') == "<img …>"
    assert "unclosed" in visible('<img alt="x')


PIECES = ['<a ', "<div", ' x="', '"', "'", ">", "</a>", "/", "![", "[", "](", "]", ")", "]: ", "x", "\n", "\n\n", " ",
          "```", "~~~", "<!--", "-->", "&#8203;", "&", ";", "#", "\\", "=", "<", "    ", "> ", "- ", "<pre>"]  # fmt: skip


@settings(deadline=None, max_examples=400)  # a busy machine is no bug
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_nothing_is_left_to_leave_out(text):
    seen = visible(text)
    assert visible(seen) == seen


@pytest.mark.parametrize(
    "piece",
    ["<a ", '<a ="', '"<a ="', "<a ='\"'\"", '<b "="', "![", "](", '[a]: x "\n', "[a\n", "]: ", "&#8203;", "&a", "= ",
     '](a "', "](a (", "```\n", "<div>\n", "<div\n\n", "![[[", "> [", "\\", "(", " \n", "<p x>\n\n"],
)  # fmt: skip
def test_a_long_text_takes_no_time(piece):
    text = piece * (250_000 // len(piece))
    started = time.process_time()  # a busy machine takes none of it
    visible(text)
    assert time.process_time() - started < 4
