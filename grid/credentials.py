"""A credential for one git command, out of sight of the agents on this machine.

They run under our user id as a rule, and may read any process's arguments and environment, any file of ours, and any pipe
through `/proc/PID/fd`. So the credential waits in a socket, which cannot be opened through there, and git's credential
helper reads it once: whoever asks later finds the socket empty. What is left for a moment lies in the memory of git's own
processes. Only the server that the credential is meant for gets it, whatever it redirects to.
"""

from __future__ import annotations

import base64
import re
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from grid import git
from grid.conf import conf
from grid.git import Command, Completed
from grid.public_errors import SourceUnavailableError, WorkspaceError
from grid.public_types import Credential

_MAX_CHARACTERS = 4000
_STRUCK_OUT = "[credential]"
# Answers `get` and ignores `store` and `erase`, which tell a helper what became of a credential.
_HELPER = "import os,sys;sys.argv[2:]==['get'] and os.write(1,os.read(int(sys.argv[1]),65536))"
_REFUSED = re.compile(
    r"authentication failed|could not read username|invalid username or|http basic: access denied"
    r"|requested url returned error: 40[13]|permission to \S+ denied",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What a command needs to get at the credential."""

    config: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


_AWAY = re.compile(
    r"could not resolve|failed to connect|couldn't connect|connection (reset|refused|timed out)|operation timed out"
    r"|requested url returned error: (5\d\d|429)|hung up unexpectedly|early eof|empty reply from server",
    re.IGNORECASE,
)


def execute(
    command: Command, *, location: str, credential: Credential | None, timeout: float, past: _Runner | None = None
) -> Completed:
    """Run a command that talks to `location`, with a credential of its own; it is struck out of what the command says.

    Args:
        past: Runs each attempt, where one may be repeated; each gets the credential anew.

    Raises:
        SourceUnavailableError: The server does not answer, or not now.
        WorkspaceError: As for `git.execute`; no HTTP URL, or one that holds a credential; the server refuses this one.
    """

    def attempt() -> Completed:
        with _offered(credential, location) as offer:
            prepared = replace(command, config=offer.config, descriptors=offer.descriptors)
            return _cleaned(git.execute(prepared, timeout=timeout), credential)

    completed = past(attempt) if past is not None else attempt()
    if not completed.ok and _REFUSED.search(completed.errors):
        raise WorkspaceError(f"{location} {_in_words(credential)}: {completed.errors.strip()[-500:]}")
    if not completed.ok and _AWAY.search(completed.errors):
        raise SourceUnavailableError(f"{location} does not answer: {completed.errors.strip()[-500:]}")
    return completed


type _Runner = Callable[[Callable[[], Completed]], Completed]


@contextmanager
def _offered(credential: Credential | None, location: str) -> Iterator[_Offer]:
    """Hold the credential ready for one command."""
    if credential is None:
        yield _Offer()
        return
    data = _message(credential)
    server = _server(location)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        helper = f"!{shlex.quote(conf().python)} -I -S -c {shlex.quote(_HELPER)} {theirs.fileno()}"
        # The empty value forgets every helper named before; the other one is asked for this server only.
        config = ("credential.helper=", f"credential.{server}.helper={helper}")
        yield _Offer(config=config, descriptors=(theirs.fileno(),))


def _message(credential: Credential) -> bytes:
    for text in (credential.username, credential.password):
        if not 0 < len(text) <= _MAX_CHARACTERS or not text.isascii() or not text.isprintable():
            raise WorkspaceError("the credential for git is empty, too long or has characters that none has")
    return f"username={credential.username}\npassword={credential.password}\n".encode()


def _server(location: str) -> str:
    parts = urlsplit(location)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WorkspaceError(f"a credential goes with an https URL, not with {location[:200]!r}; correct the source")
    if "@" in parts.netloc:
        raise WorkspaceError(f"the URL of {parts.hostname} holds a credential itself; remove it from the source")
    return f"{parts.scheme}://{parts.netloc}"


def _cleaned(completed: Completed, credential: Credential | None) -> Completed:
    """The same with nothing of the credential in it: a server may repeat what it was sent."""
    if credential is None:
        return completed
    password = credential.password
    pair = base64.b64encode(f"{credential.username}:{password}".encode()).decode()
    output, errors = completed.output, completed.errors
    for secret in (pair, quote(password, safe=""), password):
        output, errors = output.replace(secret, _STRUCK_OUT), errors.replace(secret, _STRUCK_OUT)
    return replace(completed, output=output, errors=errors)


def _in_words(credential: Credential | None) -> str:
    if credential is None:
        return "wants a credential, and none is known for it"
    return (
        f"refuses the credential of {credential.username}; see that it is valid and may read and write the code there"
    )
