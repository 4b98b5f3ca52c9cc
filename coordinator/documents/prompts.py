"""What an agent is told: templates filled with text from people, bounded and fenced before a template sees it. Pure.

The first line of every prompt names mode, issue and title for machines: `# agent-grid work: 12 Add a parser`.
"""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment

from coordinator.documents import prompt_disputes, prompt_rules
from coordinator.documents.prompt_context import (
    Blocker,
    Budget,
    Child,
    Comment,
    Conflict,
    Dispute,
    FailedCheck,
    Failure,
    Parent,
    PromptContext,
    Remark,
    Told,
)
from coordinator.documents.untrusted import fenced, head, one_line, printable, tail, terminal, visible
from coordinator.public_errors import CoordinatorError

__all__ = [
    "Blocker",
    "Budget",
    "Child",
    "Comment",
    "Conflict",
    "Dispute",
    "FailedCheck",
    "Failure",
    "Parent",
    "PromptContext",
    "PromptError",
    "Remark",
    "Told",
    "render",
]

MAX_CHARACTERS = 200_000
MAX_BODY_CHARACTERS = 65_536
MODES = ("work", "resume", "resolve")
TEMPLATES = Path(__file__).parents[1] / "templates" / "coordinator" / "prompts"

# How many of each there may be; what is left out is said.
_MAX_COMMENTS = 40
_MAX_CHILDREN = 100
_MAX_BLOCKERS = 50
_MAX_COMMANDS = 50
_MAX_CHECKS = 10
_MAX_PATHS = 200
_MAX_REMARKS = 50
_MAX_MESSAGES = 40
_MAX_DISPUTES = 10
_SHARES = (1.0, 0.5, 0.25, 0.1, 0.05)
"""Tried in turn until the prompt fits: the part of its usual length that each text but the issue's may have."""


class PromptError(CoordinatorError):
    """A template and the context do not fit; the message names both and the fix."""


def render(mode: str, context: PromptContext, *, folder: Path = TEMPLATES, source: str = "") -> str:
    """The prompt of one run, at most 200,000 characters; what had to be left out is marked.

    Args:
        mode: `work`, `resume` or `resolve`.
        context: Facts and texts.
        folder: Where the templates are.
        source: A template of the prompt library, in place of the mode's own; may come from an agent.

    Raises:
        PromptError: The mode is unknown, lacks what it needs, or the template names a variable that does not exist.
    """
    if mode not in MODES:
        raise PromptError(f"no prompt for the mode '{mode}'; known: {', '.join(MODES)}")
    if mode == "resolve" and context.conflict is None and not context.disputes:
        raise PromptError(
            "the mode 'resolve' needs context.conflict (a merge to do) or context.disputes (to be decided)"
        )
    left_out, clean, name = _left_out(context), _clean(context), "of the library" if source else f"{mode}.txt"
    try:
        template = _own(source, folder) if source else _environment(folder).get_template(name)
        for share in _SHARES:
            text = _filled(template, {"mode": mode, "left_out": left_out, **_fitted(clean, share)})
            if text is not None:
                return text
    except TemplateNotFound as error:
        raise PromptError(f"the template {error.name} is missing in {folder.name}/") from error
    except TemplateError as error:
        raise PromptError(f"the template {name}: {error.message}; PromptContext lists what there is") from error
    except prompt_rules.TemplateRefusedError as error:
        raise PromptError(f"the template {name}: {error}") from error
    # Of a template by strangers: a filter on what is no text, nesting that Python refuses, and the like.
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError, SyntaxError, MemoryError) as error:
        raise PromptError(f"the template {name} cannot be filled: {type(error).__name__}") from error
    raise PromptError(f"the template {name} makes more than {MAX_CHARACTERS:,} characters by itself; shorten it")


def check(source: str, *, folder: Path = TEMPLATES) -> None:
    """Raise TemplateRefusedError, an InvalidInputError that names the line and the fix, for what is no good template."""
    variables = {item.name for item in fields(PromptContext)} | {"mode", "left_out"}
    includes = {path.name for path in folder.glob("_*.txt")}
    prompt_rules.check(source, environment=_environment(folder), variables=variables, includes=includes)


def shipped(*, folder: Path = TEMPLATES) -> dict[str, str]:
    """The templates of the modes, by name."""
    return {mode: (folder / f"{mode}.txt").read_text("utf-8") for mode in MODES}


def _own(source: str, folder: Path) -> Template:
    """A checked template of the library, under the line that every prompt begins with."""
    check(source, folder=folder)
    return _environment(folder).from_string('{% include "_head.txt" %}\n' + source)


def _filled(template: Template, variables: dict[str, Any]) -> str | None:
    """The text, or None as soon as it is too long."""
    parts, length = [], 0
    for part in template.generate(variables):
        parts.append(part)
        length += len(part)
        if length > MAX_CHARACTERS:
            return None
    return "".join(parts)


