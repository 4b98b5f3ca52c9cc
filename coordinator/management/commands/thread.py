from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from rich.text import Text

from coordinator import public_api, public_teamwork
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, text, whole
from coordinator.management.output import cell, joined, table
from coordinator.public_errors import InvalidInputError
from coordinator.public_types import MessageKind

_MAX_TEXT = 20_000
_LONGEST = 18
_STYLES = {
    "open": "green",
    "expired": "yellow",
    "closed": "dim",
    "seen": "green",
    "delivered": "green",
    "queued": "yellow",
    "undeliverable": "red",
}
_KINDS = (MessageKind.CHAT, MessageKind.QUESTION, MessageKind.ANSWER)


class Command(GridCommand):
    help = "Conversations of agents: read along, speak in them, and let two agents talk that otherwise may not."
    examples = """
    manage.py thread list 12                          open threads of the tree of 12; --all: closed ones, too
    manage.py thread show 7                           who is in it, what was said, how far it came
    manage.py thread open 12.1 12.2 --subject "Format" you and these agents
    manage.py thread post 7 "use JSON"                you are in it from then on; - reads standard input
    manage.py thread join 7                           be in it; thread leave 7
    manage.py thread bridge 12.1 app#15               these two may write to each other, across trees as well
    manage.py thread close 7 --reason "settled"       nothing more is said in it; a bridge is taken down
    """
    not_ok = "it is closed or has expired, or nobody could be told"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=sorted(self._acts()), help="what to do")
        parser.add_argument(
            "names",
            metavar="NAME",
            nargs="*",
            type=text(_MAX_TEXT),
            help="a thread's number, issues, a text; see the examples",
        )
        parser.add_argument("--subject", type=text(200), default="", help="what it is about (open, bridge)")
        parser.add_argument("--reason", type=text(300), default="", help="why (close)")
        parser.add_argument(
            "--kind", choices=[str(kind) for kind in _KINDS], default="chat", help="of what you say (post)"
        )
        parser.add_argument(
            "--expires-minutes", type=whole(1, 7 * 24 * 60), help="nobody is told of it after so long (open)"
        )
        parser.add_argument("--limit", type=whole(1, 1_000), default=50, help="so many posts (show) or threads (list)")
        parser.add_argument("--all", action="store_true", help="closed ones as well (list)")

    def answer(self, options: dict[str, Any]) -> int:
        return self._acts()[options["act"]](options["names"], options)

    def _acts(self) -> Mapping[str, Callable[[list[str], dict[str, Any]], int]]:
        return {
            "list": self._list,
            "show": self._show,
            "open": self._open,
            "post": self._post,
            "join": self._join,
            "leave": self._leave,
            "close": self._close,
            "bridge": self._bridge,
        }

    def _list(self, names: list[str], options: dict[str, Any]) -> int:
        root_id = public_api.find_agent(names[0]).root_id if names else None
        found = public_teamwork.list_threads(
            root_id=root_id, is_open=None if options["all"] else True, limit=options["limit"]
        )
        self.out.document({"threads": found})
        rows = [
            (
                cell(row.id, "bold"),
                row.kind,
                cell(row.state, _STYLES.get(row.state, "")),
                cell(row.issue, limit=60),
                cell(_names(row), limit=120),
                cell(row.subject, limit=120),
            )
            for row in found
        ]
        headers = ("thread", "kind", "state", "tree", "in it", "subject")
        self.out.lines(table(rows, headers=headers) if rows else [cell("no conversation", "dim")])
        return OK

    def _show(self, names: list[str], options: dict[str, Any]) -> int:
        thread = public_teamwork.get_thread(_number(names, "show"))
        posts = public_teamwork.posts_of_thread(thread.id, limit=options["limit"])
        self.out.document({"thread": thread, "posts": posts})
        self.out.line(cell(f"thread {thread.id}", "bold"), "  ", cell(thread.subject), "  ", _state(thread.state))
        self.out.line(f"{thread.kind} of {thread.issue}, opened by {thread.opened_by}", indent=2)
        self.out.line(cell(f"in it: {_names(thread)}"), indent=2)
        if thread.closed_by:
            self.out.line(cell(f"closed by {thread.closed_by}: {thread.reason}", "dim"), indent=2)
        for post in posts:
            reached = ", ".join(
                f"{to.path} {to.state}" + (f" ({to.reason})" if to.reason else "") for to in post.deliveries
            )
            self.out.line()
            self.out.line(cell(post.sender, "bold"), f"  {post.at:%Y-%m-%d %H:%M:%S}  ", cell(reached, "dim"))
            self.out.text(post.words)
        return OK

    def _open(self, names: list[str], options: dict[str, Any]) -> int:
        if not names or not options["subject"]:
            raise InvalidInputError('say with whom and about what: `thread open ISSUE [ISSUE …] --subject "…"`')
        minutes = options["expires_minutes"]
        thread = public_teamwork.open_thread(
            [public_api.find_agent(name).id for name in names],
            actor=actor(),
            subject=options["subject"],
            expires_at=timezone.now() + timedelta(minutes=minutes) if minutes else None,
        )
        return self._tell(thread, f"opened; say something: `thread post {thread.id} TEXT`")

    def _post(self, names: list[str], options: dict[str, Any]) -> int:
        number = _number(names, "post")
        if len(names) != 2:
            raise InvalidInputError("say what: `thread post THREAD TEXT`, in quotes; - reads standard input")
        words = sys.stdin.read(_MAX_TEXT) if names[1] == "-" else names[1]
        said = public_teamwork.post_to_thread(number, actor=actor(), text=words, kind=MessageKind(options["kind"]))
        self.out.document({"post": said})
        self.out.line(cell(f"post {said.id} in thread {number}", "bold"))
        for to in said.deliveries:
            self.out.line(joined(to.path, "  ", _state(to.state), "  ", cell(to.reason, "dim")), indent=2)
        lost = bool(said.deliveries) and all(to.state == "undeliverable" for to in said.deliveries)
        return NOT_OK if lost else OK

    def _join(self, names: list[str], options: dict[str, Any]) -> int:
        public_teamwork.join_thread(_number(names, "join"), person=actor())
        return self._tell(public_teamwork.get_thread(_number(names, "join")), "you are in it")

    def _leave(self, names: list[str], options: dict[str, Any]) -> int:
        was_in = public_teamwork.leave_thread(_number(names, "leave"), person=actor())
        return self._tell(
            public_teamwork.get_thread(_number(names, "leave")), "left" if was_in else "you were not in it"
        )

    def _close(self, names: list[str], options: dict[str, Any]) -> int:
        number = _number(names, "close")
        reason = options["reason"] or "closed by hand"
        was_open = public_teamwork.close_thread(number, by=actor(), reason=reason)
        self._tell(public_teamwork.get_thread(number), "closed" if was_open else "it was closed already")
        return OK if was_open else NOT_OK

    def _bridge(self, names: list[str], options: dict[str, Any]) -> int:
        if len(names) != 2:
            raise InvalidInputError("name two: `thread bridge ISSUE ISSUE`")
        one, other = (public_api.find_agent(name).id for name in names)
        thread = public_teamwork.bridge_agents(one, other, actor=actor(), subject=options["subject"])
        return self._tell(thread, f"joined until `thread close {thread.id}`")

    def _tell(self, thread: Any, what: str) -> int:
        self.out.document({"thread": thread})
        self.out.line(cell(f"thread {thread.id}", "bold"), "  ", cell(thread.subject), "  ", cell(what, "green"))
        return OK


def _number(names: list[str], act: str) -> int:
    """The thread that is named first."""
    name = names[0].strip().removeprefix("#") if names else ""
    if not (name.isascii() and name.isdecimal() and len(name) <= _LONGEST):
        raise InvalidInputError(f"say which: `thread {act} THREAD`; `thread list` shows their numbers")
    return int(name)


def _names(thread: Any) -> str:
    return ", ".join(one.person or one.path for one in thread.members if one.left_at is None) or "nobody"


def _state(state: str) -> Text:
    return cell(state, _STYLES.get(state, ""))
