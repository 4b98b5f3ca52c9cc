"""Words and shapes of what commands print; whether a tree still moves."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.documents.untrusted import printable
from coordinator.management import follow, render, words
from coordinator.management.output import Output, cell, joined, jsonable, row, table
from coordinator.public_types import AgentState, AgentView, Answer, Decision, EnvelopeView, ScopeKind
from grid.public_types import EventView

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AGENT = AgentView(
    id=1,
    path="1",
    depth=0,
    parent_id=None,
    root_id=1,
    issue_id=1,
    issue="local/app#1",
    title="Fix it",
    repository_id=1,
    state=AgentState.NEW,
    is_held=False,
    paused_by="",
    attempts=0,
    crashes=0,
    executions=0,
    branch="agent/1-fix-it",
    head="",
    summary="",
    blocked_reason="",
    decision=None,
    not_before=None,
    execution_id=None,
    adapter="command",
    created_at=NOW,
    updated_at=NOW,
    ended_at=None,
)


def child(number: int, state: AgentState, code: str = "", *, parent: int = 1, answer: Answer = Answer.DEFERRED):
    decision = Decision(answer=answer, code=code, reason=code) if code else None
    return replace(
        AGENT,
        id=number,
        path=f"1.{number}",
        depth=1,
        parent_id=parent,
        state=state,
        decision=decision,
        title=f"T{number}",
    )


def event(kind: str, /, **body) -> EventView:
    return EventView(id=1, stream="agent:1", seq=1, root="tree:1", kind=kind, at=NOW, body=body)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# --- output ----------------------------------------------------------------------------------------------------


@given(st.text())
def test_no_cell_and_no_row_holds_what_cannot_be_seen(text: str) -> None:
    for shown in (cell(text).plain, row(text).plain, joined(text).plain):
        assert "\n" not in shown
        assert printable(shown) == shown


@given(st.text())
def test_whatever_is_printed_is_one_harmless_line(text: str) -> None:
    stream = io.StringIO()
    Output(stream).line(text)
    assert stream.getvalue().endswith("\n")
    assert printable(stream.getvalue()) == stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_escape_sequences_go_as_a_whole() -> None:
    assert cell("\x1b]0;pwn\x07a\x1b[31mb\x1b[0m").plain == "ab"


def test_a_row_keeps_its_indentation_and_a_cell_does_not() -> None:
    assert row("    if x:\treturn").plain.startswith("    if x:")
    assert cell("    if  x:").plain == "if x:"


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def shown(stream: io.StringIO, **options) -> str:
        Output(stream, **options).line(cell("x", "red"))
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    assert shown(Terminal()) == "\x1b[31mx\x1b[0m\n"
    assert shown(io.StringIO()) == "x\n"
    assert shown(io.StringIO(), colour=True) == "\x1b[31mx\x1b[0m\n"
    assert shown(Terminal(), colour=False) == "x\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal()) == "x\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(io.StringIO()) == "x\n"


def test_a_line_is_cut_on_a_terminal_and_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        Output(stream).line(row("x" * 100))
    assert terminal.getvalue() == "x" * 19 + "…\n"
    assert pipe.getvalue() == "x" * 100 + "\n"


def test_json_is_plain_and_harmless() -> None:
    value = {"at": NOW, "id": UUID(int=1), "agent": AGENT, "text": "\x1b[31mred\x07", "tuple": (1, None, True, 0.5)}
    stream = io.StringIO()
    out = Output(stream, as_json=True)
    out.line("not for programs")
    out.record(value)
    assert stream.getvalue().count("\n") == 1
    found = json.loads(stream.getvalue())
    assert found["at"] == "2026-01-02T03:04:05+00:00"
    assert found["id"] == "00000000-0000-0000-0000-000000000001"
    assert found["agent"]["state"] == "new"
    assert found["text"] == "red"
    assert found["tuple"] == [1, None, True, 0.5]
    assert jsonable({"\x1b[1mkey": 1}) == {"key": 1}


def test_columns_are_aligned_by_what_is_seen() -> None:
    lines = [line.plain for line in table([("a", "b"), ("日本", "c")], headers=("x", "y"))]
    assert lines == ["x     y", "a     b", "日本  c"]
    assert table([]) == []


# --- words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0s"),
        (0.44, "0.4s"),
        (59.4, "59s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (7500, "2h 05m"),
        (90_000, "1d 01h"),
    ],
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert render.duration(seconds) == said


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (event("agent.created", issue="local/app#1"), ["taken on: local/app#1"]),
        (event("agent.state-changed", to="waiting", reason="split into 2"), ["waiting: split into 2"]),
        (event("nudge.deferred", reason="the fleet is paused"), ["not now: the fleet is paused"]),
        (event("task.ended", to="lost", reason="host gone"), ["execution lost: host gone"]),
        (event("agent.spawned", phase="verify-2"), ["acceptance command 2 started"]),
        (event("agent.done", phase="agent", end="exit 1", seconds=2.04), ["agent ended: exit 1 after 2.0 s"]),
        (event("agent.output", stream="err", lines=["a", "b\nc"]), ["! a", "! b", "! c"]),
        (event("agent.output", stream="out", text="x", truncated=True), ["| x", "[… cut]"]),
        (event("agent.message", text="one\ntwo"), ["> one", "> two"]),
        (event("tool.requested", name="run_command", args={"command": "ls"}), ['uses run_command {"command": "ls"}']),
        (event("tool.result", name="run_command", ok=False, text="boom\nmore"), ["run_command failed: boom"]),
        (event("llm.result", model="m", usage={"input_tokens": 3}), ["model m answered: input_tokens 3"]),
        (event("shim.limit", kind="wall"), ["shim.limit kind=wall"]),
    ],
)
def test_events_are_told_in_words(happened: EventView, said: list[str]) -> None:
    assert words.lines(happened) == said


@given(
    st.sampled_from([*words._SAID, "agent.output", "new.kind"]),
    st.dictionaries(
        st.sampled_from(["text", "lines", "name", "args", "reason", "to", "usage", "seconds", "phase", "ok", "stream"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3), max_leaves=5
        ),
    ),
)
def test_no_body_is_too_odd_to_be_told(kind: str, body: dict[str, object]) -> None:
    said = words.lines(event(kind, **body))
    assert said or kind == "agent.output"  # an empty list of lines
    assert all(isinstance(line, str) for line in said)


def test_a_timeline_leaves_out_chatter_and_repeats() -> None:
    kinds = ["agent.output", "tool.result", "task.started", "nudge.admitted", "shim.note"]
    assert not any(words.is_milestone(event(kind)) for kind in kinds)
    assert all(words.is_milestone(event(kind)) for kind in ("agent.state-changed", "task.ended", "nudge.deferred"))


def test_what_keeps_an_agent_is_said_in_order_of_weight() -> None:
    deferred = Decision(
        answer=Answer.DEFERRED, code="capacity", reason="fleet: 2 of 2 running", until=NOW + timedelta(seconds=12)
    )
    waits = replace(AGENT, decision=deferred)
    assert render.why(waits, now=NOW) == "deferred: fleet: 2 of 2 running; looked at again in 12s"
    assert render.why(replace(waits, is_held=True), now=NOW) == "a person holds the issue"
    assert render.why(replace(waits, is_held=True, paused_by="fleet"), now=NOW) == "the fleet is paused"
    failed = replace(waits, state=AgentState.FAILED, blocked_reason="attempt 3 failed")
    assert render.why(failed, now=NOW) == "attempt 3 failed"


def test_a_tree_has_guides_for_every_depth() -> None:
    agents = [
        AGENT,
        child(2, AgentState.DONE),
        replace(child(3, AgentState.DONE, parent=2), path="1.2.1"),
        child(4, AgentState.DONE),
    ]
    lines = [line.plain for line in render.tree(agents, {}, now=NOW, ascii_only=True)]
    heads = [line.partition("  ")[0] for line in lines if "local/app#1" in line]
    assert heads[0] == "1"
    assert [line.split("local")[0].rstrip() for line in lines if "local/app#1" in line] == [
        "1",
        "|-- 1.2",
        "|   `-- 1.2.1",
        "`-- 1.4",
    ]
    assert "".join(lines).isascii()
    drawn = [line.plain for line in render.tree(agents, {}, now=NOW, ascii_only=False)]
    assert any(line.startswith("├── 1.2") for line in drawn)


def test_a_branch_of_a_tree_is_drawn_as_a_tree() -> None:
    agents = [child(2, AgentState.DONE), replace(child(3, AgentState.DONE, parent=2), path="1.2.1")]
    lines = [line.plain for line in render.tree(agents, {}, now=NOW, ascii_only=True) if "local/app#1" in line.plain]
    assert [line.split("local")[0].rstrip() for line in lines] == ["1.2", "`-- 1.2.1"]


def test_limits_say_where_they_come_from() -> None:
    tree = EnvelopeView(
        key="tree:1", kind=ScopeKind.TREE, paused_at=None,
        rest_until=None, live=0, max_live=3, executions_limit=50, executions_reserved=0,
        executions_spent=0, wall_limit_seconds=100, wall_reserved_seconds=0, wall_spent_seconds=0,
    )  # fmt: skip
    limits = {"tree_executions": 50, "tree_wall_seconds": 100}
    origin = {"tree_executions": ".agentgrid.yml", "tree_wall_seconds": "fleet", "tree_concurrency": "fleet"}
    said = render.origins(limits, origin, [tree])["tree"]
    assert "executions: .agentgrid.yml" in said
    assert "by hand" not in said
    assert "by hand" in render.origins(limits | {"tree_executions": 40}, origin, [tree])["tree"]


# --- does it still move ----------------------------------------------------------------------------------------


TOMORROW = Decision(answer=Answer.DEFERRED, code="budget", reason="the day's", until=NOW + timedelta(hours=3))


def parent(state: AgentState, code: str = "admitted", answer: Answer = Answer.DEFERRED) -> AgentView:
    return replace(AGENT, state=state, decision=Decision(answer=answer, code=code, reason=code))


@pytest.mark.parametrize(
    ("agents", "standing"),
    [
        ([parent(AgentState.DONE)], follow.DONE),
        ([parent(AgentState.ABANDONED)], follow.ENDED_OTHERWISE),
        ([parent(AgentState.FAILED)], follow.STUCK),
        ([parent(AgentState.QUEUED)], follow.MOVING),
        ([replace(parent(AgentState.QUEUED), paused_by="fleet")], follow.STUCK),
        ([replace(parent(AgentState.RUNNING), paused_by="fleet")], follow.MOVING),
        ([parent(AgentState.NEW, "held")], follow.STUCK),
        ([parent(AgentState.NEW, "budget")], follow.STUCK),
        ([replace(parent(AgentState.NEW), decision=TOMORROW)], follow.MOVING),
        ([parent(AgentState.NEW, "no-progress")], follow.STUCK),
        ([parent(AgentState.QUEUED, "needs-approval")], follow.STUCK),
        ([parent(AgentState.QUEUED, "children"), child(2, AgentState.BLOCKED)], follow.STUCK),
        ([parent(AgentState.WAITING, "conflict"), child(2, AgentState.DONE)], follow.MOVING),
        ([parent(AgentState.WAITING, "footprint"), child(2, AgentState.DONE)], follow.MOVING),
        ([parent(AgentState.NEW, "depth", Answer.REFUSED)], follow.STUCK),
        ([parent(AgentState.NEW, "capacity")], follow.MOVING),
        ([parent(AgentState.NEW, "blockers")], follow.STUCK),  # by an issue outside the tree
        ([parent(AgentState.WAITING, "splitting")], follow.MOVING),
        ([parent(AgentState.WAITING, "breaker"), child(2, AgentState.FAILED)], follow.MOVING),
        ([parent(AgentState.WAITING)], follow.MOVING),  # its sub-issues are being made
        ([parent(AgentState.WAITING, "children"), child(2, AgentState.RUNNING)], follow.MOVING),
        ([parent(AgentState.WAITING, "children"), child(2, AgentState.BLOCKED)], follow.STUCK),
        (
            [parent(AgentState.WAITING), child(2, AgentState.FAILED), child(3, AgentState.NEW, "blockers")],
            follow.STUCK,
        ),
        (
            [parent(AgentState.WAITING), child(2, AgentState.FAILED), child(3, AgentState.QUEUED, "back-off")],
            follow.MOVING,
        ),
    ],
)
def test_a_tree_moves_while_something_may_happen_by_itself(agents: list[AgentView], standing: str) -> None:
    assert follow.standing(agents) == standing


def test_every_reason_to_defer_an_agent_is_known_to_whoever_waits_for_it() -> None:
    package = Path(follow.__file__).parents[1]
    code = r"""(?:return |admission\.)defer\(\s*"([a-z-]+)\""""
    codes = {found for module in package.rglob("*.py") for found in re.findall(code, module.read_text())}
    assert codes >= {"children", "budget", "no-progress", "back-off"}, "the search finds them"
    assert codes - (follow.NEEDS_A_PERSON | follow.PASSING | follow.FOR_OTHERS) == set()