@functools.cache
def _environment(folder: Path) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # plain text for a model; what is untrusted is fenced before a template gets it
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def _left_out(context: PromptContext) -> dict[str, int]:
    """How many of each are not shown."""
    checks = context.last_failure.checks if context.last_failure else ()
    paths = context.conflict.paths if context.conflict else ()
    return {
        "comments": max(0, len(context.comments) - _MAX_COMMENTS),
        "acceptance": max(0, len(context.acceptance) - _MAX_COMMANDS),
        "blockers": max(0, len(context.blockers) - _MAX_BLOCKERS),
        "children": max(0, len(context.children) - _MAX_CHILDREN),
        "checks": max(0, len(checks) - _MAX_CHECKS),
        "paths": max(0, len(paths) - _MAX_PATHS),
        "remarks": max(0, len(context.remarks) - _MAX_REMARKS),
        "messages": max(0, len(context.messages) - _MAX_MESSAGES),
        "disputes": max(0, len(context.disputes) - _MAX_DISPUTES),
    }


def _clean(context: PromptContext) -> PromptContext:
    """The same without what nobody can see; what stands in the middle of our sentences is on one line."""
    parent, failure, conflict = context.parent, context.last_failure, context.conflict
    return replace(
        context,
        key=one_line(context.key, 40),
        title=one_line(context.title),
        body=visible(context.body),
        scope=one_line(context.scope),
        branch=one_line(context.branch),
        cwd=one_line(context.cwd, 400).replace("`", "'"),
        base=one_line(context.base, 64),
        comments=tuple(
            replace(comment, author=one_line(comment.author, 80), text=visible(comment.text))
            for comment in context.comments[-_MAX_COMMENTS:]
        ),
        # No visible() for commands: an HTML comment in a command is part of the command.
        acceptance=tuple(printable(command) for command in context.acceptance[:_MAX_COMMANDS]),
        parent=parent and Parent(key=one_line(parent.key, 40), title=one_line(parent.title)),
        blockers=tuple(
            Blocker(key=one_line(item.key, 40), title=one_line(item.title, 120), summary=visible(item.summary))
            for item in context.blockers[:_MAX_BLOCKERS]
        ),
        children=tuple(_clean_child(child) for child in context.children[:_MAX_CHILDREN]),
        last_failure=failure
        and Failure(
            reason=one_line(failure.reason, 2_000),
            checks=tuple(
                FailedCheck(command=printable(check.command), tail=terminal(check.tail))
                for check in failure.checks[:_MAX_CHECKS]
            ),
        ),
        conflict=conflict
        and Conflict(
            commit=one_line(conflict.commit, 64),
            paths=tuple(one_line(path, 500) for path in conflict.paths[:_MAX_PATHS]),
        ),
        disputes=tuple(prompt_disputes.clean(dispute) for dispute in context.disputes[:_MAX_DISPUTES]),
        remarks=tuple(_clean_remark(remark) for remark in context.remarks[:_MAX_REMARKS]),
        messages=tuple(
            Told(sender=one_line(told.sender, 150), text=visible(told.text))
            for told in context.messages[:_MAX_MESSAGES]
        ),
    )


def _clean_remark(remark: Remark) -> Remark:
    return replace(
        remark,
        author=one_line(remark.author, 120),
        text=terminal(remark.text) if remark.is_check else visible(remark.text),
        path=one_line(remark.path, 300).replace("`", "'"),
        commit=one_line(remark.commit, 64),
    )


def _clean_child(child: Child) -> Child:
    return replace(
        child,
        key=one_line(child.key, 40),
        title=one_line(child.title, 120),
        state=one_line(child.state, 40),
        summary=visible(child.summary),
        branch=one_line(child.branch, 120),
        commit=one_line(child.commit, 64),
    )


def _fitted(clean: PromptContext, share: float) -> dict[str, Any]:
    """The template's variables: the context's fields, each longer text cut to its length and fenced."""

    def part(limit: int) -> int:
        return max(100, int(limit * share))

    def command(text: str) -> str:
        return fenced(head(text, part(2_000)), "sh")

    failure, conflict = clean.last_failure, clean.conflict
    variables: dict[str, Any] = {item.name: getattr(clean, item.name) for item in fields(clean)}
    return variables | {
        "body": _block(head(clean.body, MAX_BODY_CHARACTERS)),
        "comments": [replace(item, text=_block(head(item.text, part(8_000)))) for item in clean.comments],
        "acceptance": [command(text) for text in clean.acceptance],
        "blockers": [replace(item, summary=_block(head(item.summary, part(2_000)))) for item in clean.blockers],
        "children": [replace(item, summary=_block(head(item.summary, part(3_000)))) for item in clean.children],
        "last_failure": failure
        and {
            "reason": failure.reason,
            "checks": [
                {"command": command(check.command), "tail": _block(tail(check.tail, part(4_000)))}
                for check in failure.checks
            ],
        },
        "remarks": [
            replace(item, text=_block((tail if item.is_check else head)(item.text, part(8_000))))
            for item in clean.remarks
        ],
        "messages": [replace(item, text=_block(head(item.text, part(16_500)))) for item in clean.messages],
        "disputes": [prompt_disputes.fitted(item, part) for item in clean.disputes],
        "conflict": conflict
        and {"commit": conflict.commit, "paths": fenced(head("\n".join(conflict.paths), part(20_000)))},
    }


def _block(text: str) -> str:
    """Fenced, or empty when there is nothing to show, so that a template can leave the place out."""
    return fenced(text) if text.strip() else ""
