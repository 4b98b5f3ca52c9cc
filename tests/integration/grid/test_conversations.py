"""A stopped run's conversation in the next run's HOME: found, placed, and nothing else taken along."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest

from grid import conversations, executions, specs
from grid.agents import registry, resuming
from grid.agents.base import RunFiles
from grid.models import Execution
from grid.public_types import Result
from tests.factories import make_execution

OLD, NEW = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
FILES = {
    "claude": ".claude/projects/-runs-before-workspace/{id}.jsonl",
    "codex": ".codex/sessions/2026/11/28/rollout-2026-11-28T07-19-39-{id}.jsonl",
}
PLACES = {
    "claude": ".claude/projects/-runs-next-work-space/{id}.jsonl",
    "codex": ".codex/sessions/2026/11/28/rollout-2026-11-28T07-19-39-{id}.jsonl",
}
WORKSPACE = Path("/runs/next/work.space")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    (tmp_path / "before" / "home").mkdir(parents=True)
    return tmp_path / "before"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "next" / "home").mkdir(parents=True)
    return tmp_path / "next" / "home"


def say(before: Path, adapter: str, text: str = '{"a":1}\n{"b":2}\n', *, session: str = NEW, age: int = 0) -> Path:
    path = before / "home" / FILES[adapter].format(id=session)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def carried(before: Path, home: Path, adapter: str) -> str:
    return conversations.carry(before, home, adapter=adapter, workspace=WORKSPACE)


@pytest.mark.parametrize("adapter", sorted(FILES))
def test_the_last_conversation_survives_its_home_and_lies_where_the_program_looks(before, home, adapter):
    say(before, adapter, "old\n", session=OLD, age=60)
    say(before, adapter, '{"a":1}\n{"b":2}\n{"torn')
    assert conversations.keep(before, adapter=adapter)
    for place in (before / "home").rglob("*"):
        if place.is_file():
            place.unlink()
    assert carried(before, home, adapter) == NEW
    assert [str(one.relative_to(home)) for one in home.rglob("*") if one.is_file()] == [PLACES[adapter].format(id=NEW)]
    assert (home / PLACES[adapter].format(id=NEW)).read_text() == '{"a":1}\n{"b":2}\n', "without the torn line"
    assert carried(before, home, adapter) == NEW, "again, as by a launch that is tried twice"


@pytest.mark.parametrize("adapter", sorted(FILES))
def test_the_program_is_told_to_take_it_up(home, adapter):
    files = RunFiles(workspace=home.parent / "workspace", home=home, python="python3", path="/bin")
    options = {"model": "m-1"}
    fresh = registry.get(adapter).launch(options=resuming.kept(adapter, options, home=home), files=files, prompt="x")
    again = registry.get(adapter).launch(
        options=resuming.kept(adapter, options, home=home, session=NEW), files=files, prompt="x"
    )
    assert "--ephemeral" not in fresh.argv and "--no-session-persistence" not in fresh.argv, (
        "it must be kept to be found"
    )
    assert NEW not in fresh.argv and NEW in again.argv
    state = {"claude": "CLAUDE_CONFIG_DIR", "codex": "CODEX_HOME"}[adapter]
    assert fresh.env[state] == again.env[state] == str(home / f".{adapter}")


def test_options_of_the_operator_stay_and_other_programs_are_left_alone(home):
    own = {"model": "m", "state_dir": "/kept/here"}
    assert resuming.kept("claude", own, home=home, session=NEW) == own
    assert resuming.kept("gemini", {"model": "m"}, home=home, session=NEW) == {"model": "m"}


@pytest.mark.parametrize("adapter", ["command", "builtin", "gemini", "opencode", "nobody"])
def test_what_cannot_be_carried_over_begins_anew(before, home, adapter):
    say(before, "claude")
    assert not conversations.keep(before, adapter=adapter)
    assert carried(before, home, adapter) == ""


def test_a_run_whose_folder_is_gone_or_empty_begins_anew(before, home):
    assert carried(before.parent / "gone", home, "claude") == ""
    assert not conversations.keep(before, adapter="claude")
    assert not conversations.keep(before.parent / "gone", adapter="claude")


def test_links_devices_and_giants_of_an_agent_are_not_read(before, home, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the host\n")
    path = before / "home" / FILES["claude"].format(id=NEW)
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)
    assert not conversations.keep(before, adapter="claude")
    path.unlink()
    os.mkfifo(path)
    assert not conversations.keep(before, adapter="claude"), "and nobody waits for the FIFO"
    path.unlink()
    with path.open("wb") as file:
        file.truncate(conversations.MAX_BYTES + 1)
    assert not conversations.keep(before, adapter="claude")
    path.unlink()
    path.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{NEW}.jsonl").write_text("of the host\n")
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert not conversations.keep(before, adapter="claude"), "a folder that is a link is not entered"
    assert not (before / conversations.KEPT).exists()


def test_a_home_that_is_itself_a_link_is_not_entered(before, tmp_path):
    (before / "home").rmdir()
    other = tmp_path / "other"
    say(other, "claude")
    (before / "home").symlink_to(other / "home")
    assert not conversations.keep(before, adapter="claude")


def test_a_folder_of_a_program_that_is_a_link_is_not_entered(before, tmp_path):
    other = tmp_path / "other"
    say(other, "claude")
    (before / "home" / ".claude").symlink_to(other / "home" / ".claude")
    assert not conversations.keep(before, adapter="claude")


def test_a_maze_of_folders_is_given_up(before, monkeypatch):
    """Folders count like files: the host that walks them renews leases as well."""
    monkeypatch.setattr(conversations, "_MAX_ENTRIES", 3)
    folder = before / "home" / ".claude/projects/a/b/c"
    folder.mkdir(parents=True)
    (folder / f"{NEW}.jsonl").write_text("x\n")
    assert not conversations.keep(before, adapter="claude")


def test_a_folder_of_endless_names_is_not_read_as_a_whole(before):
    """It would lie in the memory of the worker that looks after all other agents as well."""
    folder = before / "home" / ".claude/projects/a"
    folder.mkdir(parents=True)
    for number in range(8_000):
        (folder / f"{number:0200}").touch()
    tracemalloc.start()
    try:
        assert not conversations.keep(before, adapter="claude")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_names_of_an_agents_choice_lead_nowhere(before, home):
    folder = before / "home" / ".claude/projects/x"
    folder.mkdir(parents=True)
    for name in ("../../evil.jsonl".replace("/", "_"), "--help.jsonl", f"{NEW}.jsonl.bak", f"x{NEW}.jsonl", "..jsonl"):
        (folder / name).write_text("x\n")
    assert not conversations.keep(before, adapter="claude")


@pytest.mark.django_db
def test_work_of_the_runs_before_in_a_conversation_counts():
    def ended(subject: str, *, changed: bool, continues: str = "") -> str:
        row = make_execution(subject, continues=continues)
        result = specs.dump_result(Result(changed=changed))
        Execution.objects.filter(pk=row.pk).update(state="interrupted", result=result)
        return str(row.pk)

    first = ended("issue:1", changed=True)
    second = ended("issue:1", changed=False, continues=first)
    alone = ended("issue:2", changed=False)
    assert executions.left_work(first) and executions.left_work(second)
    assert not executions.left_work(alone) and not executions.left_work("") and not executions.left_work(str(uuid4()))
