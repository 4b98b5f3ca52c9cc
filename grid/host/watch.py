"""Follow one phase: its spool becomes events, its exit record becomes an `Ended`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from grid import bearers, event_log, launching, phases, processes, tool_calls
from grid.agents import registry
from grid.conf import conf
from grid.event_log import Draft
from grid.models import Event, Execution
from grid.phases import Ended, Phase
from grid.processes import ShimState
from grid.public_types import ON_HOST, LaunchSpec
from grid.sandboxes import network
from grid.spool import SpoolReader
from grid.statements.prepared import given
from grid.statements.writing import PreparedUpdate

EVENT_CHARS = 12_000
LINE_OVERHEAD = 4
"""Quotes, comma and space around a line in JSON, so that empty lines count too."""
TAIL_LINES = 60
_OURS = PreparedUpdate(
    lambda: Execution.objects.filter(pk=given("execution"), token=given("token"), state__in=sorted(ON_HOST))
)
REFUSED = "sandbox.refused"
"""Kind of the event for each connection that the egress proxy did not make."""


class FencedError(Exception):
    """The row belongs to somebody else now: the agent must die and nothing may be written for it."""


class Watch:
    """One phase of one execution, followed by this host.

    After a restart the spool is read from its start, so that the parser is where it was; only records that are not
    events yet become events.
    """

    def __init__(self, row: Execution, spec: LaunchSpec, phase: Phase) -> None:
        self.id: UUID = row.pk
        self.token, self.root, self.stream = row.token, row.root, row.stream
        self.spec, self.phase = spec, phase
        self.run_dir = launching.phase_path(row.pk, phase)
        self.reader = SpoolReader(self.run_dir / "spool.jsonl")
        self.parser = registry.get(spec.agent.adapter).parser()
        self.recorded = self.read_up_to = row.record
        self.unstored: list[Draft] = []
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.ended: Ended | None = None
        self.stop_sent = ""
        self.is_inherited = False
        """It ended while no host was there, or the one before had asked it to: nobody knows any more what else was told to stop."""
        self.doubted_at: float | None = None
        """Since when it is in doubt who told the shim to stop (`grid.host.doubts`)."""
        self.has_walls, self.refused_bytes = row.sandbox != "process", 0
        self.handed_over = 0
        """Of `Execution.inbox_count`."""
        self.own_calls, self.looked_at_calls = 0, 0
        """Of tools, by the agent's own output; how many there were when somebody last looked whether they are too many."""
        self.unanswered = 0
        self.failures = 0
        self.retry_at = 0.0

    def catch_up(self, *, polls: int) -> None:
        """Take in what there is, at most so many chunks of it, and notice a shim that died without a last word.

        Raises:
            FencedError, SpoolError: As `poll`.
        """
        for _ in range(polls):
            if not self.poll():
                break
        if self.is_gone():
            self.ended = Ended(reason="killed", error="the shim died")

    def poll(self) -> bool:
        """Take in what the shim wrote since the last call.

        Returns:
            Whether anything was new.

        Raises:
            FencedError: The execution is no longer ours.
            SpoolError: The spool was written to by somebody else.
        """
        if self.read_up_to <= self.recorded:  # else the database did not take what was read last time
            records = self.reader.read()
            if not records:
                return False
            self.unstored = [draft for record in records for draft in self._events(record)]
            self.read_up_to = max(self.recorded, records[-1]["n"])
        self._store(_merged(self.unstored), record=self.read_up_to)
        self.unstored = []
        return True

    def is_over_calls(self) -> bool:
        """Whether the run has called more tools than it may, and was asked to stop for it; a look at each new call."""
        if self.own_calls == self.looked_at_calls:
            return False
        self.looked_at_calls = self.own_calls
        return tool_calls.look(self.id, own=self.own_calls, cap=self.spec.limits.tool_calls)

    def note_refusals(self) -> None:
        """Make an event of everything that the egress proxy refused since the last look."""
        if not self.has_walls or self.refused_bytes == (size := network.refused_bytes(conf(), self.id)):
            return
        known = Event.objects.filter(stream=self.stream, kind=REFUSED).count()
        news = network.refusals(conf(), self.id, known=known)
        if news and bearers.record(self.id, fence=self.token, events=[(REFUSED, facts) for facts in news]):
            self.refused_bytes = size

    def is_gone(self) -> bool:
        """Whether the shim died without an exit record; everything it wrote has been read."""
        return self.ended is None and processes.shim_state(self.run_dir) == ShimState.GONE and not self.poll()

    def _events(self, record: dict[str, Any]) -> list[Draft]:
        kind, is_new = record["t"], record["n"] > self.recorded
        if kind in ("out", "err"):
            line = str(record.get("line", ""))
            self.tail.append(line[:2000])
            if self.phase.kind != phases.Kind.AGENT:
                drafts: list[Draft] = [("agent.output", {"stream": kind, "lines": [line[:EVENT_CHARS]]})]
            else:
                # Nothing that an agent says is a row of a table of ours.
                drafts = [(event.kind, _without_rows(event.body)) for event in self.parser.feed(kind, line)]
                # Read again after a restart, known lines are counted again: the number needs no place of its own.
                asked = [body for kind_, body in drafts if kind_ == tool_calls.REQUESTED]
                self.own_calls += sum(tool_calls.is_own(body.get("name")) for body in asked)
        elif kind == "start":
            drafts = [
                ("agent.spawned", {"phase": self.phase.name, "pid": record.get("agent"), "shim": record.get("shim")})
            ]
        elif kind == "exit":
            self.ended = ended_of(record)
            if (self.run_dir / processes.ENDED_FROM_OUTSIDE).exists():
                self.ended = Ended(reason="shim_failed", error="it did not answer and was ended from outside")
            body = {"phase": self.phase.name, "end": self.ended.in_words(), "seconds": self.ended.seconds}
            drafts = [("agent.done", {**body, "max_rss_kib": record.get("max_rss_kib"), "swept": record.get("swept")})]
        else:
            facts = {name: value for name, value in record.items() if name not in ("n", "at", "t", "rows")}
            drafts = [(f"shim.{kind}"[:40], facts)]
        return drafts if is_new else []

    def _store(self, drafts: Sequence[Draft], *, record: int) -> None:
        if record <= self.recorded:
            return
        with transaction.atomic():
            new = {"seq": F("seq") + given("count"), "record": record}
            ours = {"execution": self.id, "token": self.token, "count": len(drafts)}
            updated = _OURS.run(new, returning=("seq",), **ours)
            if not updated:
                raise FencedError(str(self.id))
            last: int = updated[0][0]
            event_log.insert_numbered(
                stream=self.stream, root=self.root, first_seq=last - len(drafts) + 1, events=drafts
            )
        self.recorded = record


