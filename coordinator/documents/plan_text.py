"""A plan as the YAML document that people edit. Pure.

`plan_schema.parse` reads it back to the same values: a test holds the two against each other.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from coordinator.documents.plan_nodes import Node, Plan, budget, digests
from coordinator.documents.untrusted import one_line

VERSION = 1
_NUMBER = re.compile(r"[-+.0-9eE]+")
_HEAD = """\
# The plan of {name}. Edit it, then: manage.py plan apply {issue} THIS_FILE
#
# - Change a goal (the issue's title), a body (its text), acceptance (shell commands that must exit 0), files (paths
#   that must exist), cwd (folder to work in), profile, budget (share: percent of the parent's money, usd), footprint
#   (patterns of the files it changes), depends_on (ids that must be done first), priority.
# - New node: an entry under `children` with `new: some-name` in place of `id`. Its name may stand in depends_on.
# - Take an entry out to cancel it and everything below it. Move it under another `children` to give it that parent.
# - id, issue and state are for reading; base and seen say what the tree was like. Leave them.
"""


class _Dumper(yaml.SafeDumper):
    """No anchors, text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias: the reader refuses them."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        """Lists indented below their key."""
        return super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    """A block where the reader gets the same text back from it; the emitter has the last word on that."""
    is_plain = all(character.isprintable() or character == "\n" for character in data)
    style = "|" if "\n" in data and is_plain and not data.startswith((" ", "\n")) else None
    if not is_plain or _NUMBER.fullmatch(data):  # the emitter knows the numbers of YAML 1.1 only: 1e5 is none of those
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


class _Flow(dict[str, Any]):
    """A mapping on one line."""


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


def dump(plan: Plan, *, name: str, issue: str) -> str:
    """The document.

    Args:
        name: Of the root's issue, for the comment at the top.
        issue: The same as the commands take it.
    """
    head = _HEAD.format(name=one_line(name, 100), issue=one_line(issue, 100))
    return head + body_of({**as_json(plan), "seen": _Flow(plan.seen)})


def body_of(value: dict[str, Any]) -> str:
    """YAML of plain values."""
    made: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return made


def as_json(plan: Plan) -> dict[str, Any]:
    """The same as plain JSON."""
    return {"version": VERSION, "base": plan.base, "root": node_as_json(plan.root), "seen": dict(plan.seen)}


def node_as_json(node: Node) -> dict[str, Any]:
    """A node and all below it; what is empty is left out."""
    usd = {"usd": node.usd_micros / 1_000_000} if node.usd_micros is not None else {}
    share = {"share": node.share} if node.share is not None else {}
    value = {
        ("new" if node.is_new else "id"): node.id,
        "issue": node.issue,
        "state": node.state,
        "goal": node.goal,
        "body": node.body,
        "cwd": node.cwd,
        "acceptance": list(node.acceptance),
        "files": list(node.files),
        "profile": node.profile,
        "budget": {**share, **usd} if budget(node) else {},
        "footprint": list(node.footprint),
        "depends_on": sorted(node.depends_on),
        "priority": node.priority or None,
        "children": [node_as_json(child) for child in node.children],
    }
    return {key: item for key, item in value.items() if item not in ("", [], {}, None)}


def exported(root: Node, *, base: str) -> Plan:
    """A plan of a tree as it is."""
    return Plan(base=base, root=root, seen=digests(root))


def asked_for(node: Node) -> dict[str, Any]:
    """What a document asks for, without what stands in it for readers: the same for the same wishes."""
    value = {key: item for key, item in node_as_json(node).items() if key not in ("issue", "state", "children")}
    return value | {"children": [asked_for(child) for child in node.children]}
