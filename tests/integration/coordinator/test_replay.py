"""The log builds the state tables again, after acts of every kind, in a database that knew nothing."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from coordinator import lifecycle
from coordinator.care import days
from coordinator.models import Agent, Envelope
from coordinator.operating import control
from grid import event_log
from grid import public_events as events
from grid.events import lines
from grid.events.catalogue import TWICE
from grid.events.tables import REGISTER
from grid.models import Event, Execution
from grid.public_errors import GridError
from grid.public_types import State
from tests.factories import make_agent, make_child, make_git_repository
from tests.integration.coordinator.agent_runs import end, running
from tests.integration.coordinator.log_acts import ACTOR, Acts

pytestmark = pytest.mark.django_db(transaction=True)
SEEDS, ACTS = range(3), 70
SOURCE = Path(__file__).parents[3]
KIND = re.compile(
    r'"((?:agent|task|nudge|llm|tool|message|upgrade|budget|lock|thread|plan|conflict|feedback|operator)\.[a-z][a-z-]+)"'
)


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Agent:
    settings.GATEWAY = {"anthropic": {"url": "http://127.0.0.1:9", "key": "k"}}
    return make_agent(make_git_repository(tmp_path / "repo"))


@pytest.fixture
def empty(tmp_path: Path, migrated_sqlite: str) -> Callable[[], str]:
    """Makes databases with our tables and nothing in them."""

    def make() -> str:
        target = tmp_path / f"empty-{len(list(tmp_path.iterdir()))}.sqlite3"
        shutil.copy(migrated_sqlite, target)
        return f"sqlite:///{target}"

    return make


def exported(path: Path, root: str = "", using: str = "default") -> Path:
    path.write_bytes(b"".join(events.export(root, using=using)))
    with path.open("rb") as file:
        assert [str(problem) for problem in events.verify(file)] == []
    return path


def differences(file: Path, into: str) -> list[str]:
    """How the replay of a log differs from our database."""
    with events.opened(into) as alias:
        events.replay([file], into=alias)
        return [str(one) for one in events.compare(alias)]


def acted(root: Agent, *, seed: int, acts: int = ACTS) -> None:
    chooser = random.Random(seed)
    doer = Acts(root)
    doer.child(0)
    doer.child(0)
    for _ in range(acts):
        doer.do(chooser.randrange(1000), chooser.randrange(1000))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_of_acts_is_built_again(seed: int, root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    acted(root, seed=seed)
    assert differences(exported(tmp_path / "all.jsonl"), empty()) == []


def test_a_replayed_database_has_the_same_log_on_either_database(
    root: Agent, tmp_path: Path, empty: Callable[[], str], request: pytest.FixtureRequest
) -> None:
    acted(root, seed=7, acts=40)
    first = exported(tmp_path / "first.jsonl")
    template = request.getfixturevalue("migrated_postgres")
    postgres = request.getfixturevalue("new_postgres_database")(template=template)
    for name, url in (("sqlite", empty()), ("postgres", postgres)):
        with events.opened(url) as alias:
            events.replay([first], into=alias)
            assert [str(one) for one in events.compare(alias)] == []
            again = exported(tmp_path / f"{name}.jsonl", using=alias)
        without_time = [file.read_text().splitlines()[1:] for file in (first, again)]
        assert [_plain(line) for line in without_time[0]] == [_plain(line) for line in without_time[1]]


def _plain(line: str) -> dict[str, Any]:
    """A line without what depends on when it was written, and on how a database sorts the keys of JSON."""
    value = json.loads(line)
    value.pop("chain")
    value.get("end", {}).pop("sha256", None)
    return value


def test_logs_of_single_trees_build_all_of_it_together(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    make_child(root)
    other = make_agent(make_git_repository(tmp_path / "other"))
    end(running(other))
    roots = list(Event.objects.values_list("root", flat=True).distinct().order_by())
    assert {root.root_key, other.root_key, "fleet"} <= set(roots)
    files = [exported(tmp_path / f"{n}.jsonl", name) for n, name in enumerate(roots)]
    with events.opened(empty()) as alias:
        events.replay(files, into=alias)
        assert [str(one) for one in events.compare(alias)] == []


def test_a_day_that_got_its_row_late_is_built_again(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    end(running(root))
    day = days.ensure(f"fleet:day:{timezone.now().date()}")
    assert day.executions_spent == 1
    with events.opened(empty()) as alias:
        events.replay([exported(tmp_path / "all.jsonl")], into=alias)
        assert [str(one) for one in events.compare(alias)] == []
        assert Envelope.objects.using(alias).get(key=day.key).executions_spent == 1


def test_the_log_of_one_tree_stands_alone(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    end(running(root))
    make_agent(make_git_repository(tmp_path / "other"))
    with events.opened(empty()) as alias:
        events.replay([exported(tmp_path / "tree.jsonl", root.root_key)], into=alias)
        assert list(Agent.objects.using(alias).values_list("pk", "state")) == [
            (root.pk, Agent.objects.get(pk=root.pk).state)
        ]
        assert Envelope.objects.using(alias).get(key="fleet").executions_spent == 1


def test_a_replayed_run_is_on_no_host(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    run = running(root)
    with events.opened(empty()) as alias:
        events.replay([exported(tmp_path / "all.jsonl")], into=alias)
        row = Execution.objects.using(alias).get(pk=run.execution_id)
        assert (row.state, row.token, row.bearer_sha256) == ("running", run.fence, "")
        assert row.lease_until is not None and row.lease_until == row.claimed_at


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_write_without_its_row_in_the_log_shows(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    Agent.objects.filter(pk=root.pk).update(summary="nobody was told")
    found = differences(exported(tmp_path / "all.jsonl"), empty())
    assert found == [f"coordinator_agent {root.pk}, summary: 'nobody was told' here, '' there"]


def test_a_row_that_nobody_told_of_shows(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    running(root)
    Event.objects.filter(kind="agent.created").update(rows=None)
    with pytest.raises(GridError, match="no event of the log made coordinator_agent"):
        differences(exported(tmp_path / "all.jsonl"), empty())
    Event.objects.exclude(kind="").update(rows=None)
    missing = differences(exported(tmp_path / "none.jsonl"), empty())
    assert f"coordinator_agent {root.pk}: we have it, the other does not" in missing


def test_counters_are_worked_out_from_the_ledger_and_compared(
    root: Agent, tmp_path: Path, empty: Callable[[], str]
) -> None:
    running(root)
    Envelope.objects.filter(key="fleet").update(executions_spent=3)
    assert [line.split(", ")[1] for line in differences(exported(tmp_path / "all.jsonl"), empty())] == [
        "executions_spent: 3 here"
    ]


def test_only_an_empty_database_with_our_tables_is_written(
    root: Agent, tmp_path: Path, empty: Callable[[], str]
) -> None:
    file, into = exported(tmp_path / "all.jsonl"), empty()
    assert differences(file, into) == []
    with pytest.raises(GridError, match="has rows; a log is replayed into an empty database only"):
        differences(file, into)
    with pytest.raises(GridError, match="run `migrate`"):
        differences(file, f"sqlite:///{tmp_path / 'new.sqlite3'}")
    for url in (
        "nonsense",
        "mysql://ann:hunter22@127.0.0.1/x",
        "redis://127.0.0.1",
        "postgres://ann:hunter22@h:port/x",
    ):
        with pytest.raises(GridError, match="no address of a database") as refused, events.opened(url):
            pass
        assert "hunter22" not in str(refused.value)
    with pytest.raises(GridError, match="cannot be used"), events.opened(f"sqlite:///{tmp_path}/no/such/folder.db"):
        pass
    if connection.vendor == "sqlite":
        with pytest.raises(GridError, match="our own database"):
            events.opened(f"sqlite:///{connection.settings_dict['NAME']}").__enter__()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text[:-30], "line .*: the line has no end"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "the file ends after event"),
        (lambda text: text.replace('"seq":1,', '"seq":2,', 1), "line 2"),
    ],
    ids=["torn", "cut off", "touched"],
)
def test_nothing_is_written_of_a_log_with_something_wrong(
    change: Callable[[str], str], why: str, root: Agent, tmp_path: Path, empty: Callable[[], str]
) -> None:
    file = exported(tmp_path / "all.jsonl")
    file.write_text(change(file.read_text()))
    with events.opened(empty()) as alias:
        with pytest.raises(GridError, match=why):
            events.replay([file], into=alias)
        assert not Event.objects.using(alias).exists()


@pytest.mark.parametrize(
    ("table", "pk", "columns"),
    [
        ("auth_user", 1, {"username": "mallory", "password": "x", "is_superuser": True, "is_staff": True}),
        ("tracker_issue", 10**30, {}),
        ("tracker_repository", 1, {"scope": "x" * 10_000, "tracker": {}, "source": [], "is_enabled": "perhaps"}),
        ("tracker_issue", "one", {}),
    ],
    ids=["a superuser", "a giant number", "values of other types", "a word for a number"],
)
def test_a_forged_log_writes_no_table_but_ours_and_is_answered(
    table: str, pk: Any, columns: dict[str, Any], root: Agent, tmp_path: Path, empty: Callable[[], str]
) -> None:
    chain = lines.Chain()
    forged = [lines.header("", "2026-11-28T07:00:00+00:00"), {"base": {"table": table, "id": pk, "set": columns}}]
    data = b"".join(lines.written(line, chain) for line in forged)
    file = tmp_path / "forged.jsonl"
    file.write_bytes(data + lines.written(lines.trailer(events=0, base=1, chain=chain), chain))
    with events.opened(empty()) as alias:
        with pytest.raises(GridError):
            events.replay([file], into=alias)
        assert not _model(table)._default_manager.using(alias).exists()


def test_a_token_in_a_row_is_in_no_log_and_no_difference(root: Agent, tmp_path: Path, empty: Callable[[], str]) -> None:
    """An agent may say its own bearer token anywhere, in words that a table keeps as well."""
    token = "agx_" + "t" * 43
    lifecycle.change(root, summary=f"my token is {token}")
    file = exported(tmp_path / "all.jsonl")
    assert token not in file.read_text()
    assert differences(file, empty()) == []


def test_an_event_nobody_knows_is_a_fact_all_the_same(
    root: Agent, tmp_path: Path, empty: Callable[[], str], settings: Settings
) -> None:
    settings.EVENTS_ARE_CHECKED = False
    told = events.changed_row("coordinator_agent", root.pk, summary="told")
    Agent.objects.filter(pk=root.pk).update(summary="told")
    lifecycle.record(root, ("agent.sang", {"rows": [told]}))
    file = tmp_path / "all.jsonl"
    file.write_bytes(b"".join(events.export()))
    assert [problem.code for problem in events.verify(io.BytesIO(file.read_bytes()))] == ["unknown-kind"]
    assert [problem.code for problem in events.verify_database()] == ["unknown-kind"]
    assert differences(file, empty()) == []


# --- the catalogue and the tables -------------------------------------------------------------------------------------


def test_an_event_that_is_not_in_the_catalogue_fails_in_tests(root: Agent) -> None:
    with pytest.raises(ValueError, match="not in the catalogue"):
        lifecycle.record(root, ("agent.sang", {}))
    with pytest.raises(ValueError, match=r"agent.approved: .*Field required"):
        lifecycle.record(root, ("agent.approved", {"by": "ann"}))
    with pytest.raises(ValueError, match="grid_execution is none of its tables"):
        lifecycle.record(root, ("agent.changed", {"rows": [events.changed_row("grid_execution", 1, state="x")]}))
    with pytest.raises(ValueError, match="belongs on: execution"):
        lifecycle.record(root, ("task.held", {}))


def test_every_table_of_ours_is_state_or_said_to_be_none() -> None:
    ours = {m._meta.db_table for name in ("grid", "coordinator") for m in apps.get_app_config(name).get_models()}
    assert ours == REGISTER.state.keys() | REGISTER.not_state.keys()
    assert not REGISTER.state.keys() & REGISTER.not_state.keys()
    for state in REGISTER.state.values():
        fields = _model(state.table)._meta.concrete_fields
        columns = {field.column for field in fields}
        assert not any(getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False) for field in fields)
        assert (state.ignored.keys() | state.derived.keys() | state.normalise.keys()) <= columns, state.table


def test_the_page_has_the_catalogue() -> None:
    """`manage.py events kinds --markdown` prints the table for it."""
    _, _, catalogue = (SOURCE / "docs" / "events.md").read_text().partition("## The catalogue")
    assert [line for line in catalogue.splitlines() if line.startswith("|")] == events.as_markdown()


def test_every_kind_that_the_source_names_is_in_the_catalogue() -> None:
    """Those that no test happens to write, too; `thread.started` is a word of Codex."""
    files = [file for name in ("grid", "coordinator") for file in (SOURCE / name).rglob("*.py")]
    named = {kind for file in files for kind in KIND.findall(file.read_text())}
    assert len(named) > 80
    assert named - events.KINDS.keys() - {"thread.started"} == set()


def test_every_kind_is_there_once_and_names_tables_that_are_state() -> None:
    assert not TWICE
    for kind in events.KINDS.values():
        assert set(kind.tables) <= REGISTER.state.keys(), kind.name


def _model(table: str) -> Any:
    return next(model for model in apps.get_models() if model._meta.db_table == table)


def test_rows_are_in_no_body_that_anybody_is_shown(root: Agent) -> None:
    shown = event_log.read_stream(root.stream)
    assert shown and all("rows" not in event.body for event in shown)
    assert Event.objects.filter(stream=root.stream, rows__isnull=False).exists()


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_exports_verifies_and_replays(
    root: Agent, tmp_path: Path, empty: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    control.nudge(root.pk, actor=ACTOR)
    file = tmp_path / "all.jsonl"
    assert manage("export", "--all", "-o", str(file)) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert manage("verify", str(file)) == 0
    assert manage("verify", "--database") == 0
    capsys.readouterr()
    assert manage("replay", str(file), "--into", empty(), "--check", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"]["coordinator_agent"] == 1 and said["differences"] == []
    Agent.objects.filter(pk=root.pk).update(summary="nobody was told")
    assert manage("replay", str(file), "--into", empty(), "--check") == 1
    assert "'nobody was told' here" in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:-40])
    assert manage("verify", str(file), "--json") == 1
    assert [one["code"] for one in json.loads(capsys.readouterr().out)["problems"]] == ["torn"]
    assert manage("replay", str(file), "--into", empty()) == 2
    assert manage("verify", str(tmp_path / "none")) == 2
    assert manage("export", "--all", "-o", str(tmp_path / "no" / "folder")) == 2
    assert manage("export") == 2
    assert manage("verify") == 2
    capsys.readouterr()
    assert manage("export", str(root.issue.key)) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["root"] == root.root_key
    assert manage("kinds", "--json") == 0
    assert {kind["name"] for kind in json.loads(capsys.readouterr().out)["kinds"]} == events.KINDS.keys()


def test_an_export_that_breaks_off_leaves_nothing(root: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are in it: half of one must not lie about under a name that nobody knows."""

    def broken(_root: str) -> Any:
        yield b"{}\n"
        raise OperationalError("the database is away")

    monkeypatch.setattr(events, "export", broken)
    assert manage("export", "--all", "-o", str(tmp_path / "logs.jsonl")) != 0
    assert not [name for name in tmp_path.iterdir() if "logs.jsonl" in name.name]


def test_a_launch_tells_what_may_be_used_only_when_that_has_changed(root: Agent) -> None:
    end(running(root), state=State.INTERRUPTED)
    assert Agent.objects.get(pk=root.pk).executions == 2
    told = Event.objects.filter(stream=root.stream, kind="agent.state-changed").values_list("rows", flat=True)
    assert sum("capability" in row["set"] for rows in told for row in rows) == 1


def manage(*args: str) -> int:
    """Exit code of `manage.py events …`."""
    from django.core.management import CommandError, call_command

    try:
        call_command("events", *args)
    except CommandError as error:
        return error.returncode
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
