"""The tool-call loop: the model asks, hooks see it, the tool runs, the result goes back, until `finish`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from pydantic_ai import Agent, RunContext, UsageLimits
from pydantic_ai.capabilities import Hooks
from pydantic_ai.exceptions import UsageLimitExceeded
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import Model, ModelRequestContext
from pydantic_ai.usage import RunUsage
from pydantic_graph import End

from grid.agents.builtin.adapting import adapted
from grid.agents.builtin.context import trimmed
from grid.agents.builtin.grid_tools import GridLostError
from grid.agents.builtin.models import in_words
from grid.agents.builtin.report import Report, Status, result_text
from grid.agents.builtin.session import Session, StoppedError
from grid.agents.outcome import report_of

_INSTRUCTIONS = """\
You work alone on one issue in the workspace, a clone of a git repository; nobody can answer questions.
All paths are relative to the workspace. Look before you change, make the smallest change that solves the issue, and
check it with run_command. Changes are committed for you; do not push.
If the issue is too large for one agent, propose children and finish with the outcome 'split'.
Always end by calling finish exactly once."""
_REMINDER = "You have not called finish. Go on with the work, or call finish now with its outcome."
_MAX_REMINDERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the loop ended."""

    status: Status
    error: str
    """Empty when the status is `ok`."""
    usage: dict[str, int]


class _NeverFinishedError(Exception):
    """The model keeps talking without calling finish."""


async def run(*, model: Model, prompt: str, session: Session) -> Ending:
    """Work until `finish` was called, a limit is reached, a signal came or something failed.

    Raises nothing but what cannot be reported.
    """
    usage = RunUsage()
    try:
        await _converse(model, prompt, session, usage)
        status, error = ("ok", "") if session.outcome else ("interrupted", "stopped by a signal")
    except StoppedError:
        status, error = "interrupted", "stopped by a signal"
    except UsageLimitExceeded as limit:
        status, error = "limit", str(limit)
    except (_NeverFinishedError, GridLostError) as final:
        status, error = "failed", str(final)
    except Exception as failure:  # the process's own loop: whatever it was, the terminal event must tell it
        status, error = "failed", in_words(failure, session.options)
    if status == "ok" and session.grid_problem:
        # What it reported may rest on answers that never came.
        status, error = "failed", f"the last call of a grid tool got no answer: {session.grid_problem}"
    return Ending(status=_status(status), error=error, usage=_counts(usage, session))


async def _converse(model: Model, prompt: str, session: Session, usage: RunUsage) -> None:
    agent = _agent(model, session)
    limits = _limits(session)
    history: list[ModelMessage] | None = None
    calls_before, reminders = 0, 0
    while True:
        async with agent.iter(prompt, message_history=history, deps=session, usage=usage, usage_limits=limits) as talk:
            node = talk.next_node
            while not isinstance(node, End):
                node = await talk.next(node)
                if session.outcome or session.stopping.is_set():
                    return
            history = talk.all_messages()
        reminders = reminders + 1 if session.tool_calls == calls_before else 1
        calls_before = session.tool_calls
        if session.inbox.waiting:
            reminders = 0  # it may have waited for these
        if reminders > _MAX_REMINDERS:
            raise _NeverFinishedError(f"the model stopped {reminders} times without calling finish")
        prompt = _REMINDER


def _agent(model: Model, session: Session) -> Agent[Session, str]:
    extra = session.options.instructions.strip()
    return Agent(
        model,
        deps_type=Session,
        tools=[adapted(tool) for tool in session.tools],
        capabilities=[_hooks()],
        instructions=f"{_INSTRUCTIONS}\n\n{extra}" if extra else _INSTRUCTIONS,
    )


def _limits(session: Session) -> UsageLimits:
    given = session.options.limits
    return UsageLimits(
        request_limit=given.requests,
        input_tokens_limit=given.input_tokens,
        output_tokens_limit=given.output_tokens,
        total_tokens_limit=given.total_tokens,
    )


