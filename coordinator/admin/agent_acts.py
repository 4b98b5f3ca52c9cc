"""What an operator can do to agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from coordinator import public_api
from coordinator.admin.acts import Act
from coordinator.admin.scopes import MAX_REASON, CancelForm, pause_act, unpause_act
from coordinator.models import Agent
from coordinator.public_types import ENDED, Decision, ScopeKind


class NudgeForm(forms.Form):
    """A word to go with a nudge."""

    reason = forms.CharField(
        max_length=MAX_REASON, required=False, help_text="Kept with the nudge and in the audit; agents do not read it."
    )


def _nudge(row: Agent, actor: str, answers: Mapping[str, Any]) -> str:
    return _answer(public_api.nudge(row.pk, actor=actor, reason=answers["reason"]))


def _retry(row: Agent, actor: str, answers: Mapping[str, Any]) -> str:
    return _answer(public_api.retry(row.pk, actor=actor))


def _cancel(row: Agent, actor: str, answers: Mapping[str, Any]) -> str:
    touched = public_api.cancel(row.pk, actor=actor, reason=answers["reason"])
    below = len(set(touched.agents) - {row.pk})
    return f"cancelled with {below} below it; {touched.running} running agents are being stopped"


def _answer(decision: Decision | None) -> str:
    return f"{decision.answer}, {decision.reason}" if decision else "recorded"


def _themselves(rows: Sequence[Agent]) -> QuerySet[Agent]:
    return Agent.objects.filter(pk__in=[row.pk for row in rows])


def _with_all_below(rows: Sequence[Agent]) -> QuerySet[Agent]:
    return Agent.objects.filter(pk__in=public_api.preview([row.pk for row in rows]).agents)


def _whole_trees(rows: Sequence[Agent]) -> QuerySet[Agent]:
    roots = {row.tree_id for row in rows}
    return Agent.objects.filter(Q(pk__in=roots) | Q(root_id__in=roots)).exclude(state__in=sorted(ENDED))


def _agent_scope(row: Agent) -> str:
    return public_api.scope_of(ScopeKind.AGENT, public_api.get_agent(row.pk))


def _tree_scope(row: Agent) -> str:
    return public_api.scope_of(ScopeKind.TREE, public_api.get_agent(row.pk))


ACTS = (
    Act(
        name="nudge",
        label="Nudge",
        effect="Each agent is looked at now. It starts if every gate is open; the answer is stored either way.",
        run=_nudge,
        reach=_themselves,
        form=NudgeForm,
    ),
    Act(
        name="retry",
        label="Retry",
        effect="Attempts and crashes are counted from zero, and each agent is looked at now. Work done is kept.",
        run=_retry,
        reach=_themselves,
    ),
    Act(
        name="cancel",
        label="Cancel with all below",
        effect="Each agent and all below it end: what waits at once, what runs within seconds. Work done is kept; "
        "retry takes an agent up again.",
        run=_cancel,
        reach=_with_all_below,
        form=CancelForm,
    ),
    pause_act("agent", _agent_scope, name="pause_agent", reach=_themselves),
    pause_act("whole tree", _tree_scope, name="pause_tree", reach=_whole_trees),
    unpause_act("agent", _agent_scope, name="unpause_agent", reach=_themselves),
    unpause_act("whole tree", _tree_scope, name="unpause_tree", reach=_whole_trees),
)
