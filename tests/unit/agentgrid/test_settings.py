"""The settings and their description agree; time never travels in a message."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("agentgrid", "bench", "coordinator", "grid", "statements", "tracker")
DELAYED = re.compile(r"\b(eta|countdown|expires)\s*=|\.retry\(")
PLACEHOLDERS = re.compile(r"\b(?:env\.\w+|environ\.get)\(\s*\"([A-Z0-9_]+)\"")


def variables_read() -> set[str]:
    tree = ast.parse((ROOT / "agentgrid/settings.py").read_text())
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def variables_described() -> list[str]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_every_variable_is_described_once() -> None:
    assert sorted(variables_described()) == sorted(variables_read())


def test_a_copy_of_the_example_changes_nothing() -> None:
    def settings_under(environment: dict[str, str]) -> str:
        program = (
            "import agentgrid.settings as s, json;"
            "print(json.dumps({n: repr(getattr(s, n)) for n in dir(s) if n.isupper()}, sort_keys=True))"
        )
        environment = environment | {"AGENTGRID_READ_DOTENV": "False"}
        return subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout

    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"[A-Z]\w*=", line)]
    assert settings_under(dict(line.split("=", 1) for line in lines)) == settings_under({})


def test_prices_are_read_as_written_or_refused_with_an_example() -> None:
    program = """
import os, sys
from django.core.exceptions import ImproperlyConfigured
import agentgrid.settings as settings
assert settings.GATEWAY_PRICES == {"openai:gpt-9": (2.5, 20.0), "openai:local-*": (0.0, 0.0)}, settings.GATEWAY_PRICES
for wrong in ("gpt-9=1/2", "openai:gpt-9=1", "openai:gpt-9=-1/2", "openai:*-9=1/2", "openai:gpt-9=1/2/3", "openai:g=1e3/2"):
    os.environ["GATEWAY_PRICES"] = wrong
    sys.modules.pop("agentgrid.settings", None)
    try:
        import agentgrid.settings
    except ImproperlyConfigured as error:
        assert "provider:model=" in str(error), error
    else:
        raise AssertionError(wrong)
"""
    environment = {"AGENTGRID_READ_DOTENV": "False", "GATEWAY_PRICES": "openai:gpt-9=2.5/20, openai:local-*=0/0"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)


def test_no_message_is_delayed() -> None:
    """A delay longer than the broker's visibility timeout would run a task several times; times live in columns."""
    offenders = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if DELAYED.search(line) and "celery" in path.read_text()
    ]
    assert offenders == []


def test_only_the_settings_read_the_environment_by_name() -> None:
    names = {name for path in (ROOT / "agentgrid").glob("*.py") for name in PLACEHOLDERS.findall(path.read_text())}
    assert names <= variables_read()