def _hooks() -> Hooks[Session]:
    """Everything that happens passes here: it is reported, counted, and refused once the run is to stop.

    The hooks of mixins are further in, around the tool itself: see `adapting`.
    """
    hooks = Hooks[Session]()

    @hooks.on.before_model_request
    async def prepare(ctx: RunContext[Session], request_context: ModelRequestContext) -> ModelRequestContext:
        session = ctx.deps
        if budget := session.options.limits.context_tokens:
            request_context.messages = trimmed(request_context.messages, budget)
            ctx.messages[:] = request_context.messages
        session.showing += session.inbox.take()
        if session.showing:
            ctx.enqueue("\n\n".join(message.in_words() for message in session.showing))
        return request_context

    @hooks.on.model_request
    async def request(ctx: RunContext[Session], *, request_context: Any, handler: Any) -> ModelResponse:
        session = ctx.deps
        _report_unanswered(ctx.messages, session)
        response = await _unless_stopped(asyncio.ensure_future(handler(request_context)), session)
        for message in session.showing:
            session.report.emit("inbox", id=message.id, state="seen")
        session.showing = []
        _report_response(response, session.report)
        return response

    @hooks.on.tool_execute
    async def execute(ctx: RunContext[Session], *, call: ToolCallPart, tool_def: Any, args: Any, handler: Any) -> Any:
        session = ctx.deps
        if session.stopping.is_set():
            raise StoppedError
        session.tool_calls += 1
        if session.tool_calls > session.options.limits.tool_calls:
            raise UsageLimitExceeded(f"more than {session.options.limits.tool_calls} tool calls (limits.tool_calls)")
        begun = time.monotonic()
        try:
            result = await handler(args)
        except Exception as error:
            _report_result(session, call, ok=False, text=str(error), begun=begun)
            raise
        _report_result(session, call, ok=True, text=str(result), begun=begun)
        return result

    return hooks


async def _unless_stopped(request: asyncio.Future[ModelResponse], session: Session) -> ModelResponse:
    """The model's answer; StoppedError as soon as a signal comes, without waiting for it."""
    stop = asyncio.ensure_future(session.stopping.wait())
    both: set[asyncio.Future[Any]] = {request, stop}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if session.stopping.is_set():
            raise StoppedError
        return request.result()
    finally:
        stop.cancel()
        request.cancel()
        await asyncio.gather(stop, request, return_exceptions=True)


def _report_response(response: ModelResponse, report: Report) -> None:
    used = response.usage
    counts = {
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cache_read_tokens": used.cache_read_tokens,
        "cache_write_tokens": used.cache_write_tokens,
    }
    report.emit("llm", model=response.model_name, usage=counts)
    for part in response.parts:
        if isinstance(part, TextPart) and part.content.strip():
            report.emit("message", text=part.content)
        elif isinstance(part, ToolCallPart):
            report.emit("tool", phase="requested", name=part.tool_name, id=part.tool_call_id, args=part.args)


def _report_result(session: Session, call: ToolCallPart, *, ok: bool, text: str, begun: float) -> None:
    session.answered.add(call.tool_call_id)
    milliseconds = round((time.monotonic() - begun) * 1000)
    session.report.emit(
        "tool", phase="result", name=call.tool_name, id=call.tool_call_id, ok=ok, text=text, ms=milliseconds
    )


def _report_unanswered(messages: list[ModelMessage], session: Session) -> None:
    """Results of calls that never reached a tool: unknown names and arguments that break the schema."""
    last = messages[-1] if messages else None
    for part in last.parts if isinstance(last, ModelRequest) else ():
        if isinstance(part, ToolReturnPart) and part.tool_call_id not in session.answered:
            session.answered.add(part.tool_call_id)
            text = result_text(part)
            session.report.emit("tool", phase="result", name=part.tool_name, id=part.tool_call_id, ok=False, text=text)


def _status(status: str) -> Status:
    statuses: dict[str, Status] = {"ok": "ok", "limit": "limit", "interrupted": "interrupted"}
    return statuses.get(status, "failed")


def _counts(usage: RunUsage, session: Session) -> dict[str, int]:
    return {
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "tool_calls": session.tool_calls,
    }


def report_or_none(session: Session, status: Status) -> dict[str, Any] | None:
    """The agent's report for the terminal event; only a finished run has one."""
    return report_of(session.outcome) if session.outcome and status == "ok" else None
