"""The kinds of events that the coordinator writes, for the grid's catalogue; docs/events.md shows them all in one table."""

from __future__ import annotations

from typing import Any

from grid.public_events import Kind, Maybe, register_kinds

_AGENT, _NUDGE, _ENVELOPE = "coordinator_agent", "coordinator_nudge", "coordinator_envelope"
_LEDGER, _SPEND, _CALL = "coordinator_ledgerentry", "coordinator_spendentry", "coordinator_modelcall"
_THREAD, _MEMBER, _POST, _MESSAGE = (
    "coordinator_thread",
    "coordinator_threadmember",
    "coordinator_post",
    "coordinator_message",
)
_CONFLICT, _PLAN, _FEEDBACK, _UPGRADE = (
    "coordinator_conflict",
    "coordinator_appliedplan",
    "coordinator_feedback",
    "coordinator_upgraderequest",
)
_DECIDED: dict[str, Any] = {
    "nudge": int,
    "source": str,
    "reason": str,
    "answer": str,
    "code": str,
    "until": str | None,
    "mode": str,
    "joined": Maybe(int),
}
_POSTED: dict[str, Any] = {
    "post": int,
    "thread": int | None,
    "sender": str,
    "kind": str,
    "text": str,
    "messages": list[int],
}
_MOVED: dict[str, Any] = {"messages": list[int], "channel": Maybe(str)}
_ABOUT: dict[str, Any] = {
    "conflict": int,
    "kind": str,
    "patterns": list[str],
    "requester": int,
    "holder": int,
    "arbiter": int | None,
}
_USED: dict[str, Any] = {"executions": int, "wall_seconds": int, "tool_calls": int}


def _agent(name: str, meaning: str, /, *tables: str, **parts: Any) -> Kind:
    return Kind(name=name, stream="agent", meaning=meaning, parts=parts, tables=(_AGENT, *tables))


def _of_agent(name: str, meaning: str, /, *tables: str, is_open: bool = False, **parts: Any) -> Kind:
    return Kind(name=name, stream="agent", meaning=meaning, parts=parts, tables=tables, is_open=is_open)


def _scope(name: str, meaning: str, /, *, is_open: bool = False, **parts: Any) -> Kind:
    return Kind(name=name, stream="scope, agent", meaning=meaning, parts=parts, tables=(_ENVELOPE,), is_open=is_open)


def _call(name: str, meaning: str, /, *tables: str, **parts: Any) -> Kind:
    """On an execution's stream; CLIs tell of their model calls in words of their own."""
    return Kind(name=name, stream="execution", meaning=meaning, parts=parts, tables=tables, is_open=True)


def _conflict(name: str, meaning: str, /, **parts: Any) -> Kind:
    return Kind(
        name=name, stream="agent", meaning=meaning, parts={**_ABOUT, **parts}, tables=(_CONFLICT,), is_open=True
    )


