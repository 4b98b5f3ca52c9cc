"""Profiles, toolsets and tiers that operators save: looked at as a whole, one version after the other, never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordinator.care import catalogue, definitions
from coordinator.models import AuditEntry, Definition, Envelope
from coordinator.public_errors import InvalidInputError, NotAllowedError
from tests.integration.coordinator.at_once import together
from tests.integration.coordinator.command_rows import run

pytestmark = pytest.mark.django_db


def save(name: str, body: str, *, kind: str = "profile", **more: Any) -> definitions.Saved:
    return definitions.save(kind=kind, name=name, body=body, actor="cli:me", **more)


def test_a_saved_definition_counts_before_the_shipped_one_and_can_extend_it() -> None:
    before = catalogue.profile("worker")
    first = save("worker", "extends: worker\nmodel: anthropic:claude-sonnet-4-5\n")
    assert (first.version, first.is_current) == (1, True)
    assert catalogue.profile("worker").model == "anthropic:claude-sonnet-4-5"
    assert catalogue.profile("worker").tools == before.tools
    assert "saved version 1:2" in catalogue.profile("worker").origin["model"]
    second = save("worker", "extends: worker\ntier: small\n", base_version=1, note="cheaper")
    assert second.version == 2
    assert catalogue.profile("worker").model == ""
    assert [(row.version, row.is_current) for row in definitions.versions(kind="profile", name="worker")] == [
        (2, True),
        (1, False),
    ]
    definitions.take_back(kind="profile", name="worker", actor="cli:me")
    assert catalogue.profile("worker") == before
    assert save("worker", "extends: worker\n", base_version=0).version == 3
    assert list(AuditEntry.objects.values_list("action", flat=True)) == [
        "save_definition",
        "take_back_definition",
        "save_definition",
        "save_definition",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "body", "said"),
    [
        ("profile", "mine", "extends: nobody", "there is no profile 'nobody'"),
        ("profile", "mine", "extends: mine", "goes in a circle"),
        ("profile", "base", "extends: worker", "goes in a circle"),
        ("profile", "mine", "toolset: nothing", "there is no toolset 'nothing'"),
        ("profile", "mine", "add_tools: [sudo]", "unknown tool 'sudo'"),
        ("profile", "mine", "tier: huge", "unknown tier 'huge'"),
        ("profile", "mine", "modle: x", "did you mean 'model'?"),
        ("profile", "mine", "a: &x [1]", "anchors"),
        ("profile", "Mine!", "", "is no name of a profile"),
        ("profile", "mine", "x" * 70_000, "at most 65,536 are kept"),
        ("toolset", "worker", "extends: [planner]\nremove: [fly]", "unknown tool 'fly'"),
        ("tiers", "tiers", "tiers: {small: {rank: 1, models: ['ollama:*']}}", "unknown tier 'large'"),
        ("tiers", "other", "tiers: {}", "one table of tiers only"),
        ("nonsense", "x", "", "there is no kind 'nonsense'"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_nothing_is_stored(
    kind: str, name: str, body: str, said: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        save(name, body, kind=kind)
    assert said in str(caught.value)
    assert not Definition.objects.exists() and not AuditEntry.objects.exists()


def test_what_others_need_cannot_be_taken_back() -> None:
    save("house", "extends: worker")
    save("room", "extends: house")
    with pytest.raises(InvalidInputError, match="there is no profile 'house'"):
        definitions.take_back(kind="profile", name="house", actor="cli:me")
    assert Definition.objects.filter(name="house", is_current=True).exists()
    with pytest.raises(InvalidInputError, match="no saved profile 'nobody'"):
        definitions.take_back(kind="profile", name="nobody", actor="cli:me")


def test_an_old_base_is_refused() -> None:
    save("house", "extends: worker")
    for base in (0, 2, 7):
        with pytest.raises(NotAllowedError, match=f"version 1 is current, not {base or 'none'}"):
            save("house", "extends: planner", base_version=base)
    assert Definition.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_operators_who_save_at_once_one_wins_and_a_circle_of_two_never_counts() -> None:
    Envelope.objects.create(key="fleet", kind="fleet")
    save("house", "extends: worker")
    save("room", "extends: worker")
    answers = together(6, lambda n: save("house", f"extends: planner\nabout: by {n}\n", base_version=1))
    assert sum(isinstance(answer, definitions.Saved) for answer in answers) == 1
    assert sum(isinstance(answer, NotAllowedError) for answer in answers) == 5
    assert Definition.objects.filter(name="house").count() == 2
    bodies = (("house", "extends: room"), ("room", "extends: house"))
    answers = together(2, lambda n: save(*bodies[n]))
    assert sum(isinstance(answer, InvalidInputError) for answer in answers) == 1, answers
    for name in ("house", "room"):
        catalogue.profile(name)


# --- by commands ----------------------------------------------------------------------------------------------------


def test_profile_show_tells_where_each_value_is_from() -> None:
    said = run("profile", "show", "micro")
    assert said.code == 0
    table = said.out.partition("Grants at most")[0]
    lines = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert "micro (shipped/profiles/micro.yml:" in lines["tier"]
    assert "base (shipped/profiles/base.yml:" in lines["mixins.retry"]
    assert "20" in lines["limits.requests"] and "micro (" in lines["limits.requests"]
    assert "tier small" in said.out and "share 10" in said.out
    document = run("profile", "show", "micro", "--json").json
    assert document["profile"]["origin"]["tier"].startswith("micro (")
    assert document["grants"]["tier"] == 1
    assert run("profile", "show", "mcro").code == 2
    assert "did you mean 'micro'?" in run("profile", "show", "mcro").error
    assert run("profile", "show").code == 2


def test_profiles_and_toolsets_are_listed() -> None:
    said = run("profile", "list")
    for name in ("orchestrator", "planner", "worker", "micro"):
        assert name in said.out and f"shipped/profiles/{name}.yml" in said.out
    assert "editor" in run("toolset", "list").out
    assert "write_file" in run("toolset", "show", "editor").out.splitlines()
    assert run("toolset", "show", "editor", "--json").json["name"] == "editor"
    assert run("toolset", "show", "nothing").code == 2
    assert run("toolset", "show").code == 2


def test_profiles_are_saved_and_removed_by_command(tmp_path: Path) -> None:
    file = tmp_path / "house.yml"
    file.write_text("extends: worker\nlimits: {requests: 5}\n")
    said = run("profile", "save", "house", str(file), "--base", "0", "--note", "ours")
    assert (said.code, said.out.strip()) == (0, "profile house is version 1 now; agents' next runs use it")
    again = run("profile", "save", "house", str(file), "--base", "0")
    assert again.code == 1 and "version 1 is current, not none" in again.error
    assert "saved version 1" in run("profile", "list").out
    assert "ours" in run("profile", "versions", "house").out
    assert run("profile", "versions", "house", "--json").json["versions"][0]["created_by"].startswith("cli:")
    file.write_text("extends: worker\nlimits: {requests: none}\n")
    broken = run("profile", "save", "house", str(file))
    assert broken.code == 2 and "the new version:2" in broken.error
    assert run("profile", "remove", "house").code == 0
    assert "house" not in run("profile", "list").out
    assert run("profile", "save", "house", str(tmp_path / "nothing.yml")).code == 2
    assert run("profile", "save", "house").code == 2
    file.write_text("add: [read_file]\n")
    assert run("profile", "save", "looker", str(file), "--kind", "toolset").code == 0
    assert run("toolset", "show", "looker").out.splitlines() == ["read_file"]
