"""Pull requests at the gates: what starts a rework, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.public_types import AgentState, Answer, Source
from coordinator.rules import admission
from tests.unit.coordinator.test_admission import READY

REVIEW = replace(READY, state=AgentState.REVIEW)


@pytest.mark.parametrize("source", sorted(Source))
def test_remarks_on_a_pull_request_are_worked_on_whoever_nudges(source: Source):
    decision = admission.decide(replace(REVIEW, source=source, remarks=2, children_total=3))
    assert (decision.answer, decision.mode) == (Answer.ADMITTED, "work")
    assert "2 remarks" in decision.reason


@pytest.mark.parametrize("source", sorted(set(Source) - admission.BY_HAND))
def test_without_remarks_a_pull_request_is_left_to_people(source: Source):
    decision = admission.decide(replace(REVIEW, source=source))
    assert (decision.answer, decision.code) == (Answer.REFUSED, "review")


@pytest.mark.parametrize("source", sorted(admission.BY_HAND))
def test_a_person_may_start_a_run_without_remarks(source: Source):
    assert admission.decide(replace(REVIEW, source=source)).answer == Answer.ADMITTED


@pytest.mark.parametrize("state", [AgentState.REVIEW, AgentState.BLOCKED])
@pytest.mark.parametrize("source", [Source.WEBHOOK, Source.OPERATOR])
def test_after_the_last_rework_only_an_operators_word_goes_on(state: AgentState, source: Source):
    full = replace(READY, state=state, source=source, remarks=1, reworks=admission.MAX_REWORKS)
    decision = admission.decide(full)
    if source == Source.OPERATOR:
        assert decision.answer == Answer.ADMITTED
    else:
        assert (decision.answer, decision.code) == (Answer.REFUSED, "reworks")
    assert admission.decide(replace(full, reworks=admission.MAX_REWORKS - 1)).answer == Answer.ADMITTED


def test_the_last_rework_may_be_tried_again_after_a_failure():
    again = replace(READY, state=AgentState.QUEUED, source=Source.RETRY, remarks=1, reworks=admission.MAX_REWORKS)
    assert admission.decide(again).answer == Answer.ADMITTED


def test_a_conflict_is_resolved_before_remarks_are_taken_up():
    assert admission.decide(replace(REVIEW, next_mode="resolve", remarks=1)).mode == "resolve"
