"""Acts of an operator in the admin: chosen in a list or on a row's page, confirmed, then one public function for each row.

Nothing happens on GET, and nothing before the confirmation page, which says what the act would touch, was sent back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from coordinator.admin.display import line
from coordinator.models import Agent
from coordinator.public_errors import CoordinatorError
from grid.public_admin import ReadOnlyAdmin
from grid.public_errors import GridError
from grid.public_types import LIVE, State
from tracker.public_errors import TrackerError

MAX_ROWS = 100
"""Rows of one act: each is a transaction of its own within one request."""
SHOWN_ROWS = 50
SHOWN_MESSAGES = 5


class NothingAsked(forms.Form):
    """An act that needs no more than a yes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something an operator does to rows."""

    name: str
    label: str
    effect: str
    """For the confirmation page: what will and what will not happen."""
    run: Callable[[Any, str, Mapping[str, Any]], str]
    """Row, actor, answers of the form; returns what happened, for people."""
    reach: Callable[[Sequence[Any]], QuerySet[Agent]]
    """The agents that acting on these rows touches."""
    form: type[forms.Form] = NothingAsked
    max_rows: int = MAX_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an act would touch."""

    agents: int
    queued: int
    running: int
    live: tuple[Agent, ...]
    """Agents with a live execution, at most `SHOWN_ROWS`."""


def reach_of(agents: QuerySet[Agent]) -> Reach:
    """Count the agents and their live executions, in two queries."""
    queued = Q(execution__state=State.QUEUED)
    live = Q(execution__state__in=sorted(LIVE))
    counts = agents.order_by().aggregate(
        agents=Count("pk"), queued=Count("pk", filter=queued), running=Count("pk", filter=live & ~queued)
    )
    rows = agents.filter(live).select_related("execution", "issue").defer("issue__body", "execution__prompt")
    return Reach(**counts, live=tuple(rows.order_by("pk")[:SHOWN_ROWS]))


class ActingAdmin(ReadOnlyAdmin):
    """A read-only admin whose rows can be acted on by those who hold the model's change permission."""

    acts: Sequence[Act] = ()

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether this person may act; rows stay read-only all the same."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def name_of(self, row: Any) -> str:
        """How the confirmation and the messages call a row."""
        return str(row)

    def get_actions(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The acts, for those who may."""
        if not self.has_act_permission(request):
            return {}
        return {act.name: (partial(_perform, act), act.name, act.label) for act in self.acts}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The list; refuses every POST of those who may not act."""
        if request.method == "POST":
            if not self.has_act_permission(request):
                raise PermissionDenied
            if not all(pk.isdecimal() and len(pk) < 19 for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)):
                raise BadRequest("choose rows of the list")
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """A row's page, with a button for each act."""
        context = {
            "acts": self.acts if self.has_act_permission(request) else (),
            "acts_url": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)


def _perform(act: Act, admin: ActingAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
    """Ask for a confirmation, or act when it was given."""
    rows = list(queryset.order_by("pk")[: act.max_rows + 1])
    if not rows or len(rows) > act.max_rows:
        problem = f"choose at most {act.max_rows} rows" if rows else "these rows are not in this list any more"
        messages.error(request, f"{act.label}: {problem}; nothing was changed.")
        return None
    is_confirmed = "confirmed" in request.POST
    form = act.form(request.POST if is_confirmed else None)
    if is_confirmed and form.is_valid():
        _carry_out(act, rows, admin=admin, request=request, answers=form.cleaned_data)
        if "from_page" not in request.POST:
            return None
        name = f"admin:{admin.opts.app_label}_{admin.opts.model_name}_change"
        return HttpResponseRedirect(reverse(name, args=[quote(rows[0].pk)]))
    context = {
        **admin.admin_site.each_context(request),
        "title": act.label,
        "opts": admin.opts,
        "act": act,
        "form": form,
        "rows": [(row.pk, line(admin.name_of(row))) for row in rows],
        "reach": reach_of(act.reach(rows)),
        "from_page": "from_page" in request.POST,
    }
    return TemplateResponse(request, "admin/coordinator/confirm.html", context)


def _carry_out(
    act: Act, rows: Sequence[Any], *, admin: ActingAdmin, request: HttpRequest, answers: Mapping[str, Any]
) -> None:
    actor = f"admin:{request.user.get_username()}"
    done, failed = [], []
    for row in rows:
        try:
            done.append(f"{admin.name_of(row)}: {act.run(row, actor, answers)}")
        except (CoordinatorError, GridError, TrackerError) as error:
            failed.append(f"{admin.name_of(row)}: {error}")
    _tell(request, messages.SUCCESS, act, done)
    _tell(request, messages.ERROR, act, failed)


def _tell(request: HttpRequest, level: int, act: Act, notes: Sequence[str]) -> None:
    for note in notes[:SHOWN_MESSAGES]:
        messages.add_message(request, level, f"{act.label}: {line(note, 600)}")
    if len(notes) > SHOWN_MESSAGES:
        messages.add_message(request, level, f"{act.label}: and so for {len(notes) - SHOWN_MESSAGES} more.")
