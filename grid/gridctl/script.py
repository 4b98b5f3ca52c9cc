"""gridctl - the grid's tools from a shell. Standard library only: it is copied into a run and runs alone.

    gridctl tools                                    what there is
    gridctl tools NAME                               its arguments
    gridctl NAME --key value --other 3               one call; values are read as JSON where they are JSON, else as text
    gridctl call NAME '{"key": "value"}'             the same with all arguments as JSON; '-' reads them from standard input
    gridctl guard [--root FOLDER]                    for hooks of coding agents: a call of a file tool as JSON on standard input;
                                                     takes the locks of its files, exit code 2 says that it may not be made

The answer is JSON on standard output. Exit codes: 0 done; 1 refused, the reason is on standard error; 2 used wrongly;
3 this run may not call (its token is missing, wrong or old); 4 the grid does not answer.
"""

import http.client
import json
import os
import sys
import urllib.parse
from pathlib import Path
from typing import Any, TextIO

OK, REFUSED, USAGE, NO_ENTRY, NO_ANSWER = 0, 1, 2, 3, 4
URL_ENV, TOKEN_ENV = "AGENTGRID_URL", "AGENTGRID_TOKEN"
PATH = "/api/agent/v1/tools"
PATH_KEYS = ("file_path", "notebook_path", "path")
"""Under which file tools of coding agents name what they change."""
TIMEOUT_SECONDS = 60


class GridctlError(Exception):
    """Said on standard error; carries the exit code, and the status of the answer where there was one."""

    def __init__(self, code: int, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def main(argv: list[str]) -> int:
    """Carry out one command line; returns the exit code."""
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            _say(__doc__)
            return OK if argv else USAGE
        if argv[0] == "tools":
            return _tools(argv[1:])
        if argv[0] == "guard":
            return _guard(argv[1:])
        if argv[0] == "call":
            return _call(*_call_arguments(argv[1:]))
        return _call(argv[0], _options(argv[1:]))
    except GridctlError as error:
        _say(f"gridctl: {error}", to=sys.stderr)
        return error.code
    except BrokenPipeError:
        return REFUSED


def _say(text: str | None, to: TextIO | None = None) -> None:
    (to or sys.stdout).write(f"{text}\n")


def _tools(argv: list[str]) -> int:
    tools = _request("GET", PATH)["tools"]
    if not argv:
        for tool in tools:
            _say(f"{tool['name']:18} {tool['description'].splitlines()[0]}")
        return OK
    found = [tool for tool in tools if tool["name"] == argv[0]]
    if not found:
        raise GridctlError(USAGE, f"there is no tool {argv[0]!r} for you; 'gridctl tools' lists them")
    _say(json.dumps(found[0], indent=2, ensure_ascii=False))
    return OK


def _call(name: str, arguments: dict[str, Any]) -> int:
    answer = _request("POST", f"{PATH}/{urllib.parse.quote(name, safe='')}", arguments)
    for note in answer.get("notes", []):
        _say(f"\n{note}\n", to=sys.stderr)
    _say(json.dumps(answer["result"], indent=2, ensure_ascii=False))
    return OK


def _call_arguments(argv: list[str]) -> tuple[str, dict[str, Any]]:
    if not 1 <= len(argv) <= 2:
        raise GridctlError(USAGE, "call wants a name and at most one JSON object: gridctl call NAME '{…}'")
    text = argv[1] if len(argv) == 2 else "{}"
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise GridctlError(USAGE, f"the arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise GridctlError(USAGE, 'the arguments must be a JSON object: {"key": "value"}')
    return argv[0], value


def _options(argv: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise GridctlError(USAGE, f"{word!r} belongs to nothing; write --key value")
        key, has_value, text = word[2:].partition("=")
        if not has_value:
            if not words:
                raise GridctlError(USAGE, f"--{key} needs a value")
            text = words.pop(0)
        name = key.replace("-", "_")
        if name in found:
            raise GridctlError(USAGE, f"--{key} is there twice; give a list as JSON: --{key} '[…]'")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _guard(argv: list[str]) -> int:
    try:
        return _guarded(argv)
    except Exception as error:  # with any other exit code the call would be let through
        _say(f"whether this file is locked cannot be told, so it must not be changed now: {error!r}", to=sys.stderr)
        return USAGE


def _guarded(argv: list[str]) -> int:
    root = str(_options(argv).get("root") or Path.cwd())
    try:
        said = json.loads(sys.stdin.read())
    except ValueError as error:
        raise GridctlError(USAGE, f"standard input is not JSON: {error}") from error
    given = said.get("tool_input") if isinstance(said, dict) else None
    here = said.get("cwd") if isinstance(said, dict) else None
    for key in PATH_KEYS:
        path = given.get(key) if isinstance(given, dict) else None
        if isinstance(path, str) and path:
            why = ask_for(inside(root, str(Path(here if isinstance(here, str) else root, path))))
            if why:
                _say(why, to=sys.stderr)
                return USAGE  # what such hooks take for "blocked, because"
    return OK


def inside(root: str, path: str) -> str:
    """A path relative to a folder, every link followed; empty when it leads out of it or is none of the repository's files."""
    if "\0" in path:
        return ""
    # Not `Path.resolve`, which raises for links that go in a circle.
    base, real = Path(os.path.realpath(root)), Path(os.path.realpath(Path(root, path)))
    if base not in real.parents:
        return ""
    relative = real.relative_to(base)
    return "" if relative.parts[0].lower() in (".git", ".agentgrid") else str(relative)


def ask_for(path: str) -> str:
    """Take the write lock of a file; returns why it may not be changed now, or nothing. Without the tool nothing is asked."""
    if not path:
        return ""
    plain = "".join(f"\\{character}" if character in "*?[]{}\\" else character for character in path)
    try:
        answer = _request(
            "POST", f"{PATH}/acquire_lock", {"path": plain, "reason": "a file tool is about to change it"}
        )
    except GridctlError as error:
        if error.status == 404:
            return ""
        return f"{path} cannot be locked, so it must not be changed now: {error}"
    result = answer.get("result")
    if not isinstance(result, dict) or result.get("granted") or not result.get("enforced"):
        return ""
    first = (result.get("held_by") or [{}])[0]
    thread = f" Conflict {result['conflict']} about it is being decided." if result.get("conflict") else ""
    return f"{path} is locked by {first.get('by', 'another agent')}: {result.get('advice', 'work on something else')}.{thread}"


def _request(method: str, path: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    url = urllib.parse.urlsplit(os.environ.get(URL_ENV, ""))  # noqa: TID251 - a program of its own, in the agent's environment
    token = os.environ.get(TOKEN_ENV, "")  # noqa: TID251
    if not url.hostname or not token:
        raise GridctlError(NO_ENTRY, f"{URL_ENV} and {TOKEN_ENV} are not set: this run has no tools of the grid")
    make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = make(url.hostname, url.port, timeout=TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json"}
    body = None if arguments is None else json.dumps(arguments).encode()
    try:
        connection.request(method, url.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise GridctlError(NO_ANSWER, f"{url.hostname} does not answer: {error}") from error
    finally:
        connection.close()
    return _read(answer.status, data)


def _read(status: int, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise GridctlError(NO_ANSWER, f"an answer that is not the grid's, with status {status}")
    if status == 200:
        return value
    for note in value.get("notes") or []:
        _say(f"\n{note}\n", to=sys.stderr)
    code = {401: NO_ENTRY, 429: REFUSED}.get(status, NO_ANSWER if status >= 500 else REFUSED)
    raise GridctlError(code, str(value.get("error") or f"refused with status {status}"), status=status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
