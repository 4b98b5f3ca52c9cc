"""The flow on GitHub, from a label to a merge, over HTTP: a GitHub of our own, real git, web, workers and agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.services import demos

# The set-up plays the whole flow: a minute on a quiet machine, several beside other tests.
pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `make demo-github` does, with every webhook signed, sent twice and out of order."""
    folder = tmp_path_factory.mktemp("demo") / "github"
    log = folder.parent / "said.txt"
    facts = demos.play("demo_github", folder=folder, log=log)
    return facts | {"said": log.read_text(), "folder": folder}


def test_a_label_becomes_sub_issues_a_pull_request_and_a_merge(played: dict[str, Any]) -> None:
    words, sentences, report = played["sub_issues"]
    assert played["blocked"] == {str(words): [], str(sentences): [], str(report): [words, sentences]}
    assert played["merged"]
    assert played["labels"] == []
    assert {agent["state"] for agent in played["agents"]} == {"done"}
    assert "no law is broken" in played["said"]


def test_everything_happened_once_although_every_webhook_came_twice(played: dict[str, Any]) -> None:
    assert played["webhooks"]["sent"] >= 2 * played["webhooks"]["events"] > 0
    assert played["pull_requests"] == 1
    assert played["status_comments"] == 1
    runs = {agent["issue"]: agent["executions"] for agent in played["agents"]}
    # The root splits, is resumed, and works one review comment in.
    assert sorted(runs.values()) == [1, 1, 1, 3]


def test_nothing_secret_is_in_what_people_read_on_github(played: dict[str, Any]) -> None:
    assert played["told"] == ["PUBLIC_URL"], "the links; of what else was looked for, nothing"
    assert played["texts"] >= 15  # titles, texts and comments of four issues and a pull request


def test_nothing_secret_is_in_logs_or_state(played: dict[str, Any]) -> None:
    folder: Path = played["folder"]
    for file in [*folder.glob("*.log"), *(folder / "state" / "runs").rglob("*")]:
        if file.is_file():
            text = file.read_bytes()
            assert b"PRIVATE KEY" not in text, file
            assert b"ghs_" not in text, file
