"""Every gate of admission closes for its own reason, and the order of the gates holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.public_types import ENDED, AgentState, Answer, Source
from coordinator.rules import admission
from coordinator.rules.admission_facts import Facts, Full

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
READY = Facts(
    now=NOW,
    source=Source.SWEEP,
    is_working=True,
    state=AgentState.NEW,
    issue_is_open=True,
    is_held=False,
    blockers=(),
    rest_until=None,
    paused="",
    live_execution="",
    is_applied=True,
    is_splitting=False,
    depth=0,
    max_depth=3,
    not_before=None,
    next_mode="",
    children_open=0,
    children_stuck=0,
    children_total=0,
    children_changed=False,
    has_base=True,
    fetch_error="",
    agent_error="",
    full=(),
)


def test_nothing_in_the_way_is_admitted():
    decision = admission.decide(READY)
    assert (decision.answer, decision.mode) == (Answer.ADMITTED, "work")


def test_a_childs_request_starts_its_waiting_parent():
    waiting = replace(READY, state=AgentState.WAITING, children_open=2, children_total=2)
    assert admission.decide(waiting).code == "children"
    decision = admission.decide(replace(waiting, upgrades_asked=1))
    assert (decision.answer, decision.mode) == (Answer.ADMITTED, "resume")
    assert "1 of its sub-issues ask for an upgrade" in decision.reason


def test_a_blocked_agent_goes_on_when_it_was_granted_more():
    blocked = replace(READY, state=AgentState.BLOCKED)
    assert admission.decide(blocked).code == "blocked"
    assert admission.decide(replace(blocked, is_upgraded=True)).answer == Answer.ADMITTED
    assert admission.decide(replace(READY, state=AgentState.FAILED, is_upgraded=True)).code == "failed"


@pytest.mark.parametrize(
    ("change", "answer", "code", "words"),
    [
        ({"state": AgentState.DONE}, Answer.REFUSED, "ended", "done"),
        ({"state": AgentState.ABANDONED}, Answer.REFUSED, "ended", "abandoned"),
        ({"issue_is_open": False}, Answer.REFUSED, "closed", "closed"),
        ({"is_working": False}, Answer.DEFERRED, "off", "AGENTGRID_WORKING"),
        ({"paused": "repository"}, Answer.DEFERRED, "paused", "repository"),
        ({"rest_until": NOW + timedelta(minutes=1)}, Answer.DEFERRED, "breaker", "all failed"),
        ({"is_held": True}, Answer.DEFERRED, "held", "agent:hold"),
        ({"state": AgentState.BLOCKED}, Answer.DEFERRED, "blocked", "person"),
        ({"state": AgentState.FAILED}, Answer.REFUSED, "failed", "retry"),
        ({"live_execution": "1a2b"}, Answer.DEFERRED, "running", "1a2b"),
        ({"is_applied": False}, Answer.DEFERRED, "applying", "outcome"),
        ({"is_splitting": True}, Answer.DEFERRED, "splitting", "sub-issues"),
        ({"blockers": ("app#2", "app#3")}, Answer.DEFERRED, "blockers", "app#2, app#3"),
        ({"children_open": 2, "children_total": 3}, Answer.DEFERRED, "children", "2 of 3"),
        ({"children_stuck": 1, "children_total": 1}, Answer.DEFERRED, "children", "nothing changed"),
        ({"depth": 4}, Answer.REFUSED, "depth", "4"),
        ({"capability_error": "too strong", "agent_error": "x"}, Answer.DEFERRED, "capability", "too strong"),
        ({"agent_error": "no model"}, Answer.DEFERRED, "agent", "no model"),
        ({"has_base": False, "fetch_error": "no such host"}, Answer.DEFERRED, "fetch", "no such host"),
        ({"full": (Full(scope="tree", what="running", used=9, limit=9),)}, Answer.DEFERRED, "capacity", "9 of 9"),
        ({"money_held": "tree: all of it"}, Answer.DEFERRED, "capacity", "gets its share"),
        ({"full": (Full(scope="tree", what="executions", used=9, limit=9),)}, Answer.DEFERRED, "budget", "raise"),
    ],
)
def test_a_closed_gate_gives_its_own_answer(change, answer, code, words):
    decision = admission.decide(replace(READY, **change))
    assert (decision.answer, decision.code) == (answer, code)
    assert words in decision.reason


def test_back_off_lasts_until_its_time_and_not_longer():
    later = NOW + timedelta(seconds=7)
    assert admission.decide(replace(READY, not_before=later)).until == later
    assert admission.decide(replace(READY, not_before=later, now=later)).answer == Answer.ADMITTED


@pytest.mark.parametrize("state", [AgentState.BLOCKED, AgentState.FAILED])
def test_a_person_wakes_what_waits_for_a_person(state):
    decision = admission.decide(replace(READY, state=state, source=Source.OPERATOR))
    assert decision.answer == Answer.ADMITTED


def test_a_person_overrides_back_off_and_waiting_children_but_not_a_pause():
    facts = replace(
        READY, source=Source.OPERATOR, not_before=NOW + timedelta(hours=1), children_open=1, children_total=1
    )
    assert admission.decide(facts).mode == "resume"
    assert admission.decide(replace(facts, paused="fleet")).code == "paused"


def test_a_parent_is_resumed_when_its_children_have_ended():
    assert admission.decide(replace(READY, state=AgentState.WAITING, children_total=3)).mode == "resume"


def test_a_stuck_child_resumes_its_parent_once():
    facts = replace(READY, state=AgentState.WAITING, children_total=2, children_open=1, children_stuck=1)
    assert admission.decide(replace(facts, children_changed=True)).mode == "resume"
    assert admission.decide(facts).code == "children"


def test_a_conflict_is_resolved_before_anything_else():
    assert admission.decide(replace(READY, next_mode="resolve", children_total=1)).mode == "resolve"


@given(
    source=st.sampled_from(Source),
    state=st.sampled_from(AgentState),
    flags=st.fixed_dictionaries(
        {
            name: st.booleans()
            for name in ("is_working", "issue_is_open", "is_held", "is_applied", "is_splitting", "has_base")
        }
    ),
    paused=st.sampled_from(["", "fleet"]),
    live=st.sampled_from(["", "x"]),
    blockers=st.sampled_from([(), ("a#1",)]),
    depth=st.integers(0, 5),
)
def test_no_source_gets_past_a_law(source, state, flags, paused, live, blockers, depth):
    facts = replace(
        READY, source=source, state=state, paused=paused, live_execution=live, blockers=blockers, depth=depth, **flags
    )
    if admission.decide(facts).answer != Answer.ADMITTED:
        return
    assert facts.issue_is_open and facts.is_working and not facts.paused and not facts.is_held
    assert not facts.live_execution and not facts.blockers and facts.is_applied and not facts.is_splitting
    assert facts.state not in ENDED and facts.depth <= facts.max_depth and facts.has_base
