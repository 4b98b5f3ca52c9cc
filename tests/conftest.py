"""What every test gets: an environment without ours, no way out of this machine, a state folder of its own."""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from agentgrid import celery_app

LONG = (
    "tests/acceptance/",
    "tests/integration/coordinator/test_steering",
    "tests/integration/bench/test_perf_command.py",
    "tests/integration/coordinator/test_commands_process.py",
    "tests/integration/agentgrid/test_stack.py",
    "tests/integration/tracker/test_github_faults.py",
    "tests/integration/coordinator/test_webhook_orders.py",
    "tests/integration/coordinator/test_changes",
    "tests/integration/coordinator/test_plan",
    "tests/contracts/test_agent_adapters.py",
    "tests/integration/grid/test_builtin_agent",
    "tests/integration/coordinator/test_commands_acts.py",
    "tests/integration/tracker/test_github_session.py",
    "tests/integration/tracker/test_github_tokens.py",
)
"""What takes longest, in the order in which it is begun: of several processes none is to be left with it alone."""
pytest_plugins = ["tests.services.servers", "tests.services.stacks", "tests.services.databases"]
OURS = re.compile(r"^(AGENTGRID(?!_GITHUB_LIVE)|GITHUB)_")
"""The operator's; what asks for the live test on GitHub is for the tests themselves."""
_INTERNET = (socket.AF_INET, socket.AF_INET6)
ROOT = Path(__file__).resolve().parent.parent


def _forget_the_operators_environment() -> None:
    """Tests see the defaults, whatever the shell or .env says. Runs on import: fixtures would be too late.

    DATABASE_URL of the shell stays: it says which database the tests run against.
    """
    os.environ["AGENTGRID_READ_DOTENV"] = (
        "False"  # an xdist worker inherits it so, and nothing of the operator's with it
    )
    before = dict(os.environ)
    for name in set(os.environ) - {"AGENTGRID_READ_DOTENV"}:
        if OURS.match(name):
            del os.environ[name]
    if (ROOT / ".env").is_file():
        for line in (ROOT / ".env").read_text().splitlines():
            name, _, value = line.partition("=")
            if os.environ.get(name.strip()) == value.strip().strip("'\""):
                del os.environ[name.strip()]
    polluted = before != dict(os.environ)
    if polluted:  # pytest-django has read the settings before any conftest is imported
        fresh = importlib.reload(sys.modules["agentgrid.settings"])
        databases = django_settings.DATABASES
        for name in filter(str.isupper, dir(fresh)):
            setattr(django_settings, name, getattr(fresh, name))
        databases.clear()  # django.db.connections holds on to this very dictionary
        databases.update(connections.configure_settings(fresh.DATABASES))
        django_settings.DATABASES = databases


_forget_the_operators_environment()
# New examples at each run: many runs find more than one long one. HYPOTHESIS_PROFILE=long has a test search for longer.
hypothesis_settings.register_profile("quick", max_examples=40, deadline=None)
hypothesis_settings.register_profile("long", max_examples=1_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure() -> None:
    """Take Ctrl-C again where it is ignored, as in what a shell runs in the background: our children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # pytest-django sorts, too: stories, which ask for no database here, would come last
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; pytest-xdist hands files out in this order (`--no-loadscope-reorder`)."""

    def rank(item: pytest.Item) -> int:
        return next((place for place, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def state_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    """Where this test's repositories, runs and broker files go; outside tmp_path, which stays the test's own."""
    folder = tmp_path_factory.mktemp("state")
    settings.STATE_DIR = settings.GRID_STATE_DIR = folder
    settings.GRID_SANDBOX = "process"  # tests of sandboxes ask for one
    settings.EVENTS_ARE_CHECKED = request.node.get_closest_marker("made_up_events") is None
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_way_out() -> Iterator[None]:
    """Refuse connections beyond loopback in the test process; what tests need runs on this machine."""

    is_live = os.environ.get("AGENTGRID_GITHUB_LIVE") == "1"

    def guarded(original: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in _INTERNET and not _is_loopback(str(address[0])) and not is_live:
                raise RuntimeError(f"A test wanted to connect to {address}: start what it needs on 127.0.0.1")
            return original(self, address)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True, scope="session")
def passwords_are_hashed_quickly() -> None:
    """People of tests need no protection: the hash for real ones takes a third of a second for each of them."""
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True, scope="session")
def messages_stay_here() -> None:
    """Wake-ups sent by code under test go to memory; whoever needs them delivered starts a stack."""
    celery_app.conf.update(broker_url="memory://", broker_transport_options={})
    # Loaded now, with its loggers: pytest walks over all loggers at each test, and a thread that adds some would trip it.
    with celery_app.connection_for_write() as connection:
        assert connection.default_channel is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
