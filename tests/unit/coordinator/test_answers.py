"""Which answers need a person, and what of them anybody may read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from coordinator.public_types import Answer, Decision
from coordinator.rules import admission, answers
from coordinator.rules.admission_facts import Full
from tests.unit.coordinator.test_admission import READY

WAYS = {"runs": "say `/agent budget 200`", "money": "say `/agent budget $40`"}
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def budget(**more: object) -> Decision:
    """What admission answers for want of budget."""
    full = Full(
        **{"scope": "tree", "what": "executions", "used": 9, "limit": 9, "remedy": "manage.py budget raise", **more}
    )
    return admission.decide(replace(READY, full=(full,)))


def test_runs_and_money_of_the_tree_are_raised_here():
    assert answers.in_public(budget(), ways=WAYS) == (
        "The budget of its tree is used up (`9 of 9 executions`); say `/agent budget 200`."
    )
    said = answers.in_public(budget(words="$20.00 of $20.00"), ways=WAYS)
    assert said == "The budget of its tree is used up (`$20.00 of $20.00`); say `/agent budget $40`."
    said = answers.in_public(budget(what="wall seconds", used=28_000, limit=28_800, needs=1_000), ways=WAYS)
    assert said.endswith("(`28000 of 28800 wall seconds`); an operator can raise it.")
    assert "an operator can raise it" in answers.in_public(budget(), ways={})


@pytest.mark.parametrize("scope", ["fleet", "repository", "fleet on 2026-11-28"])
def test_budgets_beyond_the_tree_are_told_without_figures(scope: str):
    said = answers.in_public(budget(scope=scope, used=123_456, limit=123_456), ways=WAYS)
    assert "123" not in said and "/agent budget" not in said and "operator" in said


def test_what_passes_by_itself_needs_nobody():
    day = budget(scope="fleet on 2026-11-28", until=NOON)
    assert not answers.needs_a_person(day)
    assert "next day" in answers.in_public(day, ways=WAYS)
    assert answers.needs_a_person(budget())
    assert not answers.needs_a_person(admission.decide(replace(READY, has_base=False)))
    assert not answers.needs_a_person(admission.decide(READY))
    assert not answers.needs_a_person(None)
    assert answers.needs_a_person(admission.decide(replace(READY, no_progress="much money")))


def test_faults_of_machines_are_not_told_and_those_of_files_are():
    broken = admission.decide(replace(READY, has_base=False, fetch_error="fatal: /srv/secret"))
    assert answers.needs_a_person(broken)
    assert "secret" not in answers.in_public(broken, ways=WAYS)
    no_model = admission.decide(replace(READY, agent_error="model is missing ` @alice"))
    assert "`its agent cannot be run: model is missing ' @alice`" in answers.in_public(no_model, ways=WAYS)


def test_a_stored_decision_comes_back():
    stored = {"answer": "deferred", "code": "budget", "reason": "x", "until": NOON.isoformat(), "mode": ""}
    assert answers.from_stored(stored) == Decision(answer=Answer.DEFERRED, code="budget", reason="x", until=NOON)
    assert answers.from_stored(None) is None
