"""The prompt library: named templates in versions, shipped ones, operators' for everybody, and agents' for their own tree.

A name is looked up in the agent's tree first, then among the operators', then among the shipped ones, which are named after
the modes. Whatever is wrong with a template, the run gets the shipped prompt instead: a bad prompt must not lose a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from coordinator import auditing
from coordinator.documents import prompts
from coordinator.documents.prompts import MODES, PromptContext, PromptError
from coordinator.models import Prompt
from coordinator.public_errors import AgentNotFoundError, InvalidInputError, NotAllowedError
from grid.public_sql import Prepared, given

_OF_EVERYBODY = Prepared(lambda: Prompt.objects.filter(name=given("name"), scope="", is_current=True).order_by())
NAMES_PER_TREE = 50
VERSIONS_PER_TREE = 500
_NAME = re.compile(r"[a-z][a-z0-9-]{0,59}")
_SCOPE = re.compile(r"(tree:[1-9][0-9]{0,17})?")
_MEANWHILE = "somebody saved another version meanwhile; look at it, then try again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One version of a template."""

    name: str
    scope: str
    """`tree:<id>`, or empty: everybody's."""
    version: int
    """0 of a shipped one."""
    body: str
    description: str = ""
    is_current: bool = True
    is_frozen: bool = False
    author: str = "shipped"
    execution_id: UUID | None = None
    created_at: datetime | None = None

    @property
    def provenance(self) -> str:
        """Where it is from, in a line: `review version 3 by agent:12 for tree:7`."""
        where = f" for {self.scope}" if self.scope else ""
        frozen = ", frozen" if self.is_frozen else ""
        return f"{self.name} version {self.version} by {self.author}{where}{frozen}" if self.version else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The prompt of a run."""

    text: str
    template: Template
    problems: tuple[str, ...]
    """Templates that were wished for and could not be used, and why."""


def tree_scope(tree_id: int) -> str:
    """The scope of a tree's own templates."""
    return f"tree:{tree_id}"


def fill(mode: str, context: PromptContext, *, name: str, tree_id: int) -> Filled:
    """The prompt for a run, from the template wished for or, where that fails, from the next usual one.

    Args:
        mode: `work`, `resume` or `resolve`. In the latter two a template is used that is named `<name>-<mode>`.
        context: Facts and texts.
        name: Template of the agent's own or its profile's wish; empty: the usual one.
        tree_id: Id of the root of the agent's tree.
    """
    problems: list[str] = []
    for template in _wished(mode, name, tree_id, problems):
        try:
            text = prompts.render(mode, context, source=template.body)
            return Filled(text=text, template=template, problems=tuple(problems))
        except PromptError as error:
            problems.append(f"{template.provenance}: {error}"[:500])
    text = prompts.render(mode, context)
    return Filled(text=text, template=Template(name=mode, scope="", version=0, body=""), problems=tuple(problems))


def visible(tree_id: int | None = None) -> list[Template]:
    """The current templates that a tree, or a person (None: of all trees), can use by name; shadowed ones left out."""
    rows = Prompt.objects.filter(is_current=True)
    if tree_id is not None:
        rows = rows.filter(scope__in=["", tree_scope(tree_id)])
    found = {(row.scope, row.name): _template(row) for row in rows}
    for name, body in prompts.shipped().items():
        found.setdefault(("", name), Template(name=name, scope="", version=0, body=body))
    if tree_id is not None:
        found = {("", name): template for (_, name), template in sorted(found.items())}  # the tree's own come last
    return [found[key] for key in sorted(found)]


def get(name: str, *, tree_id: int | None = None, scope: str | None = None, version: int | None = None) -> Template:
    """A template by name, as a tree sees it, or exactly one scope's.

    Args:
        scope: Only this one; empty is everybody's.
        version: None: the current one.

    Raises:
        AgentNotFoundError: There is none; the message lists those there are.
    """
    scopes = [scope] if scope is not None else [*([tree_scope(tree_id)] if tree_id is not None else []), ""]
    for one in scopes:
        rows = Prompt.objects.filter(name=name, scope=one)
        row = rows.filter(is_current=True).first() if version is None else rows.filter(version=version).first()
        if row is not None:
            return _template(row)
    shipped = prompts.shipped()
    if name in shipped and version in (None, 0) and scope in (None, ""):
        return Template(name=name, scope="", version=0, body=shipped[name])
    known = ", ".join(sorted({template.name for template in visible(tree_id)})[:30])
    number = "" if version is None else f" in version {version}"
    raise AgentNotFoundError(f"no prompt '{name[:60]}'{number}; there are: {known}")


def versions(name: str, *, scope: str) -> list[Template]:
    """All versions of a template, the newest first."""
    return [_template(row) for row in Prompt.objects.filter(name=name, scope=scope).order_by("-version")]


def save(
    *, name: str, body: str, author: str, scope: str = "", description: str = "", base_version: int | None = None
) -> Template:
    """Store an operator's version and make it the current one; a frozen template stays frozen.

    Args:
        author: `cli:root`, `admin:ann`.
        base_version: The version it was made from, 0 for none; refused when another is current by now. None: whichever is.

    Raises:
        InvalidInputError: The name or the template is not usable; the message names the line and the fix.
        NotAllowedError: Somebody else saved a version meanwhile.
    """
    _check(name, scope, body, description)
    with transaction.atomic():
        row = _add(name, scope, body, description, author, base_version=base_version)
        _audit(author, "save_prompt", row)
    return _template(row)