def register() -> None:
    """Put them into the catalogue."""
    register_kinds(
        # --- agents ---------------------------------------------------------------------------------------------------
        _agent(
            "agent.created",
            "An issue was taken on: its agent, and the envelopes made for it.",
            _ENVELOPE,
            issue=str,
            path=str,
            parent=int | None,
        ),
        _agent(
            "agent.state-changed",
            "The agent is in another state (`to`), for this reason.",
            _FEEDBACK,
            _MESSAGE,
            to=str,
            reason=str,
        ),
        _agent("agent.changed", "Columns of the agent changed; its rows say which."),
        _of_agent(
            "agent.status",
            "What the running agent says of itself: `status`, and how far it is.",
            status=str,
            done=int | None,
            total=int | None,
            note=str,
            execution=str,
        ),
        _of_agent("agent.wish-not-met", "Its next run is not as was wished for, and why.", why=str),
        _agent("agent.approved", "Somebody who may steer approved the issue's text.", by=str, sha256=str),
        _agent("agent.unapproved", "The issue's text counts as approved no more."),
        _agent("agent.retried", "A person has it tried again: nothing that failed before counts."),
        _agent("agent.narrowed", "What it may use shrank with what its parent may."),
        _agent("agent.head-moved", "Its branch stands elsewhere: after a merge, or a person's push."),
        _agent("agent.found-again", "It was made again from what its issue's comment says of it."),
        _agent("agent.end-dropped", "Its run's end was taken note of; nothing else came of it."),
        _of_agent("agent.end-waits", "Its run's end cannot be applied yet, and why.", execution=str, why=str),
        _of_agent(
            "agent.end-failed", "What its run ended with could not be applied, and why.", execution=str, error=str
        ),
        _agent(
            "agent.child-asked",
            "It asks for a sub-issue.",
            execution=str,
            key=str,
            title=str,
            acceptance=list[str],
            profile=str,
            prompt=str,
            footprint=Maybe(list[str]),
        ),
        Kind(
            name="agent.children-asked",
            stream="execution",
            meaning="The run asked for these sub-issues.",
            parts={"keys": list[str]},
        ),
        _agent("agent.children-made", "All the sub-issues that it asked for are agents now."),
        _agent("agent.split-failed", "One of them could not be made."),
        # --- nudges ---------------------------------------------------------------------------------------------------
        _agent("nudge.admitted", "A request to look at the agent was granted; its run is queued.", _NUDGE, **_DECIDED),
        _agent("nudge.deferred", "It is decided again later, or when what it waits for happens.", _NUDGE, **_DECIDED),
        _agent("nudge.refused", "It is answered: nothing is done, and why.", _NUDGE, **_DECIDED),
        _of_agent(
            "nudge.closed", "The open one was refused, as the agent is not looked at any more.", _NUDGE, nudge=int
        ),
        # --- budgets --------------------------------------------------------------------------------------------------
        _scope("budget.opened", "A scope of its own came to be: fleet, repository, day.", scope=str),
        Kind(
            name="budget.carried",
            stream="scope",
            meaning="A day that got its row late took over what its scope had used of it.",
            parts={"scope": str, **_USED, "usd_micros": int, "tokens": int},
            tables=(_LEDGER, _SPEND),
        ),
        _scope("budget.lowered", "Limits were brought down to these.", is_open=True),
        _scope("budget.limits", "Limits follow a setting or a policy.", is_open=True),
        _scope("budget.raised", "A person changed limits.", is_open=True, scope=str),
        _scope("budget.counted", "The agent counts among the children above it from now on.", scope=str),
        _scope("budget.moved", "An agent's envelope hangs elsewhere.", scope=str, below=str),
        _scope("budget.paused", "Nothing is started in the scope.", by=str),
        _scope("budget.unpaused", "It is open again."),
        _scope("budget.rest", "The fleet's breaker opened or closed (`rest_until`)."),
        _scope("budget.breaker", "A tree spends without progress, or does so no more.", is_open=True),
        _scope("budget.progress", "Work was accepted: the money counts from here.", is_open=True),
        Kind(
            name="budget.warned",
            stream="scope, agent, execution",
            meaning="Most of a limit is used.",
            parts={"scope": Maybe(str), "used": str, "percent": Maybe(int)},
            tables=(_ENVELOPE,),
        ),
        Kind(
            name="budget.told",
            stream="execution, agent, scope",
            meaning="The agent, or the one above it, was told of that.",
            parts={},
            tables=(_ENVELOPE,),
            is_open=True,
        ),
        _of_agent(
            "budget.reserved",
            "A run's share was set aside on every level of the path.",
            _LEDGER,
            execution=str,
            wall_seconds=int,
            tool_calls=int,
        ),
        _of_agent("budget.settled", "It was replaced by what the run used.", _LEDGER, execution=str, **_USED),
        _of_agent(
            "budget.released",
            "A model call was settled when its run could tell it no more.",
            _SPEND,
            _CALL,
            call=str,
            why=str,
        ),
        # --- models ---------------------------------------------------------------------------------------------------
        _call("llm.requested", "A call goes to a model through our gateway; its cost is set aside.", _SPEND, _CALL),
        _call("llm.result", "What it used and cost; without `metered` as the agent's program says.", _SPEND, _CALL),
        _call("llm.refused", "The gateway made no call, and why.", _CALL, code=str, reason=str),
        # --- conversations --------------------------------------------------------------------------------------------
        _of_agent("message.told", "Words for the agent.", _POST, _MESSAGE, **_POSTED),
        _of_agent("message.delivered", "The running program got them.", _MESSAGE, **_MOVED),
        _of_agent("message.seen", "The agent has seen them.", _MESSAGE, **_MOVED),
        _of_agent("message.waits", "They wait again: what they were told came to nothing.", _MESSAGE, **_MOVED),
        _of_agent("message.expired", "They reach nobody any more.", _MESSAGE, **_MOVED),
        _of_agent("message.woke", "The agent was looked at because of them.", _MESSAGE, **_MOVED),
        _of_agent(
            "thread.opened",
            "A conversation began.",
            _THREAD,
            _MEMBER,
            is_open=True,
            thread=int,
        ),
        _of_agent("thread.joined", "Somebody takes part.", _MEMBER, thread=int, who=str),
        _of_agent("thread.left", "Somebody takes part no more.", _MEMBER, thread=int, who=str),
        _of_agent("thread.posted", "Something was said in it.", _THREAD, _POST, _MESSAGE, _MEMBER, **_POSTED),
        _of_agent("thread.closed", "It is over.", _THREAD, thread=int, by=str, reason=str),
        # --- conflicts ------------------------------------------------------------------------------------------------
        _conflict("conflict.opened", "Two agents want the same paths."),
        _conflict("conflict.joined", "They were refused the same once more."),
        _conflict("conflict.moved", "The commits that it is about are others now."),
        _conflict("conflict.announced", "Its thread is open, and its arbiter was called."),
        _conflict("conflict.no-arbiter", "Nobody can decide it in time; the default is taken."),
        _conflict("conflict.decided", "It was decided: by whom, and how.", choice=str, by=str),
        _conflict("conflict.step", "One step of the decision is done.", step=str),
        _conflict(
            "conflict.waits",
            "An agent's work is done and waits until the other one has ended, as it is to merge.",
            agent=int,
        ),
        _conflict("conflict.carried-out", "The last step of the decision is done.", why=str),
        _conflict("conflict.failed", "It cannot be carried out without a person.", why=str),
        _conflict("conflict.cancelled", "It matters no more.", why=str),
        _of_agent(
            "conflict.answer-refused",
            "A decision in this agent's report could not be taken.",
            conflict=int,
            choice=str,
            why=str,
        ),
        _of_agent(
            "lock.passed-over",
            "Work was taken although others had locks on it: the repository's locks are advice.",
            is_open=True,
            execution=str,
        ),
        # --- plans ----------------------------------------------------------------------------------------------------
        _of_agent("plan.applied", "A plan was applied to the tree.", _PLAN, is_open=True, plan=int, actor=str),
        _of_agent("plan.carried-out", "What of it waited for the tracker is done.", _PLAN, plan=int, error=str),
        _of_agent(
            "plan.move-waits",
            "A plan waits for runs to end before it moves their agents.",
            _PLAN,
            plan=int,
            agents=list[int],
        ),
        _agent("plan.agent-changed", "A plan changed what the agent is to do.", plan=int, parts=list[str]),
        _agent("plan.agent-moved", "A plan gave it another parent.", to=int),
        _of_agent("plan.text-left", "Somebody had changed the text that a plan was to replace.", plan=int, why=str),
        _of_agent("plan.agent-not-moved", "It could not be given the parent that a plan wants.", plan=int, why=str),
        Kind(
            name="plan.asked",
            stream="execution",
            meaning="The run changed the plan of what is below it.",
            parts={"plan": int},
        ),
        # --- the rest -------------------------------------------------------------------------------------------------
        _of_agent(
            "upgrade.requested",
            "The agent asks for more than it may use.",
            _UPGRADE,
            request=int,
            more=list[str],
            reason=str,
        ),
        _agent("upgrade.granted", "It got it.", _UPGRADE, request=int, by=str, answer=str, more=list[str]),
        _of_agent("upgrade.refused", "It did not get it.", _UPGRADE, request=int, by=str, answer=str, more=list[str]),
        _of_agent("feedback.taken-in", "Remarks on its pull request, or the end of one.", _FEEDBACK, remarks=list[str]),
        _of_agent("feedback.dropped", "The pull request was opened again.", _FEEDBACK, remark=str),
        Kind(
            name="operator.acted",
            stream="operator",
            meaning="A person did something by hand.",
            parts={"actor": str, "action": str, "target": str},
            tables=("coordinator_auditentry",),
        ),
    )
