"""Conflicts between agents, and an operator's decision about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet

from coordinator import public_teamwork
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import block, json_block, line
from coordinator.admin.links import agent_link
from coordinator.models import Agent, Conflict
from grid.public_admin import link, pill

_PILLS = {"open": "waiting", "decided": "running", "carried-out": "done", "failed": "failed", "cancelled": "abandoned"}


class _WordsForm(forms.Form):
    reason = forms.CharField(max_length=1_000, required=False, help_text="For the two agents.")


class SequenceForm(_WordsForm):
    """Who goes first."""

    first = forms.IntegerField(
        min_value=1, required=False, help_text="Number of the agent; empty: the one that has it."
    )


class MergeForm(_WordsForm):
    """Who merges."""

    merger = forms.IntegerField(min_value=1, required=False, help_text="Number of the agent; empty: the one that asks.")


def _sides(rows: Sequence[Conflict]) -> QuerySet[Agent]:
    return Agent.objects.filter(pk__in={pk for row in rows for pk in (row.requester_id, row.holder_id)})


def _decision(name: str, label: str, effect: str, *, form: type[forms.Form] = _WordsForm, agent_field: str = "") -> Act:
    """One of the four that there are; `agent_field` of the form names the agent that goes first, or merges."""

    def decide(row: Conflict, actor: str, answers: Mapping[str, Any]) -> str:
        named = answers.get(agent_field) if agent_field else None
        done = public_teamwork.decide_conflict(
            row.pk, choice=name, actor=actor, order=[named] if named else [], reason=answers["reason"]
        )
        return done.decision

    return Act(name=name, label=label, effect=effect, run=decide, reach=_sides, form=form)


@admin.register(Conflict)
class ConflictAdmin(ActingAdmin):
    """Decided by the agent above the two, an operator, or by default; an operator's decision replaces any other."""

    list_display = ("id", "status", "kind", "about", "asks", "has", "decides", "decided", "created_at")
    list_filter = ("state", "kind", "choice", "requester__repository")
    list_select_related = ("requester__issue", "holder__issue", "arbiter__issue", "waiter__issue")
    list_defer = ("facts", "detail", "requester__spec", "holder__spec", "arbiter__spec", "waiter__spec")
    search_fields = ("requester__path__exact", "holder__path__exact", "decided_by__exact")
    search_help_text = "Exactly: a path of an agent, or who decided (agent:3, default, cli:root)"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = (
        "status", "about", "asks", "has", "decides", "decided", "why", "steps", "waits", "conversation", "how", "said", "used",
    )  # fmt: skip
    fields = (
        "id", "status", "kind", "about", "asks", "has", "decides", "decided", "why", "steps", "waits", "conversation",
        "how", "said", "used", "joined", "decisions", "created_at", "default_at", "act_at", "decided_at", "ended_at",
    )  # fmt: skip
    acts = (
        _decision(
            "release",
            "Release",
            "The agent that has the files is asked to give them back; after a while they are taken from it.",
        ),
        _decision(
            "sequence",
            "Sequence",
            "One goes first. The other is interrupted, its work kept, and started again when the first has ended.",
            form=SequenceForm,
            agent_field="first",
        ),
        _decision(
            "fork",
            "Fork",
            "Both change the files on their own branches; what does not fit together their arbiter merges.",
        ),
        _decision(
            "merge_plan",
            "Merge plan",
            "Both change the files; the named agent merges, after the others have ended.",
            form=MergeForm,
            agent_field="merger",
        ),
    )

    @admin.display(description="state", ordering="state")
    def status(self, row: Conflict) -> str:
        """Open, decided, or over."""
        return pill(_PILLS.get(row.state, row.state), row.state)

    @admin.display(description="about")
    def about(self, row: Conflict) -> str:
        """The files."""
        return line(", ".join(row.patterns), 120)

    @admin.display(description="asks", ordering="requester")
    def asks(self, row: Conflict) -> str:
        """Who wants them."""
        return agent_link(row.requester, title=60)

    @admin.display(description="has them", ordering="holder")
    def has(self, row: Conflict) -> str:
        """Who has them."""
        return agent_link(row.holder, title=60)

    @admin.display(description="decides", ordering="arbiter")
    def decides(self, row: Conflict) -> str:
        """The agent above both, or people."""
        return agent_link(row.arbiter, title=60) if row.arbiter is not None else "people"

    @admin.display(description="decision")
    def decided(self, row: Conflict) -> str:
        """In a sentence."""
        return line(public_teamwork.decision_of_conflict(row), 300) or "-"

    @admin.display(description="why")
    def why(self, row: Conflict) -> str:
        """Words of whoever decided."""
        return block(row.words) if row.words else "-"

    @admin.display(description="steps")
    def steps(self, row: Conflict) -> str:
        """What is done of the decision."""
        found = public_teamwork.get_conflict(row.pk).steps
        return line(", ".join(f"{name}: {'done' if done else 'to do'}" for name, done in found), 500) or "-"

    @admin.display(description="waits")
    def waits(self, row: Conflict) -> str:
        """Who is not started because of it."""
        return agent_link(row.waiter, title=60) if row.waiter is not None else "-"

    @admin.display(description="how it ended")
    def how(self, row: Conflict) -> str:
        """In words."""
        return line(row.reason, 500) or "-"

    @admin.display(description="thread")
    def conversation(self, row: Conflict) -> str:
        """Where it is talked about."""
        return link("coordinator_thread", row.thread_id, f"thread {row.thread_id}") if row.thread_id else "-"

    @admin.display(description="what each side wants and has done")
    def said(self, row: Conflict) -> str:
        """As it was when the conflict was opened."""
        return json_block(row.facts)

    @admin.display(description="locks, runs, commits")
    def used(self, row: Conflict) -> str:
        """What carrying it out needs."""
        return json_block(row.detail)
