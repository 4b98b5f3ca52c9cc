"""Lines of ours in texts on GitHub: hidden from readers, recognised by us, forged by nobody. Pure.

Anyone may paste such a line and maintainers may edit our comments, so a marker counts only in a text by our own login
and only with our signature. Whoever calls checks the login.

    issue, last line       <!-- agent-grid:key=<digest>.<signature> -->
    comment, first line    <!-- agent-grid:<slot> v1 <signature> {"seq":9,…} -->
    pull request           <!-- agent-grid:begin <digest of the title> --> … <!-- agent-grid:end -->
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracker import limits
from tracker.public_errors import InvalidError

COMMENT_MAX_CHARS = 65_000
"""Of a whole comment of ours; GitHub takes 65,536."""
_SHORTENED = "\n\n… (shortened)"
_KEY = re.compile(r"\s*<!-- agent-grid:key=(?P<digest>[0-9a-f]{32})\.(?P<signature>[0-9a-f]{32}) -->\s*\Z")
_COMMENT = re.compile(
    r"\A<!-- agent-grid:(?P<slot>[a-z0-9][a-z0-9-]{0,39}) v1 (?P<signature>[0-9a-f]{32}) (?P<json>\{[^\n]*\}) -->(?:\n|\Z)"
)
_BEGIN = re.compile(r"<!-- agent-grid:begin(?: (?P<digest>[0-9a-f]{16}))? -->")
_END = "<!-- agent-grid:end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedComment:
    """A comment of ours taken apart."""

    slot: str
    data: dict[str, Any]
    markdown: str


# --- issues --------------------------------------------------------------------------------------------------------


def issue_body(body: str, *, dedupe_key: str, secret: bytes) -> str:
    """The text of an issue with the line by which it is found again.

    Raises:
        InvalidError: No room is left for the line.
    """
    digest = _digest(dedupe_key)
    line = f"<!-- agent-grid:key={digest}.{_sign(secret, 'key', digest)} -->"
    made = f"{body.rstrip()}\n\n{line}" if body.strip() else line
    if len(made) > limits.BODY_MAX_CHARS:
        room = limits.BODY_MAX_CHARS - len(line) - 2
        raise InvalidError(f"The body has {len(body)} characters; GitHub and our marker leave {room}.", field="body")
    return made


def without_key(body: str) -> str:
    """The text of an issue as it was wished for: without our line."""
    found = _KEY.search(body[-500:])
    return body[: len(body) - (len(body[-500:]) - found.start())] if found else body


def with_key_of(present: str, body: str) -> str:
    """A new text for an issue, with our line where the present one has it.

    Raises:
        InvalidError: No room is left for the line.
    """
    found = _KEY.search(present[-500:])
    if found is None:
        return body
    line = found[0].strip()
    made = f"{body.rstrip()}\n\n{line}" if body.strip() else line
    if len(made) > limits.BODY_MAX_CHARS:
        room = limits.BODY_MAX_CHARS - len(line) - 2
        raise InvalidError(f"The body has {len(body)} characters; GitHub and our marker leave {room}.", field="body")
    return made


def has_key(body: str, *, dedupe_key: str, secret: bytes) -> bool:
    """Whether the text carries our signed line of this key."""
    found = _KEY.search(body[-500:])
    if found is None:
        return False
    digest = _digest(dedupe_key)
    return found["digest"] == digest and hmac.compare_digest(found["signature"], _sign(secret, "key", digest))


# --- comments ------------------------------------------------------------------------------------------------------


def comment_body(*, slot: str, issue_id: int, data: Mapping[str, Any], markdown: str, secret: bytes) -> str:
    """A comment of ours: the marker, then the text, shortened where it is too long. `data` is never shortened.

    Args:
        issue_id: GitHub's id of the issue, so that the marker is worth nothing elsewhere.
    """
    facts = _dump(data)
    marker = f"<!-- agent-grid:{slot} v1 {_sign(secret, slot, issue_id, facts)} {facts} -->\n"
    room = COMMENT_MAX_CHARS - len(marker)
    if len(markdown) > room:
        markdown = markdown[: room - len(_SHORTENED)] + _SHORTENED
    return marker + markdown


def read_comment(body: str, *, issue_id: int, secret: bytes) -> MarkedComment | None:
    """A comment of ours taken apart; None without a marker that we signed for this issue."""
    body = body.replace("\r\n", "\n")
    found = _COMMENT.match(body)
    if found is None:
        return None
    slot, facts = found["slot"], found["json"]
    if not hmac.compare_digest(found["signature"], _sign(secret, slot, issue_id, facts)):
        return None
    return MarkedComment(slot=slot, data=json.loads(facts), markdown=body[found.end() :])


def is_late(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether `new` was decided before `old`: both have a `seq`, and its is lower."""
    new_seq, old_seq = new.get("seq"), old.get("seq")
    return isinstance(new_seq, int) and isinstance(old_seq, int) and new_seq < old_seq


# --- pull requests -------------------------------------------------------------------------------------------------


def change_body(*, title: str, body: str, present: str | None = None) -> str:
    """The text of a pull request: our block, and around it whatever people wrote into the `present` text.

    A present text without our block is people's own; it stays as it is.

    Args:
        body: Words that may be an agent's in part: whatever looks like a marker in there is none.
    """
    inner = body.replace("<!-- agent-grid:", "&lt;!-- agent-grid:").strip("\n")
    block = f"<!-- agent-grid:begin {_digest(title)[:16]} -->\n{inner}\n{_END}"
    if present is None:
        return block
    found = _block(present)
    return present[: found.whole.start] + block + present[found.whole.stop :] if found else present


def title_is_ours(*, title: str, body: str) -> bool:
    """Whether a pull request still has the title that we gave it, as far as our block tells."""
    found = _block(body)
    return found is not None and found.digest == _digest(title)[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    whole: slice
    digest: str


def _block(text: str) -> _Block | None:
    """Where our block stands in the text of a pull request."""
    begin = _BEGIN.search(text)
    end = text.find(_END, begin.end()) if begin else -1
    if begin is None or end < 0:
        return None
    return _Block(whole=slice(begin.start(), end + len(_END)), digest=begin["digest"] or "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sign(secret: bytes, *parts: object) -> str:
    signed = "|".join(str(part) for part in parts)
    return hmac.new(secret, b"agent-grid marker|" + signed.encode(), hashlib.sha256).hexdigest()[:32]


def _dump(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the HTML comment it stands in."""
    made = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return made.replace("<", "\\u003c").replace(">", "\\u003e").replace("--", "\\u002d\\u002d")
