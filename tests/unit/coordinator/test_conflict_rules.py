"""Who decides between two agents, what follows from a decision, and that every conflict ends. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.public_types import ENDED, AgentState
from coordinator.rules import conflict_rules as rules
from coordinator.rules import conflict_steps
from coordinator.rules.conflict_rules import APART, Ancestor, Choice, ConflictState, Decision, Kind, Sides
from coordinator.rules.conflict_steps import End, Overdue, Side, Situation, Step, StepName, Wait

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SIDES = Sides(requester=12, holder=11, arbiter=3)


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[int, int | None], set[int]]:
    """Parents by agent, several roots among them, and who has ended."""
    size = draw(st.integers(2, 14))
    parents = {n: draw(st.none() | st.integers(0, n - 1)) if n else None for n in range(size)}
    return parents, draw(st.sets(st.integers(0, size - 1)))


def line(parents: dict[int, int | None], agent: int, ended: set[int]) -> list[Ancestor]:
    found = [agent]
    while (above := parents[found[-1]]) is not None:
        found.append(above)
    return [Ancestor(id=pk, is_ended=pk in ended) for pk in found]


@given(trees(), st.data())
def test_the_arbiter_is_the_lowest_common_ancestor_that_goes_on(tree, data):
    parents, ended = tree
    one, other = (data.draw(st.sampled_from(sorted(parents))) for _ in range(2))
    lines = [[a.id for a in line(parents, agent, set())] for agent in (one, other)]
    common = [pk for pk in lines[0] if pk in lines[1] and pk not in ended]
    found = rules.arbiter(line(parents, one, ended), line(parents, other, ended))
    assert found == rules.arbiter(line(parents, other, ended), line(parents, one, ended)), "either way round"
    assert found == (common[0] if common else None)
    if found is not None:
        below = [pk for pk in parents if parents[pk] == found]
        assert not any(pk in lines[0] and pk in lines[1] and pk not in ended for pk in below), "none is lower"


def test_agents_of_two_trees_have_no_arbiter():
    assert rules.arbiter([Ancestor(id=2), Ancestor(id=1)], [Ancestor(id=4), Ancestor(id=3)]) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_the_default_is_a_decision_that_can_be_taken(kind):
    for flipped in (False, True):
        found = rules.default(kind, SIDES, holder_waits_for_requester=flipped)
        assert rules.settled(kind, SIDES, choice=found.choice, order=found.order) == found
    assert rules.default(Kind.LOCK, SIDES).order == (11, 12), "who has it comes first"
    assert rules.default(Kind.OVERLAP, SIDES, holder_waits_for_requester=True).order == (12, 11)
    assert rules.default(Kind.MERGE, SIDES) == Decision(choice=Choice.MERGE_PLAN, order=(12,))


@pytest.mark.parametrize(
    ("kind", "choice", "order", "words"),
    [
        (Kind.MERGE, Choice.RELEASE, (), "is ended by merge_plan, fork"),
        (Kind.OVERLAP, Choice.RELEASE, (), "is ended by sequence, fork, merge_plan"),
        (Kind.LOCK, Choice.SEQUENCE, (99,), "the agents 12 and 11 only"),
        (Kind.LOCK, Choice.MERGE_PLAN, (99,), "name one agent that merges: 12, 11, 3"),
        (Kind.LOCK, Choice.MERGE_PLAN, (11, 12), "name one agent"),
        (Kind.MERGE, Choice.MERGE_PLAN, (11,), "has merged its work already"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(kind, choice, order, words):
    with pytest.raises(ValueError, match=words):
        rules.settled(kind, SIDES, choice=choice, order=order)


def test_what_is_left_out_is_filled_in():
    def settled(choice: Choice, *order: int, sides: Sides = SIDES) -> tuple[int, ...]:
        return rules.settled(Kind.LOCK, sides, choice=choice, order=order).order

    assert settled(Choice.SEQUENCE) == (11, 12) and settled(Choice.SEQUENCE, 12) == (12, 11)
    assert settled(Choice.FORK) == (3,) and settled(Choice.MERGE_PLAN) == (12,)
    people = Sides(requester=12, holder=11, arbiter=None)
    assert settled(Choice.FORK, sides=people) == (12,), "without an arbiter who asked merges"
    assert settled(Choice.RELEASE, 12) == ()


# --- every conflict ends ---------------------------------------------------------------------------------------


def decisions(kind: Kind) -> list[Decision]:
    named = [(), (12,), (11,), (3,)]
    found = []
    for choice in rules.choices(kind):
        for order in named:
            try:
                found.append(rules.settled(kind, SIDES, choice=choice, order=order))
            except ValueError:
                continue
    return list(dict.fromkeys(found))


ALL = [(kind, decision) for kind in Kind for decision in (None, *decisions(kind))]

sides_of_agents = st.builds(
    Side,
    state=st.sampled_from(list(AgentState)),
    is_live=st.booleans(),
    is_applied=st.booleans(),
    code=st.sampled_from(["", "running", "capacity", "held", "conflict", "children"]),
    has_merge=st.booleans(),
)


def situations(*, act_at: datetime | None = None) -> st.SearchStrategy[Situation]:
    return st.builds(
        Situation,
        now=st.just(NOW),
        act_at=st.just(act_at),
        default_at=st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
        is_locked=st.booleans(),
        agents=st.fixed_dictionaries({11: sides_of_agents, 12: sides_of_agents, 3: sides_of_agents}),
    )


def walk(kind: Kind, decision: Decision | None, moments: list[Situation]) -> tuple[list[Step], End | None]:
    """What is done over a series of moments, as the executor does it."""
    done: list[Step] = []
    for moment in moments:
        for _ in range(10):
            act = conflict_steps.next_act(kind, SIDES, decision, done=len(done), situation=moment)
            if isinstance(act, End):
                return done, act
            if isinstance(act, Wait):
                break
            if isinstance(act, Overdue):
                decision, done = rules.default(kind, SIDES), []
            else:
                done.append(act)
        else:
            pytest.fail("ten acts in one moment")
    return done, None


@given(st.sampled_from(ALL), st.lists(situations(act_at=NOW), max_size=6), st.lists(situations(), max_size=2))
def test_every_conflict_ends_when_its_agents_have_and_each_step_is_done_once(what, moments, more):
    kind, decision = what
    over = Side(state=AgentState.DONE)
    last = Situation(now=NOW, act_at=None, default_at=NOW, is_locked=False, agents={11: over, 12: over, 3: over})
    done, end = walk(kind, decision, [*moments, *more, last, last])
    assert end is not None, (kind, decision, done)
    assert len(done) == len(set(done)), "no step twice"


@given(st.sampled_from([one for one in ALL if one[1] is None]), situations())
def test_an_open_conflict_whose_time_is_over_is_decided_or_over(what, moment):
    kind, _ = what
    late = Situation(now=NOW, act_at=None, default_at=NOW, is_locked=moment.is_locked, agents=moment.agents)
    assert isinstance(conflict_steps.next_act(kind, SIDES, None, done=0, situation=late), Overdue | End)


@given(st.sampled_from(ALL), situations(act_at=NOW))
def test_nobody_waits_for_an_agent_that_does_not_move(what, moment):
    """Whoever waits is freed as soon as the one it waits for has stopped, for whatever reason, and the time is up."""
    kind, decision = what
    if decision is None:
        decision = rules.default(kind, SIDES)
    # Merges wait for agents that were given one, and do not come to it.
    has_merge = kind == Kind.MERGE and decision.order[0] == 3
    still = {
        pk: Side(state=side.state, code="held", has_merge=has_merge and pk == 3)
        if side.state not in (AgentState.NEW, AgentState.QUEUED, AgentState.RUNNING)
        else Side(state=AgentState.QUEUED, code="held", has_merge=has_merge and pk == 3)
        for pk, side in moment.agents.items()
    }
    stopped = Situation(now=NOW, act_at=NOW, default_at=NOW, is_locked=moment.is_locked, agents=still)
    done, end = walk(kind, decision, [stopped])
    frees = {StepName.FREE, StepName.APPLY}
    plan = conflict_steps.steps(kind, SIDES, decision)
    assert end is not None or {step for step in plan if step.name in frees} <= set(done)


def test_a_sequence_interrupts_the_second_only_after_its_time_and_while_the_first_goes_on():
    decision = Decision(choice=Choice.SEQUENCE, order=(11, 12))
    running, queued = Side(state=AgentState.RUNNING, is_live=True), Side(state=AgentState.QUEUED)

    def act(first: Side, second: Side, *, done: int = 0, act_at: datetime = NOW + timedelta(1)) -> object:
        agents = {11: first, 12: second, 3: Side(state=AgentState.WAITING)}
        moment = Situation(now=NOW, act_at=act_at, default_at=NOW, is_locked=True, agents=agents)
        return conflict_steps.next_act(Kind.LOCK, SIDES, decision, done=done, situation=moment)

    assert act(running, running) == Wait.WAIT
    assert act(running, running, act_at=NOW) == Step(name=StepName.STOP, agent=12)
    assert act(running, queued) == Step(name=StepName.STOP, agent=12)
    assert act(running, queued, done=1) == Wait.WAIT
    for state in (*ENDED, AgentState.WAITING, AgentState.BLOCKED, AgentState.FAILED, AgentState.REVIEW):
        assert act(Side(state=state), queued, done=1) == Step(name=StepName.FREE, agent=12), state
    for code in ("blockers", "no-progress"):
        assert act(Side(state=AgentState.QUEUED, code=code), queued, done=1) == Step(name=StepName.FREE, agent=12)
    assert act(Side(state=AgentState.QUEUED, code="capacity"), queued, done=1) == Wait.WAIT


def test_only_choices_that_keep_both_apart_let_both_write():
    assert {Choice.FORK, Choice.MERGE_PLAN} == APART


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (["src/a.py"], ["src/a.py"], True),
        (["src"], ["src/a.py"], True),
        (["SRC/A.py"], ["src/a.py"], True),
        (["src/*.py"], ["src/b.txt"], True),
        (["src/a.py"], ["docs/a.md"], False),
        (["src/app"], ["src/app.py"], False),
        (["README"], ["README.md"], False),
        (["src/ap?"], ["src/app.py"], True),
        (["."], ["src/app.py"], True),
        ([], ["a"], False),
    ],
)
def test_paths_of_one_conflict(one, other, expected):
    assert rules.overlaps(one, other) is expected and rules.overlaps(other, one) is expected


def test_states_are_those_of_the_issue():
    assert [str(state) for state in ConflictState] == ["open", "decided", "carried-out", "failed", "cancelled"]
