from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator import public_api
from coordinator.management import answers, requests, waiting
from coordinator.management.base import NOT_OK, OK, GridCommand, actor, text, whole
from coordinator.management.output import cell
from coordinator.public_types import AgentView, Answer, NudgeView
from grid import public_agents as grid_agents

_MAX_SECONDS = 30 * 86_400
_WORDS = {
    **{"adapter": "--agent", "profile": "--profile", "acceptance": "--accept", "priority": "--priority"},
    **{"option command": "--command", "option script": "--script"},
}
"""What of a submission may have no effect, as it was asked for; other options go by their names."""


class Command(GridCommand):
    help = "Open an issue for a repository on this machine and have an agent work on it."
    examples = """
    manage.py submit --repo ../app --title "Fix the parser" --body-file issue.md --wait
    manage.py submit --repo ../app --title "Format" --command 'black .' --accept 'pytest -q'
    manage.py submit --repo ../app --title "Add a test" --agent builtin --option model=ollama:qwen3:8b
    manage.py submit --repo ../app --title "Rename it" --profile micro
    manage.py submit --repo ../app --title "Demo" --script steps.yaml --wait 60
    echo "It crashes on empty input." | manage.py submit --repo ../app --title Crash --body-file - --json
    """
    not_ok = "it was refused; with --wait: it is not done"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--repo", required=True, metavar="PATH", type=text(4000), help="a git repository; taken under care when new"
        )
        parser.add_argument("--title", required=True, type=text(2000), help="one line")
        body = parser.add_mutually_exclusive_group()
        body.add_argument("--body", type=text(100_000), default="", help="Markdown")
        body.add_argument(
            "--body-file", metavar="FILE", type=text(4000), help="read the body from a file; - is standard input"
        )
        parser.add_argument(
            "--agent",
            metavar="NAME",
            type=text(60),
            default="",
            help=f"{', '.join(grid_agents.agent_names())}; left out, the repository's policy decides",
        )
        parser.add_argument(
            "--command",
            metavar="SHELL",
            type=text(30_000),
            default="",
            help="what the agent `command` runs; the prompt is its standard input",
        )
        parser.add_argument(
            "--option",
            metavar="KEY=VALUE",
            type=text(30_000),
            action="append",
            default=[],
            help="an option of the agent; the value is JSON, or text",
        )
        parser.add_argument(
            "--profile",
            metavar="NAME",
            type=text(60),
            default="",
            help="what the agent may and how it works, such as worker; left out, the repository's policy decides",
        )
        parser.add_argument(
            "--script", metavar="FILE", type=text(4000), help="steps for the built-in agent's scripted model"
        )
        parser.add_argument(
            "--accept",
            metavar="SHELL",
            type=text(2000),
            action="append",
            default=[],
            help="must exit 0 on the work; may be repeated",
        )
        parser.add_argument("--priority", type=whole(-1000, 1000), default=0, help="higher runs first (0)")
        parser.add_argument(
            "--key",
            type=text(200),
            default="",
            help="the same key is the same submission; left out, title and body are",
        )
        parser.add_argument(
            "--wait",
            metavar="SECONDS",
            nargs="?",
            type=whole(1, _MAX_SECONDS),
            const=0,
            help="follow until it has ended or needs a person, at most so long",
        )

    def answer(self, options: dict[str, Any]) -> int:
        submission = requests.submission(options)
        repository = public_api.add_repository(options["repo"])
        agent, nudge, is_new = public_api.submit(repository_id=repository.id, submission=submission, actor=actor())
        show = self.out.document if options["wait"] is None else self.out.record
        not_used = () if is_new else public_api.not_used(agent.id, submission)
        warning = public_api.why_missing(agent.id) if answers.is_admitted(nudge.decision) else ""
        found = {"agent": agent, "nudge": nudge, "is_new": is_new, "repository": repository}
        show({**found, "not_used": not_used, "warning": warning})
        self._tell(agent, nudge, is_new=is_new)
        if not_used:
            names = ", ".join(_WORDS.get(name, name) for name in not_used)
            self.out.line(cell(f"not used, as they differ from the first time: {names}", "yellow"), indent=2)
            self.out.line(cell("with another --key it is an issue of its own", "dim"), indent=2)
        if warning:
            self.out.line(cell(f"{warning}, unless the worker of the queue `executions` has it", "yellow"), indent=2)
        if options["wait"] is not None:
            return waiting.wait(self.out, agent, seconds=options["wait"] or None)
        refused = nudge.decision is not None and nudge.decision.answer == Answer.REFUSED
        return NOT_OK if refused and is_new else OK

    def _tell(self, agent: AgentView, nudge: NudgeView, *, is_new: bool) -> None:
        self.out.line(cell(agent.issue, "bold"), "  ", cell(agent.title, limit=100))
        if not is_new:
            again = answers.is_admitted(nudge.decision)
            known = "which waited, and starts now" if again else "nothing was started twice"
            self.out.line(cell(f"already known as {agent.issue}, {known}; it is {agent.state}", "yellow"), indent=2)
        self.out.line(cell(f"agent {agent.adapter or 'as the policy says'}, branch {agent.branch}"), indent=2)
        if is_new or answers.is_admitted(nudge.decision):
            self.out.line(answers.answer(nudge.decision), indent=2)
        if answers.is_admitted(nudge.decision) and not public_api.overview(limit=1).has_working_host:
            self.out.line(cell(answers.NO_HOST, "yellow"), indent=2)
        self.out.line(cell(f"follow it: manage.py tail -f {agent.issue}", "dim"), indent=2)
