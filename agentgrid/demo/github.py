"""`make demo-github`: the flow on GitHub without an account, on a GitHub of our own on this machine.

A person labels an issue; it becomes sub-issues, a pull request, one rework after a review, and a merge. Only GitHub and
the model are doubles: REST, git and webhooks go over HTTP, and every webhook is signed, sent twice and out of order.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agentgrid.demo.stage import HERE, TITLE, DemoFailedError, Stage, free_port
from tracker.public_testing import FakeGithub

REPOSITORY = "acme/textkit"
PERSON = "mona"
REVIEW = "Please show the longest sentence as well."
WAIT_SECONDS = 150
_TOKEN = "demo-token-of-mona"  # noqa: S105 - for a double that ends with this process
_LOOK_SECONDS = 0.2
_LOOKED_FOR = (
    "GITHUB_APP_PRIVATE_KEY",
    "GITHUB_WEBHOOK_SECRET",
    "SECRET_KEY",
    "GATEWAY_ANTHROPIC_API_KEY",
    "PUBLIC_URL",  # which is no secret: comments link there, so the look finds what is to be found
)


def play(*, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Play it; returns what came of the issue. Raises DemoFailedError."""
    plain = Stage(folder=folder, say=say)
    plain.empty()
    (folder / "github").mkdir()
    port, secret = free_port(), secrets.token_urlsafe(24)
    with FakeGithub.start(git_root=folder / "github") as github:
        app = github.world.add_app()
        github.world.add_user(PERSON)
        github.world.add_token(_TOKEN, PERSON)
        github.world.add_repository(REPOSITORY, {PERSON: "admin"})
        github.world.add_installation(app, "acme")
        webhooks = f"http://127.0.0.1:{port}/webhooks/github/"
        github.world.add_hook(app, url=webhooks, secret=secret, duplicate=True, shuffle=1)
        variables = {
            "GITHUB_API_URL": github.url,
            "GITHUB_GIT_URL": github.url,
            "GITHUB_APP_ID": str(app.id),
            "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": secret,
            "GITHUB_SECONDS_BETWEEN_WRITES": "0",
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            # Used by nothing here, and there as in an installation: what people read must hold none of them.
            "SECRET_KEY": secrets.token_urlsafe(50),
            "GATEWAY_ANTHROPIC_API_KEY": secrets.token_urlsafe(24),
        }
        with Stage(folder=folder, say=say, variables=variables) as stage:
            return _Play(stage=stage, github=github, port=port).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Play:
    stage: Stage
    github: FakeGithub
    port: int
    shown: dict[int, str] = field(default_factory=dict)
    """What was last said about each issue and pull request."""

    def run(self) -> dict[str, Any]:
        began, say = time.monotonic(), self.stage.say
        self._push_library()
        self.stage.manage("migrate", "--verbosity=0", quiet=True)
        self.stage.manage("prepare_broker", quiet=True)
        say(f"A GitHub of our own: {self.github.url} (look at it in a browser while this runs)")
        with self.stage.processes(("web", "control", "executions", "beat"), port=self.port):
            self.stage.manage("github", "add", REPOSITORY)
            self.stage.manage("github_labels", REPOSITORY, "--create", quiet=True)
            self.github.world.auto_deliver = True
            number = self._ask_for_work()
            pull = self._until(lambda: self._ready_pull(number), "a pull request is ready for review")
            first = self._head(pull)
            say(f"{PERSON} reviews #{pull}: {REVIEW}")
            self._person().review_comment(pull, REVIEW, path="textkit/__main__.py", line=1)
            self._until(lambda: self._head(pull) != first, "the comment is worked in")
            self._until(lambda: "agent:review" in self._person().labels(number), "the issue waits for review again")
            say(f"{PERSON} merges #{pull}")
            self._person().merge(pull)
            self._until(lambda: self._is_closed(number), "the issue is closed")
            self.stage.manage("tree", "1", "--timeline")
            self.stage.manage("doctor")
            facts = self._facts(number, pull)
        seconds = round(time.monotonic() - began, 1)
        say(f"\nIssue #{number} is closed, pull request #{pull} is merged into main ({seconds:.0f} s).")
        say("Next: docs/github.md, 'Setting up an App'.")
        return {**facts, "seconds": seconds}

    def _push_library(self) -> None:
        """The demo's repository, whose policy lets the scripted model play."""
        repository = self.stage.repository()
        policy = repository / ".agentgrid.yml"
        options = {"model": "scripted", "script": (HERE / "script.yml").read_text()}
        agent = yaml.safe_dump({"agent": {"adapter": "builtin", "options": options}}, sort_keys=False)
        policy.write_text(f"{policy.read_text()}{agent}")
        self.stage.commit(repository, "Let agents work here")
        url = f"{self.github.url}/{REPOSITORY}.git".replace("://", f"://{PERSON}:{_TOKEN}@")
        self.stage.git(repository, "push", "-q", url, "main")

    def _ask_for_work(self) -> int:
        person = self._person()
        number: int = person.open_issue(TITLE, (HERE / "issue.md").read_text())
        self.stage.say(f"\n{PERSON} opens #{number} '{TITLE}' and labels it agent:ready")
        person.add_label(number, "agent:ready")
        return number

    def _person(self) -> Any:
        return self.github.world.act(PERSON, REPOSITORY)

    def _ready_pull(self, number: int) -> int:
        """Number of the pull request for the issue once nobody needs to wait for it any more, else 0."""
        person = self._person()
        closing = [one for one in person.pulls() if f"Closes #{number}" in (one["body"] or "")]
        return closing[0]["number"] if closing and not closing[0]["draft"] else 0

    def _head(self, pull: int) -> str:
        return str(self._person().pull(pull)["head"]["sha"])

    def _is_closed(self, number: int) -> bool:
        issue = self._person().issue(number)
        return issue["state"] == "closed" and not any(one.startswith("agent:") for one in self._person().labels(number))

    def _until[T](self, look: Callable[[], T], what: str) -> T:
        """Look until it is so, and say what changes on the board meanwhile."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                logs = f"{self.stage.folder}/*.log"
                raise DemoFailedError(f"waited {WAIT_SECONDS} s in vain until {what}; logs: {logs}")
            self._tell()
            time.sleep(_LOOK_SECONDS)
        self._tell()
        return found

    def _tell(self) -> None:
        for one in self._person().api("GET", "/issues", state="all", sort="created", direction="asc"):
            labels = ", ".join(label["name"] for label in one["labels"])
            kind = "pull request" if "pull_request" in one else "issue"
            line = f"  {kind} #{one['number']} {one['title']}: {one['state']}{f' [{labels}]' if labels else ''}"
            if self.shown.get(one["number"]) != line:
                self.shown[one["number"]] = line
                self.stage.say(line)

    def _facts(self, number: int, pull: int) -> dict[str, Any]:
        person, world = self._person(), self.github.world
        tree = json.loads(self.stage.manage("tree", "1", "--json", capture=True))
        comments = [one["body"] for one in person.comments(number) if "agent-grid:status" in one["body"]]
        return {
            "issue": number,
            "pull_request": pull,
            "merged": bool(person.pull(pull)["merged"]),
            "sub_issues": person.sub_issues(number),
            "blocked": {child: person.blockers(child) for child in person.sub_issues(number)},
            "status_comments": len(comments),
            "labels": person.labels(number),
            "pull_requests": len(person.pulls()),
            "webhooks": {"sent": len(world.deliveries), "events": len({one.guid for one in world.deliveries})},
            "agents": [{name: one[name] for name in ("issue", "state", "executions")} for one in tree["agents"]],
            "texts": len(texts := self._texts()),
            "told": sorted({name for name in _LOOKED_FOR if any(self._secret(name) in text for text in texts)}),
        }

    def _texts(self) -> list[str]:
        """All that people can read on issues and pull requests."""
        person, texts = self._person(), []
        for one in person.api("GET", "/issues", state="all"):
            said = list(person.comments(one["number"]))
            if "pull_request" in one:
                said += person.api("GET", f"/pulls/{one['number']}/comments")
                said += person.api("GET", f"/pulls/{one['number']}/reviews")
            texts += [one["title"], one["body"] or "", *(entry["body"] or "" for entry in said)]
        return texts

    def _secret(self, name: str) -> str:
        """The part of a variable's value that nothing else holds: of a key in PEM its first line is everybody's."""
        value = self.stage.variables[name]
        return value.split("\n")[1] if name.endswith("_KEY") and value.startswith("-----BEGIN") else value
