"""`manage.py plan`: what people see of a plan, and that nothing they wrote is lost."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator.models import Agent, AppliedPlan
from coordinator.operating import control, plans
from coordinator.public_errors import NotAllowedError
from coordinator.public_types import AgentState
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.command_rows import run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def top(tmp_path: Path, settings: Any) -> Agent:
    settings.COORDINATOR_WORKING = False
    top = make_agent(make_git_repository(tmp_path / "app"), title="Top")
    make_child(top, title="A part")
    return top


def edited(top: Agent, tmp_path: Path, *swaps: tuple[str, str]) -> str:
    text = plans.export(top.pk).text
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "plan.yml"
    path.write_text(text)
    return str(path)


def test_a_plan_goes_out_to_a_file_and_back(top, tmp_path):
    said = run("plan", "export", "1", "-o", str(tmp_path / "out.yml"))
    assert (said.code, said.out) == (0, f"wrote 2 nodes to {tmp_path / 'out.yml'}\n")
    text = (tmp_path / "out.yml").read_text()
    assert text.startswith("# The plan of local/app#1.") and run("plan", "export", "1").out == text
    for act in ("diff", "apply"):
        said = run("plan", act, "1", str(tmp_path / "out.yml"))
        assert said.code == 0 and "nothing to do: the tree is what the plan says" in said.out
    shown = run("plan", "export", "1", "--json").json
    assert (shown["plan"], shown["nodes"], shown["issue"]) == (text, 2, "local/app#1")
    assert "goal: A part" in run("plan", "export", "1.1").out and "goal: Top" not in run("plan", "export", "1.1").out


def test_a_difference_is_shown_before_it_is_made(top, tmp_path):
    file = edited(top, tmp_path, ("goal: A part", "goal: Another"), ("goal: Top", "goal: Top\n  children_: x"))
    said = run("plan", "diff", "1", file)
    assert said.code == 2 and re.search(r"line \d+: unknown key 'children_'; did you mean 'children'", said.error)
    file = edited(top, tmp_path, ("goal: A part", "goal: Another\n      budget: {usd: 2.50}"))
    said = run("plan", "diff", "1", file)
    assert said.code == 0
    part = Agent.objects.get(parent=top)
    assert f"change  a{part.pk} A part: goal 'A part' -> 'Another'" in said.out
    assert f"budget  a{part.pk} A part: budget nothing -> '$2.5'" in said.out
    said = run("plan", "apply", "1", file)
    assert said.code == 2 and "this would do 1 change, 1 budget; nobody can be asked here, so add --yes" in said.error
    assert not AppliedPlan.objects.exists()
    said = run("plan", "apply", "1", file, "--yes")
    assert (said.code, said.out) == (0, "applied as plan 1 of local/app#1: 1 change, 1 budget\n")
    said = run("plan", "apply", "1", file, "--yes")
    assert said.code == 0 and "this very plan was applied before, as number 1" in said.out


def test_programs_get_the_changes_as_json(top, tmp_path):
    file = edited(top, tmp_path, ("goal: A part", "goal: Another"))
    shown = run("plan", "diff", "1", file, "--json").json
    part = Agent.objects.get(parent=top)
    change = {
        "kind": "change", "id": f"a{part.pk}", "goal": "A part", "fields": {"goal": {"old": "A part", "new": "Another"}}
    }  # fmt: skip
    assert shown == {"issue": "local/app#1", "changes": [change], "queued": 0, "running": 0, "applied_as": None}
    done = run("plan", "apply", "1", file, "--yes", "--json").json
    assert (done["changes"], done["applied_as"]) == ([change], 1)


def test_standard_input_is_a_file_too(top, monkeypatch):
    text = plans.export(top.pk).text.replace("goal: A part", "goal: Another")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    said = run("plan", "apply", "1", "-", "--yes")
    assert said.code == 0 and "1 change" in said.out


def test_a_tree_that_has_changed_is_refused_with_another_code(top, tmp_path):
    file = edited(top, tmp_path, ("goal: A part", "goal: Another"))
    late = make_child(top, title="Late")
    said = run("plan", "apply", "1", file, "--yes")
    assert said.code == 1 and f"a{late.pk} is new (Late)" in said.error and "Export it again" in said.error


def test_wrong_use_is_told(top, tmp_path):
    assert "say which plan" in run("plan", "apply", "1").error
    assert "takes no FILE" in run("plan", "export", "1", "x.yml").error
    assert run("plan", "diff", "1", str(tmp_path / "none.yml")).code == 2
    assert "no agent for '99'" in run("plan", "export", "99").error
    assert run("plan", "export", "1", "-o", str(tmp_path / "no" / "folder.yml")).code == 2


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *steps: str) -> None:
    """An editor that does one more of these `sed` programs each time it is started."""
    script = tmp_path / "editor.sh"
    cases = "\n".join(f"{number}) sed -i '{step}' \"$1\" ;;" for number, step in enumerate(steps))
    count = tmp_path / "count"
    count.write_text("0")
    script.write_text(f"#!/bin/sh\nn=$(cat {count})\necho $((n + 1)) > {count}\ncase $n in\n{cases}\nesac\n")
    script.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(script))


def test_an_editor_does_it_all(top, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "s/goal: A part/goal: Another/")
    said = run("plan", "edit", "1", "--yes")
    assert said.code == 0 and "applied as plan 1 of local/app#1: 1 change" in said.out
    assert run("plan", "edit", "1", "--yes").out.strip() == "nothing to do: the tree is what the plan says"


def test_what_was_written_in_the_editor_is_kept_and_named_when_it_is_wrong(top, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "s/goal: A part/gaol: Another/")
    said = run("plan", "edit", "1", "--yes")
    assert said.code == 2 and "did you mean 'goal'" in said.error
    kept = re.search(r"Your text is in (\S+)", said.error)
    assert kept and "gaol: Another" in Path(kept[1]).read_text()
    Path(kept[1]).unlink()


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_where_nobody_can_be_asked_the_editor_alone_applies_nothing(top, tmp_path, monkeypatch, how):
    editor(tmp_path, monkeypatch, "s/goal: A part/goal: Another/")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n") if not how else Terminal("y\n"))
    said = run("plan", "edit", "1", *how)
    assert said.code == 2 and "this would do 1 change" in said.error and "add --yes" in said.error
    assert not AppliedPlan.objects.exists()
    kept = re.search(r"Your text is in (\S+)", said.error)
    assert kept and "goal: Another" in Path(kept[1]).read_text()
    Path(kept[1]).unlink()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_a_mistake_is_edited_again_and_then_asked_for(top, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "s/goal: A part/gaol: Another/", "s/gaol: Another/goal: Better/")
    monkeypatch.setattr(sys, "stdin", Terminal("\ny\n"))
    said = run("plan", "edit", "1")
    assert said.code == 0, said
    assert "did you mean 'goal'" in said.out and "Edit it again?" in said.out and "1 change" in said.out
    editor(tmp_path, monkeypatch, "s/goal: Better/goal: Best/")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said = run("plan", "edit", "1")
    assert said.code == 1 and "nothing was changed; your text is in " in said.out
    Path(said.out.rsplit(" ", 1)[1].strip()).unlink()


def test_what_a_cancellation_stops_is_said_before(top, tmp_path):
    part = Agent.objects.get(parent=top)
    text = plans.export(top.pk).text
    head, _, rest = text.partition("  children:")
    file = tmp_path / "plan.yml"
    file.write_text(head + rest[rest.index("seen:") :])
    said = run("plan", "diff", "1", str(file))
    assert f"cancel  a{part.pk} A part, which was under a{top.pk}" in said.out
    assert run("plan", "apply", "1", str(file), "--yes").code == 0
    part.refresh_from_db()
    assert part.state == AgentState.ABANDONED
    with pytest.raises(NotAllowedError):
        control.cancel(part.pk, actor="cli:test")
