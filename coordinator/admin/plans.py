"""Plans that were applied: who changed what, and what of it still waits for the tracker."""

from __future__ import annotations

from django.contrib import admin

from coordinator.admin.display import block, json_block, line
from coordinator.admin.links import agent_link
from coordinator.models import AppliedPlan
from grid.public_admin import ReadOnlyAdmin, pill


@admin.register(AppliedPlan)
class AppliedPlanAdmin(ReadOnlyAdmin):
    """To change a plan: `manage.py plan edit ISSUE`."""

    list_display = ("id", "revision", "of", "who", "counted", "status", "created_at")
    list_filter = ("is_open", "tree__repository")
    list_select_related = ("agent__issue",)
    list_defer = ("agent__spec", "agent__summary", "agent__issue__body", "todo")
    search_fields = ("actor__exact", "agent__path__exact", "base__exact")
    search_help_text = "Exactly: who applied it (cli:root, agent:12), the path of its root, the base it was made from"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    readonly_fields = ("of", "who", "status", "counted", "shown", "waits", "failure")
    fields = (
        "id", "revision", "of", "who", "status", "counted", "shown", "waits", "failure", "base", "created_at", "finished_at",
    )  # fmt: skip

    @admin.display(description="root", ordering="agent")
    def of(self, row: AppliedPlan) -> str:
        """The root of the document."""
        return agent_link(row.agent)

    @admin.display(description="by", ordering="actor")
    def who(self, row: AppliedPlan) -> str:
        """A person or an agent."""
        return line(row.actor)

    @admin.display(description="state", ordering="is_open")
    def status(self, row: AppliedPlan) -> str:
        """Whether it is carried through."""
        if not row.is_open:
            return pill("done", "done")
        if row.error:
            return pill("failed", "a write failed")
        return pill("waiting", "waits for runs to end" if row.todo.get("busy") else "waits for the tracker")

    @admin.display(description="changes")
    def counted(self, row: AppliedPlan) -> str:
        """How many of each kind."""
        kinds = [line(change.get("kind", ""), 20) for change in row.changes]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))

    @admin.display(description="in full")
    def shown(self, row: AppliedPlan) -> str:
        """Every change with old and new values."""
        return json_block(row.changes)

    @admin.display(description="to do")
    def waits(self, row: AppliedPlan) -> str:
        """What is done when the tracker has answered."""
        return json_block(row.todo) if row.is_open else "-"

    @admin.display(description="error")
    def failure(self, row: AppliedPlan) -> str:
        """Of a write that failed for ever; `manage.py retry --write KEY` takes it up again."""
        return block(row.error) if row.error else "-"
