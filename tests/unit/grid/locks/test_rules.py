"""Who stands in whose way, who is next, who waits in a circle."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from grid.locks.patterns import parse
from grid.locks.rules import Wish, blockers, circle, clash, next_ones, own, wait_graph, youngest

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def wish(number: int, who: UUID, path: str, mode: str = "write", *, held: bool = False, counts: bool = True) -> Wish:
    return Wish(
        id=number,
        execution_id=who,
        pattern=parse(path),
        is_write=mode == "write",
        is_held=held,
        token=number,
        counts=counts,
    )


def test_a_writer_that_waits_is_not_passed_except_by_whom_it_waits_for() -> None:
    reading, waiting = wish(1, A, "a", "read", held=True), wish(2, B, "a")
    late = wish(9, C, "a", "read")
    assert blockers(late, [reading, waiting]) == [waiting]
    again = wish(9, A, "a")  # the reader wants to write: the writer cannot begin before it in any case
    assert blockers(again, [reading, waiting]) == []


def test_what_counts_no_more_blocks_nobody() -> None:
    assert blockers(wish(9, B, "a"), [wish(1, A, "a", held=True, counts=False)]) == []
    assert own(wish(9, A, "a"), [wish(1, A, "a", held=True, counts=False)]) is None


def test_what_is_held_grants_what_is_below_it_and_weaker() -> None:
    folder = wish(1, A, "src", held=True)
    assert own(wish(9, A, "src/deep/x.py"), [folder]) is folder
    assert own(wish(9, A, "src/*.py", "read"), [folder]) is folder
    assert own(wish(9, A, "src"), [wish(1, A, "src", "read", held=True)]) is None
    assert own(wish(9, A, "."), [folder]) is None
    assert own(wish(9, B, "src"), [folder]) is None


def test_next_are_all_that_fit_in_their_order() -> None:
    line = [wish(2, B, "a", "read"), wish(3, C, "a", "read"), wish(4, D, "a")]
    assert next_ones(line) == line[:2]
    assert next_ones([wish(1, A, "a", "read", held=True), *line]) == line[:2]
    assert next_ones([wish(1, A, "a", held=True), *line]) == []
    assert next_ones(line, first=D) == line[2:]


def test_a_circle_is_found_by_each_of_its_members_and_nobody_else() -> None:
    wishes = [wish(1, A, "a", held=True), wish(2, B, "b", held=True), wish(3, A, "b"), wish(4, B, "a"), wish(5, C, "a")]
    graph = wait_graph(wishes)
    assert circle(A, graph) == [A, B]
    assert circle(B, graph) == [B, A]
    assert circle(C, graph) == []
    assert youngest([A, B], wishes).id == 4


wishes_of = st.lists(
    st.tuples(
        st.sampled_from([A, B, C, D]),
        st.sampled_from(["a", "b", "d", "d/x", "d/*", "."]),
        st.sampled_from(["read", "write"]),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=120, deadline=None)
@given(wishes_of)
def test_who_is_granted_next_never_clashes_and_somebody_always_is(drawn: list[tuple[UUID, str, str, bool]]) -> None:
    wishes: list[Wish] = []
    for number, (who, path, mode, held) in enumerate(drawn, start=1):
        new = wish(number, who, path, mode, held=held)
        if not held or not any(clash(new, other) for other in wishes if other.is_held):
            wishes.append(new)
    holding, granted = [one for one in wishes if one.is_held], next_ones(wishes)
    everything = [*holding, *granted]
    assert not [(one, other) for one in everything for other in everything if clash(one, other)]
    if not holding and any(not one.is_held for one in wishes):
        assert granted, "with nothing held the first in line can begin"
