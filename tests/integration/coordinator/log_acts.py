"""Acts of every kind on the real services, chosen by numbers: whatever they do has to be in the event log."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from coordinator import sweeps
from coordinator.ending import outcomes
from coordinator.gateway import admission, routes, settling
from coordinator.models import Agent, Conflict, Envelope, Thread, UpgradeRequest
from coordinator.operating import control, holds, plans
from coordinator.public_errors import CoordinatorError
from coordinator.public_types import MessageKind, ThreadKind
from coordinator.talk import messages
from coordinator.teamwork import conflict_talk, conflicts, threads, upgrades
from coordinator.toolbox import calls
from grid import bearers, executions, launching, public_locks
from grid.models import Execution, Host
from grid.public_errors import GridError
from grid.public_types import ON_HOST, Caller, ChildProposal, Outcome, OutcomeKind, Result, State
from tests.factories import make_child
from tracker.public_errors import TrackerError

ACTOR = "cli:root"
PATHS = ("src/a.py", "src", "docs/x.md", "src/*.py")
TOOLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("report_state", {"status": "reading", "done": 1, "total": 3}),
    ("acquire_lock", {"path": "src/a.py", "reason": "to change it"}),
    ("release_lock", {"path": "src/a.py"}),
    ("read_inbox", {}),
    ("request_upgrade", {"wish": {"tier": "large"}, "reason": "it is hard"}),
    ("send_message", {"to": "parent", "text": "half of it is done"}),
    ("finish", {"outcome": "done", "summary": "done"}),
    ("get_plan", {}),
    ("no_such_tool", {}),
)


class Acts:
    """The acts, on one tree of agents."""

    def __init__(self, root: Agent) -> None:
        self.root = root
        Host.objects.get_or_create(name="nowhere", defaults={"slots": 50})
        self.all: tuple[Callable[[int], object], ...] = (
            self.nudge,
            self.nudge,
            self.claim,
            self.claim,
            self.claim,
            self.end,
            self.end,
            self.end,
            self.child,
            self.tool,
            self.tool,
            self.tool,
            self.lock,
            self.lock,
            self.unlock,
            self.take_lock_away,
            self.call_model,
            self.call_model,
            self.pause,
            self.unpause,
            self.unpause,
            self.cancel,
            self.retry,
            self.raise_limit,
            self.tell,
            self.open_thread,
            self.post,
            self.close_thread,
            self.ask_upgrade,
            self.answer_upgrade,
            self.conflict,
            self.decide,
            self.hold,
            self.lose,
            self.sweep,
            self.plan,
            self.plan,
        )

    def do(self, which: int, argument: int) -> None:
        """One act; what the services refuse is refused."""
        with contextlib.suppress(CoordinatorError, GridError, TrackerError):
            self.all[which % len(self.all)](argument)

    def _agent(self, n: int) -> Agent:
        rows = list(Agent.objects.order_by("pk"))
        return rows[n % len(rows)]

    def _live(self, n: int) -> Execution | None:
        rows = list(Execution.objects.filter(state__in=sorted(ON_HOST)).order_by("created_at", "pk"))
        return rows[n % len(rows)] if rows else None

    def nudge(self, n: int) -> object:
        return control.nudge(self._agent(n).pk, actor=ACTOR, reason=f"by hand {n}")

    def claim(self, n: int) -> None:
        for pk in executions.next_queued(limit=2):
            row = executions.claim(pk, host="nowhere")
            if row is not None:
                launching.mark_running(row)
                bearers.mint(row.pk, fence=row.token)
                outcomes.started(row.pk)

    def end(self, n: int) -> None:
        row = self._live(n)
        if row is None:
            return
        kinds = (
            OutcomeKind.DONE,
            OutcomeKind.NOTHING_TO_DO,
            OutcomeKind.BLOCKED,
            OutcomeKind.FAILED,
            OutcomeKind.SPLIT,
        )
        kind = kinds[n % len(kinds)]
        children = (ChildProposal(key="a", title=f"Part {n}", body="do it"),) if kind == OutcomeKind.SPLIT else ()
        states = (State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.INTERRUPTED, State.TIMED_OUT)
        state = State.FAILED if kind == OutcomeKind.FAILED else states[n // 5 % len(states)]
        outcome = Outcome(kind=kind, summary=f"says {kind}", children=children)
        result = Result(outcome=outcome, head=row.spec["work"]["base"], changed=False)
        executions.end(row.pk, token=row.token, state=state, reason=f"ended {n}", result=result)
        outcomes.apply(row.pk)

    def child(self, n: int) -> None:
        parent = self._agent(n)
        if Agent.objects.count() < 8:
            make_child(parent, title=f"Part {n}")

    def tool(self, n: int) -> None:
        caller = self._caller(n)
        if caller is not None:
            name, arguments = TOOLS[n % len(TOOLS)]
            calls.answer(caller, name, arguments)
            bearers.note_connection(caller.execution_id, fence=caller.fence)

    def _caller(self, n: int) -> Caller | None:
        row = self._live(n)
        if row is None:
            return None
        profile = row.spec.get("profile") or {}
        return Caller(
            execution_id=row.pk,
            fence=row.token,
            subject=row.subject,
            root=row.root,
            agent=row.agent,
            profile=profile,
        )

    def lock(self, n: int) -> None:
        row = self._live(n)
        if row is not None:
            path, mode = PATHS[n % len(PATHS)], ("write", "read")[n // 4 % 2]
            public_locks.acquire(row.pk, fence=row.token, path=path, mode=mode, wait=n % 3 == 0, reason=f"n {n}")

    def unlock(self, n: int) -> None:
        row = self._live(n)
        if row is not None:
            public_locks.release(row.pk, fence=row.token, path=PATHS[n % len(PATHS)])

    def take_lock_away(self, n: int) -> None:
        held = public_locks.held()
        if held:
            public_locks.break_lock(held[n % len(held)].id, actor=ACTOR, reason="wanted elsewhere")

    def call_model(self, n: int) -> None:
        caller = self._caller(n)
        route = routes.find("POST", "anthropic", "/v1/messages")
        if caller is None or route is None:
            return
        asked = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
        admission.forget()
        admitted = admission.admit(caller, route, raw=json.dumps(asked).encode(), encoding="")
        if isinstance(admitted, admission.Admitted) and n % 4:
            settling.settle(admitted, settling.Ended(status=200 if n % 2 else None, is_charged=n % 3 != 0))

    def pause(self, n: int) -> object:
        return control.pause(self._scope(n), actor=ACTOR) if n % 3 == 0 else None

    def unpause(self, n: int) -> None:
        for key in Envelope.objects.filter(paused_at__isnull=False).values_list("key", flat=True):
            control.unpause(key, actor=ACTOR)

    def _scope(self, n: int) -> str:
        keys = list(Envelope.objects.exclude(kind="day").order_by("pk").values_list("key", flat=True))
        return keys[n % len(keys)]

    def cancel(self, n: int) -> object:
        rows = list(Agent.objects.filter(parent__isnull=False).order_by("pk")) if n % 3 == 0 else []
        return control.cancel(rows[n % len(rows)].pk, actor=ACTOR, reason="not wanted") if rows else None

    def retry(self, n: int) -> object:
        return control.retry(self._agent(n).pk, actor=ACTOR)

    def raise_limit(self, n: int) -> object:
        return control.raise_limit(self._scope(n), actor=ACTOR, executions=50 + n)

    def tell(self, n: int) -> object:
        return messages.tell(self._agent(n).pk, sender=ACTOR, text=f"words {n}")

    def open_thread(self, n: int) -> object:
        members = list(Agent.objects.order_by("pk")[: 1 + n % 3])
        return threads.open_thread(kind=ThreadKind.CHAT, subject=f"about {n}", members=members, opened_by=ACTOR)

    def post(self, n: int) -> object:
        thread = self._thread(n)
        return threads.post(thread.pk, sender=ACTOR, kind=MessageKind.CHAT, text=f"said {n}") if thread else None

    def close_thread(self, n: int) -> object:
        thread = self._thread(n)
        return threads.close(thread.pk, by=ACTOR, reason="settled") if thread else None

    def _thread(self, n: int) -> Thread | None:
        rows = list(Thread.objects.order_by("pk"))
        return rows[n % len(rows)] if rows else None

    def ask_upgrade(self, n: int) -> object:
        return upgrades.request(self._agent(n).pk, wish={"tier": "large"}, reason="it is hard")

    def answer_upgrade(self, n: int) -> object:
        row = UpgradeRequest.objects.filter(state="open").order_by("pk").first()
        return upgrades.answer(row.pk, by=ACTOR, is_granted=n % 2 == 0, words="so be it") if row else None

    def conflict(self, n: int) -> None:
        children = list(Agent.objects.filter(parent__isnull=False).order_by("pk")[:2])
        if len(children) == 2:
            row = conflicts.from_overlap(children[0], children[1], patterns=[PATHS[n % len(PATHS)]])
            conflict_talk.announce(row.pk)

    def decide(self, n: int) -> None:
        row = Conflict.objects.filter(state="open").order_by("pk").first()
        if row is not None:
            choice = ("release", "sequence", "fork", "merge_plan")[n % 4]
            conflicts.decide(row.pk, choice=choice, actor=ACTOR, order=[row.requester_id, row.holder_id][: 1 + n % 2])

    def hold(self, n: int) -> None:
        agent = self._agent(n)
        holds.set_hold(agent.issue_id, repository_id=agent.repository_id, held=n % 3 == 0, actor=ACTOR)

    def lose(self, n: int) -> None:
        row = self._live(n)
        if row is not None:
            Execution.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(minutes=5))
            for pk in executions.reap():
                outcomes.apply(pk)

    def sweep(self, n: int) -> None:
        sweeps.sweep()
        if n % 2:
            messages.expire()
            threads.expire()

    def plan(self, n: int) -> None:
        text = plans.export(self.root.pk).text
        old, new = (
            ("Part", "Piece"),
            ("Piece", "Portion"),
            ("children:\n", f"children:\n    - new: n{n}\n      goal: New {n}\n"),
        )[n % 3]
        plans.apply(self.root.pk, text.replace(old, new, 1), actor=ACTOR)