def save_as_agent(
    *,
    agent_id: int,
    tree_id: int,
    execution_id: UUID | None,
    name: str,
    body: str,
    description: str = "",
    base_version: int | None = None,
) -> Template:
    """Store an agent's version for its own tree. Arguments and errors are those of `save`, and one more.

    Raises:
        NotAllowedError: An operator froze the name, it is the name of a mode, or the tree has too many.
    """
    scope = tree_scope(tree_id)
    _check(name, scope, body, description)
    if name in MODES:
        raise NotAllowedError(f"'{name}' is every agent's usual prompt; choose a name of your own")
    if Prompt.objects.filter(name=name, scope__in=["", scope], is_current=True, is_frozen=True).exists():
        raise NotAllowedError(f"an operator has frozen the prompt '{name}'; use it as it is, or choose another name")
    own = Prompt.objects.filter(scope=scope)
    names = own.filter(is_current=True).exclude(name=name).count()
    if names >= NAMES_PER_TREE or own.count() >= VERSIONS_PER_TREE:
        raise NotAllowedError(f"a tree keeps {NAMES_PER_TREE} prompts and {VERSIONS_PER_TREE} versions at most")
    with transaction.atomic():
        author = f"agent:{agent_id}"
        row = _add(
            name, scope, body, description, author, base_version=base_version, execution_id=execution_id, is_agent=True
        )
    return _template(row)


def freeze(name: str, *, scope: str, is_frozen: bool, actor: str) -> Template:
    """Let only operators add versions of a template, or everybody again who might before.

    Raises:
        AgentNotFoundError: No such template was ever saved; a shipped one cannot be changed by agents anyway.
        NotAllowedError: Somebody saved a version meanwhile.
    """
    with transaction.atomic():
        row = Prompt.objects.filter(name=name, scope=scope, is_current=True).first()
        if row is None:
            raise AgentNotFoundError(f"no saved prompt '{name[:60]}' in {scope or 'the scope of everybody'}")
        if row.is_frozen != is_frozen:
            if not Prompt.objects.filter(pk=row.pk, is_current=True).update(is_frozen=is_frozen):
                raise NotAllowedError(_MEANWHILE)
            row.is_frozen = is_frozen
            _audit(actor, "freeze_prompt" if is_frozen else "unfreeze_prompt", row)
    return _template(row)


def _wished(mode: str, name: str, tree_id: int, problems: list[str]) -> Iterator[Template]:
    """Templates to try, the one wished for first."""
    if name and name not in MODES:
        wanted = name if mode == "work" else f"{name}-{mode}"
        try:
            yield get(wanted, tree_id=tree_id)
        except AgentNotFoundError as error:
            if mode == "work":
                problems.append(str(error)[:500])
    row = _OF_EVERYBODY.one(name=mode)
    if row is not None:
        yield _template(row)


def _check(name: str, scope: str, body: str, description: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"'{name[:60]}' is no name of a prompt: use a-z, 0-9 and '-', a letter first, at most 60"
        )
    if not _SCOPE.fullmatch(scope):
        raise InvalidInputError(f"'{scope[:40]}' is no scope of a prompt: leave it out, or name a tree as tree:12")
    if len(description) > 300 or not description.isprintable():
        raise InvalidInputError("the description must be one line of at most 300 characters")
    prompts.check(body)


def _add(
    name: str,
    scope: str,
    body: str,
    description: str,
    author: str,
    *,
    base_version: int | None,
    execution_id: UUID | None = None,
    is_agent: bool = False,
) -> Prompt:
    """Add a version in the caller's transaction; whoever was faster wins."""
    rows = Prompt.objects.filter(name=name, scope=scope)
    last = rows.order_by("-version").first()
    version, is_frozen = (last.version, last.is_frozen) if last is not None else (0, False)
    if base_version is not None and base_version != version:
        raise NotAllowedError(f"version {version or 'none'} is current, not {base_version or 'none'}: {_MEANWHILE}")
    if last is not None:
        # An agent's write names what it has seen: not frozen. A freeze that commits first is not overtaken.
        current = rows.filter(pk=last.pk, is_current=True, is_frozen=False if is_agent else is_frozen)
        if not current.update(is_current=False):
            raise NotAllowedError(_MEANWHILE)
    try:
        with transaction.atomic():
            return Prompt.objects.create(
                name=name,
                scope=scope,
                version=version + 1,
                body=body,
                description=description,
                is_frozen=is_frozen,
                author=author[:150],
                execution_id=execution_id,
            )
    except IntegrityError as error:
        raise NotAllowedError(_MEANWHILE) from error


def _audit(actor: str, action: str, row: Prompt) -> None:
    target = f"prompt:{row.scope}:{row.name}" if row.scope else f"prompt:{row.name}"
    auditing.record(actor, action, target, {"version": row.version})


def _template(row: Prompt) -> Template:
    return Template(
        name=row.name,
        scope=row.scope,
        version=row.version,
        body=row.body,
        description=row.description,
        is_current=row.is_current,
        is_frozen=row.is_frozen,
        author=row.author,
        execution_id=row.execution_id,
        created_at=row.created_at,
    )
