"""Told, delivered, seen, refused, expired, ended, tried again, in any order: no message is lost, none is told twice by one run,
and what is final stays so."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coordinator import sweeps
from coordinator.models import Agent, Message, Post, Thread
from coordinator.operating import control
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import ENDED, MessageKind, ThreadKind
from coordinator.talk import messages
from coordinator.teamwork import threads
from grid import bearers
from grid.models import Execution, InboxItem
from grid.public_types import OutcomeKind, State
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import Running, claimed, end, running

FINAL = frozenset({"expired", "undeliverable"})
SCRIPT = {"model": "scripted", "script": "steps: [{say: hello}]"}
KINDS = st.sampled_from([MessageKind.CHAT, MessageKind.QUESTION, MessageKind.RESULT])


class Conversation:
    """A root and its child, which hears from people, its parent, and two threads. Steps that make no sense just now do nothing."""

    source: Path

    def begin(self, listens: bool) -> None:
        self.root = make_agent(self.source)
        spec: dict[str, Any] = {"adapter": "builtin", "options": SCRIPT} if listens else {}
        self.agent = make_child(self.root, **spec)
        self.run: Running | None = None
        self.words: dict[int, str] = {}
        self.final: dict[int, str] = {}
        self.heard: dict[tuple[int, UUID], int] = defaultdict(int)
        self.lasting = self._thread()
        self.passing = self._thread(expires_at=timezone.now() + timedelta(hours=1))

    def _thread(self, **more: Any) -> Thread:
        return threads.open_thread(
            kind=ThreadKind.CHAT, subject="x", members=[self.agent], opened_by=self.root.stream, **more
        )

    # --- what is said ---

    def somebody_tells(self, kind: MessageKind, sender: str) -> None:
        self._spoke(
            messages.tell(
                self.agent.pk,
                sender=self.root.stream if sender == "parent" else sender,
                text=self._next(),
                kind=kind,
            ).id
        )

    def the_parent_posts(self, kind: MessageKind, which: bool) -> None:
        thread = self.lasting if which else self.passing
        try:
            post = threads.post(thread.pk, sender=self.root.stream, kind=kind, text=self._next())
        except NotAllowedError:
            assert thread is self.passing
            return
        self._spoke(Message.objects.get(post=post, agent=self.agent).pk)

    def _next(self) -> str:
        return f"word-{len(self.words)}-{self.root.pk}."

    def _spoke(self, pk: int) -> None:
        self.words[pk] = Post.objects.get(deliveries=pk).text
        self._look_for_a_run()

    # --- what runs ---

    def _look_for_a_run(self) -> None:
        """Questions start runs by themselves; a run that was launched is claimed and remembered."""
        agent = Agent.objects.get(pk=self.agent.pk)
        if self.run is None and agent.execution is not None and agent.execution.state == State.QUEUED:
            self._is_run_by(claimed(agent))

    def _is_run_by(self, run: Running) -> None:
        self.run = run
        prompt = Execution.objects.get(pk=run.execution_id).prompt
        for pk, words in self.words.items():
            if words in prompt:
                self.heard[pk, run.execution_id] += 1

    def it_is_started(self) -> None:
        if self.run is not None or self._has_ended():
            return
        Agent.objects.filter(pk=self.agent.pk).update(not_before=None)
        self._is_run_by(running(Agent.objects.get(pk=self.agent.pk)))
        messages.hand_over_waiting(Agent.objects.get(pk=self.agent.pk))

    def its_run_ends(self, how: State) -> None:
        if self.run is None:
            return
        kind = OutcomeKind.BLOCKED if how == State.SUCCEEDED else OutcomeKind.FAILED
        run, self.run = self.run, None
        end(run, kind, state=how)
        Agent.objects.filter(pk=self.agent.pk).update(attempts=0)
        self._look_for_a_run()

    def it_calls_a_tool(self) -> None:
        if self.run is None:
            return
        for row in messages.with_answer(self.run.agent, execution_id=self.run.execution_id):
            self.heard[row.pk, self.run.execution_id] += 1

    def its_program_answers(self, state: str, is_forged: bool) -> None:
        if self.run is None:
            return
        items = InboxItem.objects.filter(execution_id=self.run.execution_id, state=InboxItem.State.WAITING).order_by(
            "pk"
        )
        item = items.first()
        if is_forged:  # of a message that this run was never given
            name = next((str(pk) for pk in self.words if not items.filter(key=str(pk)).exists()), "0")
        elif item is None:
            return
        else:
            name = item.key
            InboxItem.objects.filter(pk=item.pk).update(state=InboxItem.State.TAKEN)
            if state == "seen":
                self.heard[int(name), self.run.execution_id] += 1
        kind = "agent.inbox" if state == "seen" else "message.refused"
        body = {"id": name, "state": state} if state == "seen" else {"id": name}
        assert bearers.record(self.run.execution_id, fence=self.run.fence, events=[(kind, body)])
        sweeps.apply_events()

    # --- what ends ---

    def the_sweep_looks(self) -> None:
        threads.expire()
        messages.expire()

    def the_passing_thread_expires(self) -> None:
        Thread.objects.filter(pk=self.passing.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    def the_agent_is_cancelled(self) -> None:
        if self.run is not None or self._has_ended():
            return
        control.cancel(self.agent.pk, actor="cli:ann")

    def the_agent_is_taken_up_again(self) -> None:
        if not self._has_ended():
            return
        control.retry(self.agent.pk, actor="cli:ann")
        self._look_for_a_run()

    def _has_ended(self) -> bool:
        return Agent.objects.get(pk=self.agent.pk).state in ENDED

    # --- what holds ---

    def what_is_final_stays_so(self) -> None:
        for pk, state, reason in Message.objects.filter(pk__in=getattr(self, "words", {})).values_list(
            "pk", "state", "reason"
        ):
            assert self.final.get(pk, state) == state
            if state in FINAL:
                self.final[pk] = state
                assert reason, "and says why"

    def no_run_is_told_twice(self) -> None:
        assert all(count <= 1 for count in getattr(self, "heard", {}).values()), dict(self.heard)

    def teardown(self) -> None:
        if not hasattr(self, "agent"):
            return
        if self.run is not None:
            self.its_run_ends(State.FAILED)
        if self._has_ended():
            self.the_sweep_looks()
            waiting = Message.objects.filter(agent=self.agent, state__in=["queued", "delivered"])
            assert not waiting.exists(), "an agent that has ended keeps nobody waiting"
            return
        if self.run is None:
            self.it_is_started()
        self.what_is_final_stays_so()
        self.no_run_is_told_twice()
        self.the_sweep_looks()
        for pk in self.words:
            row = Message.objects.get(pk=pk)
            runs = [execution_id for number, execution_id in self.heard if number == pk]
            # What was told to a run that came to nothing must have been told again.
            believed = [one for one in runs if self.run is None or one == self.run.execution_id or _went_well(one)]
            is_over = not messages.still_told(Message.objects.filter(pk=pk)).exists()
            assert row.state in FINAL or believed or is_over, (pk, row.state, row.channel)


def _went_well(execution_id: UUID) -> bool:
    return bool(Execution.objects.get(pk=execution_id).state == State.SUCCEEDED)


def step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A step with its arguments. All are drawn before the first is done: what rows say must not change what is drawn."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


STEPS = st.one_of(
    step("somebody_tells", kind=KINDS, sender=st.sampled_from(["cli:ann", "parent"])),
    step("the_parent_posts", kind=KINDS, which=st.booleans()),
    step("it_is_started"),
    step("its_run_ends", how=st.sampled_from([State.SUCCEEDED, State.FAILED, State.INTERRUPTED])),
    step("it_calls_a_tool"),
    step("its_program_answers", state=st.sampled_from(["seen", "refused"]), is_forged=st.booleans()),
    step("the_sweep_looks"),
    step("the_passing_thread_expires"),
    step("the_agent_is_cancelled"),
    step("the_agent_is_taken_up_again"),
)


@pytest.mark.django_db(transaction=True)
def test_in_any_order_no_message_is_lost_or_doubled(tmp_path: Path, settings: Any) -> None:
    settings.COORDINATOR_RETRY_SECONDS = 1_000  # no back-off by the clock: a slow machine takes the same way
    settings.COORDINATOR_MAX_LIVE = settings.COORDINATOR_MAX_LIVE_PER_REPOSITORY = 10_000  # examples leave runs behind
    Conversation.source = make_git_repository(tmp_path / "app")

    @hypothesis_settings(
        max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.booleans(), st.lists(STEPS, min_size=10, max_size=25))
    def check(listens: bool, steps: list[tuple[str, dict[str, Any]]]) -> None:
        talk = Conversation()
        talk.begin(listens=listens)
        for name, arguments in steps:
            getattr(talk, name)(**arguments)
            talk.what_is_final_stays_so()
            talk.no_run_is_told_twice()
        talk.teardown()

    check()
