"""Messages to a running program: stored, written to its input once, told of by events."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from uuid import uuid4

import pytest

from grid import delivery, executions, lifecycle, processes
from grid.models import Event, Execution, Host, InboxItem
from grid.public_types import AgentSpec, Result, State
from tests.factories import make_execution
from tests.hostile.shim_runs import Run, Runs

pytestmark = pytest.mark.django_db
LISTENS = AgentSpec(adapter="builtin", options={"model": "scripted", "script": "steps: []"})


@pytest.fixture
def shims() -> Iterator[Runs]:
    with Runs() as runs:
        yield runs


def running(agent: AgentSpec = LISTENS) -> Execution:
    host = Host.objects.get_or_create(name="h1", defaults={"slots": 9})[0].pk
    row = executions.claim(make_execution(f"issue:{uuid4()}", agent=agent).pk, host=host)
    assert row is not None
    assert lifecycle.move(row.pk, old={State.CLAIMED}, new=State.RUNNING, reason="started", token=row.token)
    row.refresh_from_db()
    return row


def tell(row: Execution, key: str = "message:1", text: str = "hello") -> bool:
    return delivery.deliver(row.pk, key=key, sender="cli:ann", text=text)


def hand_over(row: Execution, run: Run) -> bool:
    post = functools.partial(processes.command, run.dir, timeout=2.0)
    return delivery.hand_over(row.pk, fence=row.token, post=post)


def told(row: Execution) -> list[tuple[str, str]]:
    events = Event.objects.filter(stream=row.stream, kind__startswith="message.").order_by("seq")
    return [(event.kind, event.body["id"]) for event in events]


def test_a_message_reaches_the_program_once(shims: Runs) -> None:
    row, run = running(), shims.begin("echo", stdin="pipe")
    assert tell(row) and tell(row)
    assert hand_over(row, run) and hand_over(row, run)
    run.said("hello")
    assert told(row) == [("message.taken", "message:1")]
    row.refresh_from_db()
    assert row.inbox_count == 1


def test_a_program_that_reads_nothing_refuses(shims: Runs) -> None:
    row, run = running(), shims.begin("hang", stdin="pipe", prompt_text="x" * 3_000_000)
    assert tell(row)
    assert hand_over(row, run)
    assert told(row) == [("message.refused", "message:1")]


def test_a_silent_shim_is_asked_again_later(shims: Runs) -> None:
    row, run = running(), shims.make("echo", stdin="pipe")  # never started
    assert tell(row)
    assert not hand_over(row, run)
    assert InboxItem.objects.get().state == InboxItem.State.WAITING
    assert told(row) == []


def test_the_longest_message_fits_into_a_command(shims: Runs) -> None:
    row, run = running(), shims.begin("echo", stdin="pipe")
    assert tell(row, text="\N{GRINNING FACE}" * 20_000)
    assert hand_over(row, run)
    assert told(row) == [("message.taken", "message:1")]


@pytest.mark.parametrize(
    "agent", [AgentSpec(adapter="command", options={"command": "true"}), AgentSpec(adapter="claude")]
)
def test_a_program_that_does_not_listen_is_told_nothing(agent: AgentSpec) -> None:
    assert not tell(running(agent))
    assert not InboxItem.objects.exists()


def test_what_does_not_run_is_told_nothing() -> None:
    queued = make_execution(agent=LISTENS)
    ended = running()
    assert executions.end(ended.pk, token=ended.token, state=State.FAILED, reason="no", result=Result())
    assert not tell(queued)
    assert not tell(ended)
    assert not delivery.deliver(uuid4(), key="k", sender="s", text="t")


def test_a_fenced_host_tells_no_event(shims: Runs) -> None:
    row, run = running(), shims.begin("echo", stdin="pipe")
    assert tell(row)
    Execution.objects.filter(pk=row.pk).update(token=row.token + 1)
    hand_over(row, run)
    assert told(row) == []
