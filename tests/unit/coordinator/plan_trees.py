"""Random plans for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from coordinator.documents.plan_nodes import Node, by_id

TEXT = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"], include_characters="\n\t"),
    max_size=60,
)
LINES = st.lists(st.sampled_from(["a", " b", "- c: d", "# e", "| f", '"g', "h: ", "", "…", "\ti", "%j"]), max_size=5)
COMMANDS = st.lists(
    st.sampled_from(["true", "pytest -q", "test -e a\nls", "echo '#'", "a: b", "*"]), max_size=2, unique=True
)
PATHS = st.lists(st.sampled_from(["src", "src/a.py", "docs/**/*.md", "a b", "ä"]), max_size=2, unique=True)


@st.composite
def nodes(draw: st.DrawFn, node_id: str, *, is_new: bool = False) -> Node:
    """A node without children."""
    return Node(
        id=node_id,
        is_new=is_new,
        goal=draw(st.sampled_from(["Do it", "yes", "12", "- x: y", "Grüße, “all”", "a #b", "[x]", "null"])),
        body=draw(st.one_of(TEXT, LINES.map("\n".join))),
        cwd=draw(st.sampled_from(["", "src", "a/b"])),
        acceptance=tuple(draw(COMMANDS)),
        files=tuple(draw(PATHS)),
        profile=draw(st.sampled_from(["", "worker", "micro"])),
        share=draw(st.sampled_from([None, 1, 10])),
        usd_micros=draw(st.sampled_from([None, 1, 2_500_000, 1_000_000])),
        footprint=tuple(draw(PATHS)),
        priority=draw(st.sampled_from([None, 3, -2])),
    )


@st.composite
def trees(draw: st.DrawFn, *, most: int = 8) -> Node:
    """A tree of existing nodes, at most four levels, dependencies between siblings only."""
    count = draw(st.integers(1, most))
    depths, parents = [0], []
    for _ in range(1, count):
        parent = draw(st.sampled_from([place for place, depth in enumerate(depths) if depth < 3]))
        depths.append(depths[parent] + 1)
        parents.append(parent)
    made = {index: draw(nodes(f"a{index + 1}")) for index in range(count)}

    def build(index: int) -> Node:
        children: list[Node] = []
        done: list[str] = []
        for child in (place + 1 for place, parent in enumerate(parents) if parent == index):
            waits = draw(st.sets(st.sampled_from(done), max_size=2)) if done else set()
            children.append(replace(build(child), depends_on=frozenset(waits)))
            done.append(f"a{child + 1}")
        return replace(made[index], children=tuple(children))

    return build(0)


@st.composite
def edits(draw: st.DrawFn, root: Node, *, may_move: bool = True) -> Node:
    """The same tree after a few things people do to it; it keeps all rules."""
    for step in range(draw(st.integers(0, 5))):
        known = by_id(root)
        target = known[draw(st.sampled_from(sorted(known)))]
        what = draw(st.sampled_from(["add", "cancel", "change", "move", "shuffle", "depend"]))
        if what == "add" and target.depth < 3:
            new = replace(draw(nodes(f"n{step}", is_new=True)), share=None)
            below = list(target.node.children)
            below.insert(draw(st.integers(0, len(below))), new)
            root = _put(root, replace(target.node, children=tuple(below)))
        elif what == "cancel" and target.parent:
            root = without(root, target.node.id)
        elif what == "change":
            other = draw(nodes(target.node.id, is_new=target.node.is_new))
            root = _put(root, replace(other, children=target.node.children, depends_on=target.node.depends_on))
        elif what == "move" and may_move and target.parent:
            rest = _taken_out(root, target.node.id)
            to = by_id(rest)[draw(st.sampled_from(sorted(by_id(rest))))]
            if to.depth + _height(target.node) < 4:
                moved = replace(to.node, children=(*to.node.children, target.node))
                root = _free_of_circles(_put(rest, moved))
        elif what == "shuffle":
            root = _put(root, replace(target.node, children=tuple(draw(st.permutations(target.node.children)))))
        elif what == "depend" and target.parent:
            siblings = [child.id for child in known[target.parent].node.children]
            earlier = siblings[: siblings.index(target.node.id)]
            waits = draw(st.sets(st.sampled_from(earlier), max_size=2)) if earlier else set()
            root = _free_of_circles(_put(root, replace(target.node, depends_on=frozenset(waits))))
    return _free_of_circles(root)


def without(root: Node, node_id: str) -> Node:
    """The tree without a node and without what waits for what is gone."""
    left = _taken_out(root, node_id)
    known = set(by_id(left))
    return _each(left, lambda node: replace(node, depends_on=node.depends_on & known))


def _taken_out(root: Node, node_id: str) -> Node:
    return replace(root, children=tuple(_taken_out(child, node_id) for child in root.children if child.id != node_id))


def _put(root: Node, new: Node) -> Node:
    if root.id == new.id:
        return new
    return replace(root, children=tuple(_put(child, new) for child in root.children))


def _each(root: Node, change: Callable[[Node], Node]) -> Node:
    return change(replace(root, children=tuple(_each(child, change) for child in root.children)))


def _free_of_circles(root: Node) -> Node:
    """Only dependencies on earlier siblings stay: these cannot go round."""

    def tidy(node: Node) -> Node:
        done: set[str] = set()
        children = []
        for child in node.children:
            children.append(replace(child, depends_on=child.depends_on & done))
            done.add(child.id)
        return replace(node, children=tuple(children))

    return replace(_each(root, tidy), depends_on=frozenset())


def _height(node: Node) -> int:
    return 1 + max((_height(child) for child in node.children), default=0)
