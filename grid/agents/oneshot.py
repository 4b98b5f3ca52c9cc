"""What adapters of agents with a JSON stream share: types of options, small readers and the verdict. Pure.

Everything in a stream was written by a program that nobody vouches for: the readers answer with something usable for any
value whatever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from grid.agents import validation
from grid.agents.base import OUTCOME_FILE, ParsedEvent, Verdict, came_from_outside, judge_report
from grid.agents.bounds import bounded, clean
from grid.agents.errors import InvalidOptionsError, InvalidOutcomeError
from grid.phases import Ended
from grid.public_types import Outcome, OutcomeKind

_MAX_COUNT = 1 << 53
_STANDING = frozenset({OutcomeKind.FAILED, OutcomeKind.BLOCKED})


def _checked_url(url: str) -> str:
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL: https://models.example.org/v1")
    if parts.username or parts.password:
        raise ValueError("may not hold a user or password; keys come from the environment")
    return url


# `$` and braces would be replaced by variables and files in the configuration of some programs.
Url = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\s${}\x00-\x1f]*$"), AfterValidator(_checked_url)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")]
# One argument of a program may have 128 KiB at most.
Instructions = Annotated[str, StringConstraints(max_length=30_000, pattern=r"^[^\x00]*$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,99}$")]
Program = Annotated[
    str, StringConstraints(max_length=1_000, pattern=r"^(/[^\x00-\x1f]+|[A-Za-z0-9_][A-Za-z0-9_.+-]*)$")
]
"""A name looked up in PATH, or an absolute path; a relative one would lead into the workspace."""


class OneshotOptions(BaseModel):
    """Base of the options: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class McpServer(OneshotOptions):
    """A server of tools, reached over streamable HTTP."""

    url: Annotated[Url, Field(min_length=1)]
    token_env: EnvName
    """Variable that holds the bearer token; the token itself never stands in options."""


# Underscores would blur where the server's name ends in names like `grid_ping`.
McpServers = dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")], McpServer]


def read_options[T: OneshotOptions](model: type[T], agent: str, options: Mapping[str, Any]) -> T:
    """Typed options. Raises InvalidOptionsError, whose message names the option and the fix."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        words = validation.in_words(error, model.model_fields)
        raise InvalidOptionsError(f"options of the agent '{agent}': {words}") from error


def text(value: Any, limit: int = 20_000) -> str:
    """The value when it is a string, cut to `limit` characters; else an empty string."""
    return clean(value[:limit]) if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """The value when it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else {}


def count(value: Any) -> int:
    """The value when it is a number of something; else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else 0


def amount(value: Any) -> float:
    """The value when it is an amount of money; else 0."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT
    return float(value) if usable and math.isfinite(value) else 0.0


def event(kind: str, /, **body: Any) -> ParsedEvent:
    """An event of bounded size."""
    return ParsedEvent(kind=kind, body=bounded(body))


def token_usage(
    *, input_tokens: int, output_tokens: int, cache_read_tokens: int = 0, cache_write_tokens: int = 0
) -> dict[str, int]:
    """Tokens in the shape of every `llm.result`; `input_tokens` includes cached ones."""
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
    }


def judge(
    *,
    problem: str,
    ended: Ended,
    outcome_file: Outcome | InvalidOutcomeError | None,
    changed: bool,
    last_words: str,
) -> Verdict:
    """Weigh terminal event, ending, report and change.

    Args:
        problem: What the stream says against the run; empty when its terminal event was a good one.
        ended: How the process ended. Beside a good terminal event its exit code is not asked.
        outcome_file: The report at OUTCOME_FILE, or why it cannot be read, or None.
        changed: Whether the workspace holds new commits or changes.
        last_words: The agent's last message: the summary of an outcome that the agent did not write itself.
    """
    if isinstance(outcome_file, InvalidOutcomeError):
        return Verdict(ok=False, outcome=None, reason=f"invalid {OUTCOME_FILE}: {outcome_file}"[:1_000])
    if came_from_outside(ended):
        return Verdict(ok=False, outcome=outcome_file, reason=ended.in_words())
    if outcome_file is not None and outcome_file.kind in _STANDING:
        return judge_report(outcome_file, ended)
    if ended.reason != "exited" or problem:
        return Verdict(ok=False, outcome=outcome_file, reason=_against(problem, ended, outcome_file))
    if outcome_file is not None:
        return judge_report(outcome_file, Ended(reason="exited", exit_code=0))
    if not changed:
        return Verdict(ok=False, outcome=None, reason=f"ended well, but left neither a change nor {OUTCOME_FILE}")
    done = Outcome(kind=OutcomeKind.DONE, summary=last_words.strip()[:20_000] or "The agent ended well with a change.")
    return Verdict(ok=True, outcome=done, reason="ended well with a change")


def _against(problem: str, ended: Ended, outcome: Outcome | None) -> str:
    """Why a run is a failure, in one line."""
    if ended.reason != "exited":
        why = ended.in_words()
    else:
        why = problem if ended.ok else f"{problem} ({ended.in_words()})"
    return (why + (f", although the agent reported {outcome.kind}" if outcome else "")).replace("\n", " ")[:1_000]
