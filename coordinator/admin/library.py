"""Profiles, toolsets, tiers and prompts in the admin: versions to read, and a form that adds the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, override

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html

from coordinator import public_api
from coordinator.admin.acts import Act, ActingAdmin
from coordinator.admin.display import block, line
from coordinator.admin.links import run_link
from coordinator.models import Agent, Definition, Prompt
from coordinator.public_errors import CoordinatorError
from grid.public_admin import ReadOnlyAdmin, link, list_link, pill

_ROWS = {"rows": 30, "cols": 110, "spellcheck": "false"}


class VersionForm(ModelForm):  # type: ignore[type-arg]  # the stubs' class takes a type parameter, Django's own does not
    """A new version, stored by the domain's own function, which may refuse it."""

    base_version = forms.IntegerField(
        min_value=0,
        required=False,
        help_text="The version that this one is made from; refused when another counts by now. Empty: whichever counts.",
    )
    actor: ClassVar[str] = ""

    def store(self, data: Mapping[str, Any]) -> int:
        """Add the version and return its id."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        """Store it; what the domain refuses is an error of the form."""
        data = super().clean() or {}
        if not self.errors:
            try:
                self.instance = type(self.instance).objects.get(pk=self.store(data))
            except CoordinatorError as error:
                raise forms.ValidationError(str(error)) from error
        return dict(data)


class DefinitionForm(VersionForm):
    """A profile, a toolset or the tiers."""

    body = forms.CharField(widget=forms.Textarea(attrs=_ROWS), strip=False)

    class Meta:
        model = Definition
        fields = ("kind", "name", "body", "note")

    def store(self, data: Mapping[str, Any]) -> int:
        """As YAML."""
        saved = public_api.save_definition(
            kind=data["kind"],
            name=data["name"],
            body=data["body"].replace("\r\n", "\n"),
            note=data["note"],
            base_version=data["base_version"],
            actor=self.actor,
        )
        return saved.id


class PromptForm(VersionForm):
    """A template for everybody."""

    body = forms.CharField(widget=forms.Textarea(attrs=_ROWS), strip=False)

    class Meta:
        model = Prompt
        fields = ("name", "description", "body")

    def store(self, data: Mapping[str, Any]) -> int:
        """As text."""
        saved = public_api.save_prompt(
            name=data["name"],
            body=data["body"].replace("\r\n", "\n"),
            description=data["description"],
            base_version=data["base_version"],
            author=self.actor,
        )
        return Prompt.objects.values_list("pk", flat=True).get(name=saved.name, scope="", version=saved.version)


class _VersionsAdmin(ReadOnlyAdmin):
    """Old versions stay as they are; the button Add stores the next one."""

    version_form: type[VersionForm]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever holds the model's add permission."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.add_{self.opts.model_name}"))

    @override
    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form of a new version, in the name of whoever fills it in."""
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        return type("Form", (self.version_form,), {"actor": f"admin:{request.user.get_username()}"})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """On the form of a new version, what can be said; else everything."""
        if obj is not None:
            return super().get_fieldsets(request, obj)
        return [(None, {"fields": [*self.version_form.base_fields]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """None on the form of a new version."""
        return super().get_readonly_fields(request, obj) if obj is not None else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A link from an old version fills the form with it."""
        source = request.GET.get("from", "")
        row = self.model.objects.filter(pk=int(source)).first() if source.isdecimal() and len(source) < 19 else None
        if row is None:
            return {}
        last = self.model.objects.filter(**_same(row), is_current=True).first()
        names = [name for name in self.version_form.base_fields if name not in ("base_version", "note")]
        return {name: getattr(row, name) for name in names} | {"base_version": last.version if last else 0}

    @override
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The form has stored it."""

    @admin.display(description="next version")
    def next_version(self, row: Any) -> str:
        """A form that holds this one's text."""
        name = f"coordinator_{self.opts.model_name}"
        return format_html(
            '<a href="../../add/?from={}">change it in a new version</a> {}', row.pk, self._others(name, row)
        )

    def _others(self, name: str, row: Any) -> str:
        return list_link(name, "all versions", name__exact=row.name)


def _same(row: Any) -> dict[str, Any]:
    """The conditions under which another row is a version of the same thing."""
    if isinstance(row, Definition):
        return {"kind": row.kind, "name": row.name}
    return {"scope": row.scope, "name": row.name}


def _status(row: Any) -> str:
    return pill("done", "counts") if row.is_current else pill("abandoned", "old")


@admin.register(Definition)
class DefinitionAdmin(_VersionsAdmin):
    """What operators saved in place of shipped profiles, toolsets and tiers; `manage.py profile list` shows all."""

    version_form = DefinitionForm
    list_display = ("id", "named", "version", "status", "why", "who", "created_at")
    list_filter = ("is_current", "kind")
    list_defer = ("body",)
    search_fields = ("name__exact",)
    search_help_text = "Exactly: a name"
    ordering = ("-id",)
    readonly_fields = ("named", "status", "why", "who", "text", "next_version")
    fields = ("id", "named", "version", "status", "why", "who", "created_at", "next_version", "text")

    @admin.display(description="definition", ordering="name")
    def named(self, row: Definition) -> str:
        """Kind and name."""
        return line(f"{row.kind} {row.name}")

    @admin.display(description="state", ordering="is_current")
    def status(self, row: Definition) -> str:
        """Whether it counts."""
        return _status(row)

    @admin.display(description="note")
    def why(self, row: Definition) -> str:
        """Why it was saved."""
        return line(row.note) or "-"

    @admin.display(description="by", ordering="created_by")
    def who(self, row: Definition) -> str:
        """Who saved it."""
        return line(row.created_by)

    @admin.display(description="text")
    def text(self, row: Definition) -> str:
        """All of it."""
        return block(row.body)


def _freeze(row: Prompt, actor: str, answers: Mapping[str, Any]) -> str:
    return public_api.freeze_prompt(row.name, scope=row.scope, is_frozen=True, actor=actor).provenance


def _unfreeze(row: Prompt, actor: str, answers: Mapping[str, Any]) -> str:
    return public_api.freeze_prompt(row.name, scope=row.scope, is_frozen=False, actor=actor).provenance


def _readers(rows: Sequence[Prompt]) -> QuerySet[Agent]:
    """The agents whose own wish is one of these templates."""
    return Agent.objects.filter(spec__prompt__in=[row.name for row in rows])


@admin.register(Prompt)
class PromptAdmin(_VersionsAdmin, ActingAdmin):
    """Templates of operators and agents; the shipped ones are files."""

    version_form = PromptForm
    list_display = ("id", "named", "version", "status", "holder", "who", "run", "created_at")
    list_filter = ("is_current", "is_frozen")
    list_defer = ("body",)
    search_fields = ("name__exact", "scope__exact", "author__exact")
    search_help_text = "Exactly: a name, a scope (tree:12), an author (agent:12)"
    ordering = ("-id",)
    readonly_fields = ("named", "status", "holder", "who", "run", "about", "text", "next_version")
    fields = ("id", "named", "version", "status", "holder", "who", "run", "about", "created_at", "next_version", "text")
    acts = (
        Act(
            name="freeze",
            label="Freeze",
            effect="Agents may use the template, and only operators may add versions of it.",
            run=_freeze,
            reach=_readers,
        ),
        Act(
            name="unfreeze",
            label="Unfreeze",
            effect="The agents of the template's tree may add versions of it again.",
            run=_unfreeze,
            reach=_readers,
        ),
    )

    @admin.display(description="prompt", ordering="name")
    def named(self, row: Prompt) -> str:
        """Its name."""
        return line(row.name)

    @admin.display(description="state", ordering="is_current")
    def status(self, row: Prompt) -> str:
        """Whether it counts, and who may change it."""
        return format_html("{} {}", _status(row), pill("held", "frozen") if row.is_frozen else "")

    @admin.display(description="for", ordering="scope")
    def holder(self, row: Prompt) -> str:
        """Everybody, or one tree."""
        kind, _, number = row.scope.partition(":")
        if kind == "tree" and number.isdecimal() and len(number) < 19:
            return link("coordinator_agent", int(number), row.scope)
        return line(row.scope) or "everybody"

    @admin.display(description="author", ordering="author")
    def who(self, row: Prompt) -> str:
        """A person, or an agent."""
        return line(row.author)

    @admin.display(description="run", ordering="execution_id")
    def run(self, row: Prompt) -> str:
        """The run that wrote it."""
        return run_link(row.execution_id)

    @admin.display(description="description")
    def about(self, row: Prompt) -> str:
        """What it is for."""
        return line(row.description, 300) or "-"

    @admin.display(description="text")
    def text(self, row: Prompt) -> str:
        """All of it."""
        return block(row.body)