def _without_rows(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "rows"}


def ended_of(record: dict[str, Any]) -> Ended:
    """Read an exit record."""
    code, signal = record.get("code"), record.get("signal")
    return Ended(
        reason=str(record.get("reason", "shim_failed"))[:40],
        exit_code=code if isinstance(code, int) else None,
        exit_signal=signal if isinstance(signal, int) else None,
        seconds=float(record.get("wall_s") or 0.0),
        error=str(record.get("error") or "")[:500],
    )


def _merged(drafts: Sequence[Draft]) -> list[Draft]:
    """Join runs of plain output lines into events of up to EVENT_CHARS, so that chatter does not flood the table."""
    merged: list[Draft] = []
    run: list[str] = []
    size = 0
    for kind, body in drafts:
        lines = _plain_lines(kind, body)
        added = sum(len(line) + LINE_OVERHEAD for line in lines)
        if lines and run and merged[-1][1]["stream"] == body["stream"] and size + added <= EVENT_CHARS:
            run += lines
            size += added
            continue
        run, size = list(lines), added
        merged.append((kind, {"stream": body["stream"], "lines": run} if lines else body))
    return merged


def _plain_lines(kind: str, body: Mapping[str, Any]) -> Sequence[str]:
    """Lines of an output event, which adapters give one by one as `text`; none of any other, nor of one that was cut."""
    if kind != "agent.output" or "stream" not in body or "truncated" in body:
        return ()
    return body["lines"] if "lines" in body else [str(body.get("text", ""))]
