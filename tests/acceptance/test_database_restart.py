"""A database that goes away mid-run costs nothing but time: agents go on, and everybody comes back by himself."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.factories import make_git_repository


def restart(socket_dir: str) -> None:
    """`pg_ctl restart -m immediate`: every connection breaks as in a crash."""
    with psycopg.connect(host=socket_dir, user="postgres", dbname="postgres") as connection:
        data = connection.execute("SHOW data_directory").fetchone()
        pg_ctl = Path(f"/proc/{connection.info.backend_pid}/exe").resolve().with_name("pg_ctl")
    assert data is not None
    owner = Path(data[0]).stat().st_uid
    done = subprocess.run(
        [pg_ctl, "-D", data[0], "-m", "immediate", "-w", "-l", "/dev/null", "restart"],
        capture_output=True,
        text=True,
        user=owner,
        timeout=60,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_a_database_restart_under_load_loses_and_doubles_nothing(new_stack, postgres_server, tmp_path):
    stack = new_stack(database="postgres", broker="redis").start()
    marks = tmp_path / "starts"
    repository = make_git_repository(tmp_path / "app")
    for n in range(4):
        command = f"echo {n} >> {marks}; sleep 3; echo {n} > file{n}.txt"
        stack.manage(
            "submit", "--repo", str(repository), "--title", f"Issue {n}", "--agent", "command", "--command", command
        )
        if n == 1:
            stack.wait_until(marks.exists, "the first agent started")
            restart(postgres_server)
    time.sleep(1)
    restart(postgres_server)

    def all_done() -> bool:
        shown = stack.manage("status", "--json", check=False)
        return shown.returncode == 0 and sum(agent(n)["state"] == "done" for n in range(1, 5)) == 4

    def agent(n: int) -> dict[str, str]:
        return stack.manage_json("tree", str(n))["agents"][0]

    stack.wait_until(all_done, "all four are done", timeout=90, pause=1)
    assert sorted(marks.read_text().split()) == ["0", "1", "2", "3"]
    assert stack.manage_json("doctor")["violations"] == []
