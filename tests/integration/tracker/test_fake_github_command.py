"""`manage.py fake_github`: what a newcomer starts, sees and stops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.core.management import CommandError, call_command

from tests.integration.tracker.fake_github_world import Listener, furnish, run
from tracker.fake_github import FakeGithub

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_the_command_serves_what_it_prints_until_it_is_told_to_stop(tmp_path: Path, listener: Listener) -> None:
    key, record = tmp_path / "app.pem", tmp_path / "traffic.jsonl"
    command = [sys.executable, "manage.py", "fake_github", "--port", "0", "--repository", "acme/gears", "--hook",
               listener.url, "--secret", "s", "--duplicate", "--app-key", str(key), "--record", str(record)]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            curl = re.search(r"curl -s -H 'Authorization: Bearer (\S+)' (\S+)/issues -d '(.+)'", said)
            assert curl is not None
            answer = requests.post(
                f"{curl[2]}/issues", curl[3], headers={"Authorization": f"Bearer {curl[1]}"}, timeout=10
            )
            assert answer.status_code == 201
            clone = re.search(r"git clone (\S+)", said)
            assert clone is not None
            run("git", "clone", "-q", clone[1], str(tmp_path / "clone"))
            while len(listener.received) < 2:
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert (process.returncode, rest) == (0, "stopped\n")
    assert (tmp_path / "clone" / "README.md").is_file()
    assert key.stat().st_mode & 0o777 == 0o600
    assert "installation" in said
    assert len(set(listener.guids())) == 1
    assert json.loads(record.read_text().splitlines()[0])[:2] == ["POST", "/repos/{owner}/{repo}/issues"]


def test_a_program_reads_where_it_is_and_how_to_sign_in(tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "fake_github", "--port", "0", "--json", "--app-key", str(tmp_path / "k")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            document = json.loads(process.stdout.readline())
            token = document["tokens"]["rita"]
            answer = requests.get(
                f"{document['url']}/repos/acme/widgets", headers={"Authorization": f"Bearer {token}"}, timeout=10
            )
        finally:
            process.send_signal(signal.SIGTERM)
        assert (process.stdout.read(), process.wait(20)) == ("", 0)
    assert answer.status_code == 200
    assert [one["owner"] for one in document["installations"]] == ["acme"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(["--repository", "widgets"], "write owner/name"), (["--hook", "localhost"], "--hook must be"),
     (["--port", "99999"], "is no port"), (["--record", "/nowhere/at/all"], "--record")],
)  # fmt: skip
def test_a_wrong_argument_names_the_remedy(arguments: list[str], remedy: str) -> None:
    with pytest.raises(CommandError, match=remedy):
        call_command("fake_github", "--port", "0", *arguments)


def test_a_port_that_is_taken_names_the_remedy() -> None:
    with FakeGithub.start() as server, pytest.raises(CommandError, match="another --port"):
        call_command("fake_github", "--port", server.url.rpartition(":")[2])


def test_the_page_shows_hostile_text_as_text() -> None:
    evil = "<script>alert(1)</script>\" onclick='x'"
    with FakeGithub.start() as server:
        furnish(server)
        alice = server.world.act("alice")
        number = alice.open_issue(evil, body=evil, labels=[evil])
        alice.comment(number, evil)
        pull = server.world.act("tim").open_pull("feature", title=evil)
        alice.review(pull, "COMMENT", evil, [{"path": evil, "line": 1, "body": evil}])
        pages = [requests.get(f"{server.url}{path}", timeout=10)
                 for path in ("/", f"/acme/widgets/issues/{number}", f"/acme/widgets/pull/{pull}")]  # fmt: skip
        missing = requests.get(f"{server.url}/acme/widgets/issues/99", timeout=10)
        foreign = requests.get(f"{server.url}/", headers={"Host": "evil.example:80"}, timeout=10)

    for page in pages:
        assert page.status_code == 200
        assert "&lt;script&gt;" in page.text
        assert "<script" not in page.text
        assert "onclick='" not in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert (missing.status_code, foreign.status_code) == (404, 421)
