"""What every admin page must be: answered under the strict policy, and free of anything that a stranger's text could run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from django.http import HttpResponse

HOSTILE = "<img src=x onerror=alert(1)></script>{{7*7}}\x1b[31m\u202eevil\u200b"
"""Markup, the end of a script, a template, a terminal colour, a direction mark, a character without width."""
HOSTILE_MARKUP = "<img src=x onerror=alert(1)></script>"
"""For texts that cannot hold the rest, and for headings made of a row's own name."""
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f]")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.links: list[str] = []
        self._is_in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self._is_in_script = tag == "script"
        if tag == "style" or (tag == "img" and names.get("src") == "x"):
            self.problems.append(f"<{tag}>")
        self.problems += [f"<{tag} {name}>" for name in names if name == "style" or name.startswith("on")]
        for name in ("href", "src", "action"):
            target = names.get(name) or ""
            if re.match(r"\s*(javascript|data|vbscript):", target, re.IGNORECASE):
                self.problems.append(f"<{tag} {name}={target}>")
        if tag == "a" and names.get("href"):
            self.links.append(str(names["href"]))

    def handle_data(self, data: str) -> None:
        if self._is_in_script and data.strip():
            self.problems.append(f"inline script: {data.strip()[:60]}")

    def handle_endtag(self, tag: str) -> None:
        self._is_in_script = False


def checked(response: HttpResponse | Any) -> str:
    """The text of a page that has nothing wrong with it."""
    assert response.status_code == 200, response.status_code
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    html: str = response.content.decode()
    page = _Page()
    page.feed(html)
    assert not page.problems
    assert "<img src=x" not in html
    assert not UNSEEN.findall(html)
    return html


def links(html: str) -> list[str]:
    """Targets of the page's links."""
    page = _Page()
    page.feed(html)
    return page.links


def form_with(html: str, marker: str) -> dict[str, str]:
    """The hidden fields of the page's form that holds `marker`."""
    (form,) = [form for form in re.findall(r"<form\b.*?</form>", html, re.DOTALL) if marker in form]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))
