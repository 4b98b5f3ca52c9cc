"""Every command of ours shows by --help how it is used, and what its exit codes mean."""

from __future__ import annotations

import pytest
from django.core.management import get_commands, load_command_class

OURS = ("agentgrid", "bench", "coordinator", "grid", "tracker")
COMMANDS = sorted((app, name) for name, app in get_commands().items() if app in OURS)


@pytest.mark.parametrize(("app", "name"), COMMANDS)
def test_help_has_examples_exit_codes_and_a_form_for_programs(app: str, name: str) -> None:
    said = load_command_class(app, name).create_parser("manage.py", name).format_help()
    assert f"examples:\n  manage.py {name}" in said
    assert "exit codes: 0 " in said
    assert "--json" in said


def test_the_help_of_submit_names_every_agent() -> None:
    said = " ".join(
        load_command_class("coordinator", "submit").create_parser("manage.py", "submit").format_help().split()
    )
    assert "acp, builtin, claude, codex, command, gemini, opencode; left out" in said
