"""Requests of agents for more than they may use, and the operator's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet

from coordinator import public_api
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import block, json_block, line
from coordinator.admin.links import agent_link, run_link
from coordinator.models import Agent, UpgradeRequest
from grid.public_admin import pill

_PILLS = {"open": "waiting", "granted": "done", "refused": "failed"}


class AnswerForm(forms.Form):
    """Words to go with an answer."""

    words = forms.CharField(max_length=1_000, required=False, help_text="For the agent.")


def _grant(row: UpgradeRequest, actor: str, answers: Mapping[str, Any]) -> str:
    done = public_api.answer_upgrade(row.pk, by=actor, is_granted=True, words=answers["words"])
    return f"granted: {'; '.join(done.more)}"


def _refuse(row: UpgradeRequest, actor: str, answers: Mapping[str, Any]) -> str:
    public_api.answer_upgrade(row.pk, by=actor, is_granted=False, words=answers["words"])
    return "refused"


def _askers(rows: Sequence[UpgradeRequest]) -> QuerySet[Agent]:
    return Agent.objects.filter(pk__in=[row.agent_id for row in rows])


@admin.register(UpgradeRequest)
class UpgradeRequestAdmin(ActingAdmin):
    """Each is answered once: by the parent, the policy or an operator."""

    list_display = ("id", "of", "status", "said", "who", "created_at")
    list_filter = ("state", "agent__repository")
    list_select_related = ("agent__issue", "agent__parent")
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body", "wish", "granted")
    search_fields = ("^execution_id", "agent__path__exact", "answered_by__exact")
    search_help_text = "Start of an execution's id, or exactly: a path, who answered (agent:3, policy, cli:root)"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "status", "said", "words", "who", "answered", "wished", "got", "run")
    fields = (
        "id", "of", "status", "words", "wished", "got", "who", "answered", "run", "created_at", "answered_at",
    )  # fmt: skip
    acts = (
        Act(
            name="grant",
            label="Grant",
            effect="The agent gets what it asks for, as far as its parent holds it, at once; its next run uses it.",
            run=_grant,
            reach=_askers,
            form=AnswerForm,
        ),
        Act(
            name="refuse",
            label="Refuse",
            effect="The agent goes on with what it has.",
            run=_refuse,
            reach=_askers,
            form=AnswerForm,
        ),
    )

    @admin.display(description="agent", ordering="agent")
    def of(self, row: UpgradeRequest) -> str:
        """Who asks."""
        return agent_link(row.agent)

    @admin.display(description="state", ordering="state")
    def status(self, row: UpgradeRequest) -> str:
        """Open or answered."""
        return pill(_PILLS.get(row.state, row.state), row.state)

    @admin.display(description="reason")
    def said(self, row: UpgradeRequest) -> str:
        """The beginning of it."""
        return line(row.reason, 100)

    @admin.display(description="reason")
    def words(self, row: UpgradeRequest) -> str:
        """All of it."""
        return block(row.reason)

    @admin.display(description="would hold")
    def wished(self, row: UpgradeRequest) -> str:
        """Everything, what it holds already included."""
        return json_block(row.wish)

    @admin.display(description="got")
    def got(self, row: UpgradeRequest) -> str:
        """What was added."""
        return json_block(row.granted)

    @admin.display(description="answered by", ordering="answered_by")
    def who(self, row: UpgradeRequest) -> str:
        """A person, the parent, or the policy."""
        return line(row.answered_by) or "-"

    @admin.display(description="answer")
    def answered(self, row: UpgradeRequest) -> str:
        """In words."""
        return block(row.answer) if row.answer else "-"

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: UpgradeRequest) -> str:
        """The run that asked."""
        return run_link(row.execution_id)
