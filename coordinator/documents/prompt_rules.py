"""What a template of the prompt library may contain: enough to write prompts, nothing that could run away. Pure.

Agents write templates, so each is hostile. The sandbox keeps it from our objects; these rules keep it from our time and
memory: no calls, no arithmetic, no variables of its own, loops over the lists of `PromptContext` alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jinja2 import Environment, TemplateSyntaxError, nodes

from coordinator.public_errors import InvalidInputError

MAX_CHARACTERS = 64 * 1024
MAX_STEPS = 30_000
"""What filling may take at most: its parts, those in a loop counted for every turn."""
_TURNS = 100
"""No list is longer."""
_MAX_DEEP = 40
_LISTS = frozenset({"comments", "acceptance", "blockers", "children", "remarks", "messages"})
_FILTERS = frozenset(
    {"capitalize", "count", "d", "default", "first", "last", "length", "lower", "title", "trim", "truncate", "upper"}
)
"""None of them makes a text much longer than it was."""
_TESTS = frozenset(
    {"defined", "undefined", "none", "true", "false", "eq", "equalto", "ne", "gt", "ge", "lt", "le", "in"}
)
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Include,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.CondExpr,
    nodes.Keyword,
)
_IN_WORDS = {
    nodes.Call: "calls",
    nodes.CallBlock: "calls",
    nodes.Macro: "macros",
    nodes.Assign: "variables of its own (set)",
    nodes.AssignBlock: "variables of its own (set)",
    nodes.With: "variables of its own (with)",
    nodes.Extends: "extends",
    nodes.Block: "blocks",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.FilterBlock: "filter blocks",
    nodes.Concat: "joining texts with ~",
}


class TemplateRefusedError(InvalidInputError):
    """A template holds what may not be in one; the message names the line and the fix."""


def check(source: str, *, environment: Environment, variables: Collection[str], includes: Collection[str]) -> None:
    """Refuse a template that is too long, no template at all, or could take more than a moment to fill.

    Args:
        source: The template's text.
        environment: The one that renders it.
        variables: Names that exist when it is filled.
        includes: Templates that it may include.

    Raises:
        TemplateRefusedError: For the first thing that is wrong.
    """
    if not source.strip():
        raise TemplateRefusedError("the template is empty")
    if len(source) > MAX_CHARACTERS:
        raise TemplateRefusedError(
            f"the template has {len(source):,} characters; at most {MAX_CHARACTERS:,} are kept. Shorten it"
        )
    if any(character < " " and character not in "\n\t\r" for character in source) or not _is_storable(source):
        raise TemplateRefusedError("the template holds control characters; remove them")
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        raise TemplateRefusedError(f"line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise TemplateRefusedError("the template is nested too deeply; make it flatter") from error
    steps = 0
    for node, deep, is_in_loop in _walk(tree):
        if deep > _MAX_DEEP:
            raise _refused(node, "is nested too deeply; make it flatter")
        if is_in_loop and isinstance(node, nodes.For | nodes.Include):
            raise _refused(node, "no loop and no include within a loop; take it out")
        steps += _TURNS if is_in_loop else 1
        if steps > MAX_STEPS:
            raise _refused(node, "filling it would take too long; have fewer loops, or less in them")
        _check_node(node, variables, includes)


def _check_node(node: nodes.Node, variables: Collection[str], includes: Collection[str]) -> None:
    if not isinstance(node, _ALLOWED):
        what = _IN_WORDS.get(type(node), f"{type(node).__name__.lower()} expressions")
        raise _refused(node, f"{what} are not allowed in a prompt; write it out, or use if, for and include")
    match node:
        case nodes.For():
            _check_loop(node, variables)
        case nodes.Include():
            name = node.template.value if isinstance(node.template, nodes.Const) else None
            if name not in includes or node.ignore_missing:
                raise _refused(
                    node, f"there is no template of that name to include; known: {', '.join(sorted(includes))}"
                )
        case nodes.Filter() if node.name not in _FILTERS or node.node is None:
            raise _refused(node, f"the filter {node.name[:40]} is not allowed; known: {', '.join(sorted(_FILTERS))}")
        case nodes.Test() if node.name not in _TESTS:
            raise _refused(node, f"the test {node.name[:40]} is not allowed; known: {', '.join(sorted(_TESTS))}")
        case nodes.Getattr() if node.attr.startswith("_"):
            raise _refused(node, f"there is nothing called {node.attr[:40]}")
        case nodes.Getitem() if not isinstance(node.arg, nodes.Const | nodes.Slice | nodes.Neg):
            raise _refused(node, "only a number or a name in quotes may stand between [ and ]")


def _check_loop(node: nodes.For, variables: Collection[str]) -> None:
    """Over our lists only: they are bounded, which no text is."""
    match node.iter:
        case nodes.Name(name=name):
            is_ours = name in _LISTS
        case nodes.Getattr(node=nodes.Name(name="last_failure"), attr="checks"):
            is_ours = True
        case _:
            is_ours = False
    if not is_ours or node.recursive:
        raise _refused(node, f"loops go over {', '.join(sorted(_LISTS))} or last_failure.checks")
    if not isinstance(node.target, nodes.Name) or node.target.name in variables or node.target.name == "loop":
        raise _refused(node, "give the loop's variable a single name that is not taken")


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int, bool]]:
    """Every node, how deep it is, and whether in a loop; without recursion of our own."""
    todo = [(tree, 0, False)]
    while todo:
        node, deep, is_in_loop = todo.pop()
        yield node, deep, is_in_loop
        inside = is_in_loop or isinstance(node, nodes.For)
        todo += [(child, deep + 1, inside) for child in node.iter_child_nodes()]


def _is_storable(source: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in source)


def _refused(node: nodes.Node, message: str) -> TemplateRefusedError:
    return TemplateRefusedError(f"line {node.lineno}: {message}")
