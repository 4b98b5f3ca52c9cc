"""Another database than ours, for a while."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator

import environ
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.db.models import Model

from grid.events.models_of import model_of
from grid.events.tables import REGISTER
from grid.models import Event
from grid.public_errors import GridError

_ENGINES = ("django.db.backends.sqlite3", "django.db.backends.postgresql")


class ReplayError(GridError):
    """A log cannot be replayed; the message says why, and what to do."""


@contextlib.contextmanager
def opened(url: str, alias: str = "replay") -> Iterator[str]:
    """Connect to a database under an alias, for as long as the block runs.

    Args:
        url: As in DATABASE_URL: `sqlite:////tmp/again.sqlite3`, `postgres://…`.

    Raises:
        ReplayError: The URL is none, or is that of our own database.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # we say it in words of our own
            config = environ.Env.db_url_config(url)
    except (ImproperlyConfigured, ValueError) as error:
        raise ReplayError(f"{_shown(url)!r} is no address of a database: {error}") from error
    if config.get("ENGINE") not in _ENGINES:
        raise ReplayError(
            f"{_shown(url)!r} is no address of a database that we work with; sqlite:////tmp/again.sqlite3 is one, and "
            "postgres://USER:PASSWORD@HOST/NAME"
        )
    ours = connections["default"].settings_dict
    if all(str(config.get(name, "")) == str(ours[name]) for name in ("NAME", "HOST", "PORT")):
        raise ReplayError("that is our own database; name another, empty one")
    configured = connections.configure_settings({"default": dict(connections.databases["default"]), alias: config})
    connections.databases[alias] = configured[alias]
    try:
        try:
            with connections[alias].wrap_database_errors:
                connections[alias].connect()
        except DatabaseError as error:
            raise ReplayError(f"the database cannot be used: {str(error).splitlines()[0][:200]}") from error
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


def _shown(url: str) -> str:
    """Without who comes in, and by which password."""
    return re.sub(r"//[^/]*@", "//…@", url)[:100]


def require_empty(alias: str) -> None:
    """Raises ReplayError unless the database has our tables, and nothing in them."""
    try:
        for model in tables():
            if model._default_manager.using(alias).exists():
                raise ReplayError(f"{model._meta.db_table} has rows; a log is replayed into an empty database only")
    except DatabaseError as error:
        first = str(error).splitlines()[0][:150]
        raise ReplayError(f"the database has not our tables ({first}); run `migrate` on it first") from error


def tables() -> list[type[Model]]:
    """Every table that a replay writes."""
    return [Event, *(model_of(table) for table in (*REGISTER.base, *(set(REGISTER.state) - set(REGISTER.base))))]
