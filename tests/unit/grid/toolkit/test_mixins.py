"""Each shipped mixin: what it lets through, what it refuses, and that its options are checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from grid.toolkit import calling
from grid.toolkit.calling import Hook
from grid.toolkit.errors import DefinitionError, ToolRefusedError, ToolUnavailableError
from grid.toolkit.mixins import Blocker, NoLocks, Services, build, build_all, mixin_names
from tests.unit.grid.toolkit.calls import Clock, a_tool, run


def failing(times: int, error: Callable[[], Exception]) -> tuple[Callable[..., str], list[int]]:
    """A function that fails so often and then answers; its calls so far."""
    calls: list[int] = []

    def answer(context: Any, path: str = "a") -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error()
        return "at last"

    return answer, calls


@pytest.mark.parametrize("ok", [True, False])
def test_trace_records_name_duration_and_success(ok: bool) -> None:
    clock = Clock()
    records: list[Any] = []

    async def slow(context: Any, path: str = "a") -> str:
        await clock.sleep(0.25)
        if not ok:
            raise ToolRefusedError("no")
        return "yes"

    hook = build("trace", {}, clock.services(record=records.append))
    try:
        run(a_tool(slow), hook)
    except ToolRefusedError:
        assert not ok
    assert records == [{"name": "read_file", "id": "c1", "ok": ok, "ms": 250}]


def test_retry_waits_longer_each_time_and_gives_the_result() -> None:
    clock = Clock()
    function, calls = failing(2, lambda: ToolUnavailableError("later"))

    assert run(a_tool(function), build("retry", {"attempts": 3, "wait_seconds": 0.5}, clock.services())) == "at last"
    assert (len(calls), clock.slept) == (3, [0.5, 1.0])


def test_retry_gives_up_with_the_last_error() -> None:
    function, calls = failing(5, lambda: TimeoutError("slow"))
    with pytest.raises(TimeoutError):
        run(a_tool(function), build("retry", {"attempts": 3, "wait_seconds": 0}))
    assert len(calls) == 3


@pytest.mark.parametrize("error", [ToolRefusedError("no"), ValueError("our own fault")])
def test_retry_takes_a_refusal_and_a_fault_as_final(error: Exception) -> None:
    function, calls = failing(5, lambda: error)
    with pytest.raises(type(error)):
        run(a_tool(function), build("retry", {"wait_seconds": 0}))
    assert len(calls) == 1


@pytest.mark.parametrize("effect", ["write", "execute", "grid"])
def test_retry_leaves_what_has_effects_alone_unless_named(effect: str) -> None:
    function, calls = failing(1, lambda: ToolUnavailableError("later"))
    tool = a_tool(function, effects=[effect])
    with pytest.raises(ToolUnavailableError):
        run(tool, build("retry", {"wait_seconds": 0}))
    assert len(calls) == 1

    function, calls = failing(1, lambda: ToolUnavailableError("later"))
    assert (
        run(a_tool(function, effects=[effect]), build("retry", {"wait_seconds": 0, "also": ["read_file"]})) == "at last"
    )


def most_at_once(options: dict[str, Any], names: Sequence[str]) -> int:
    """How many calls of these tools ran side by side."""
    running = peak = 0

    async def busy(context: Any, path: str = "a") -> str:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return "done"

    async def all_of_them() -> list[Any]:
        hook = build("concurrency", options)
        tools = [a_tool(busy, name=name) for name in names]
        calls = (calling.call(tool, {}, context=None, hooks=[hook]) for tool in tools)
        return await asyncio.wait_for(asyncio.gather(*calls), 5)

    assert asyncio.run(all_of_them()) == ["done"] * len(names)
    return peak


def test_concurrency_limits_all_tools_or_one() -> None:
    assert most_at_once({"limit": 2}, ["a"] * 6) == 2
    assert most_at_once({"tools": {"a": 1}}, ["a"] * 4) == 1
    assert most_at_once({"tools": {"a": 1}}, ["a", "a", "b", "c"]) == 3
    assert most_at_once({"limit": 4, "tools": {"a": 1}}, ["a", "a", "b", "b", "b", "b"]) == 4


def test_concurrency_gives_places_back_after_failures() -> None:
    hook = build("concurrency", {"limit": 1})
    function, _ = failing(1, lambda: ToolRefusedError("no"))

    async def twice() -> str:
        with pytest.raises(ToolRefusedError):
            await calling.call(a_tool(function), {}, context=None, hooks=[hook])
        return str(await asyncio.wait_for(calling.call(a_tool(function), {}, context=None, hooks=[hook]), 2))

    assert asyncio.run(twice()) == "at last"


DENIED = [
    "git push",
    "git push origin main",
    "cd /tmp && git push",
    "true; git   push -f",
    "GIT_DIR=x  git push",
    "echo $(git push)",
    "a | git push",
    "(git push)",
    "sleep 1 &\ngit push",
]


@pytest.mark.parametrize("command", DENIED)
def test_a_denied_command_is_found_anywhere_in_a_line(command: str) -> None:
    hook = build("denylist", {"arguments": {"run_command": ["git push*"]}})
    tool = a_tool(_ran, name="run_command", effects=["execute"])
    with pytest.raises(ToolRefusedError, match=r"run_command: 'git push\*' is not allowed"):
        run(tool, hook, path=command)


def _ran(context: Any, path: str) -> str:
    return f"ran {path}"


def test_other_commands_and_tools_pass_the_denylist() -> None:
    hook = build("denylist", {"tools": ["nudge"], "arguments": {"run_command": ["git push*"]}})
    for command in ("git status", "echo 'no pushing'", "git pull"):
        assert run(a_tool(_ran, name="run_command", effects=["execute"]), hook, path=command) == f"ran {command}"
    assert run(a_tool(_ran), hook, path="git push") == "ran git push"
    with pytest.raises(ToolRefusedError, match="nudge is not allowed"):
        run(a_tool(_ran, name="nudge"), hook, path="x")


def test_a_denied_path_is_found_however_it_is_written() -> None:
    hook = build("denylist", {"arguments": {"write_file": [".github/*", "secrets"]}})
    tool = a_tool(_ran, name="write_file", effects=["write"])
    for path in (".github/workflows/a.yml", "./.github/x", "src/../.github/x", "a/../secrets", ".//secrets"):
        with pytest.raises(ToolRefusedError):
            run(tool, hook, path=path)
    assert run(tool, hook, path="src/.github") == "ran src/.github"


def test_a_command_too_long_to_look_at_is_refused() -> None:
    hook = build("denylist", {"arguments": {"run_command": ["git push*"]}})
    with pytest.raises(ToolRefusedError, match="more than 20000 characters"):
        run(a_tool(_ran, name="run_command", effects=["execute"]), hook, path="x" * 20_000 + "; git push")


class Leases(NoLocks):
    """Locks of one agent, where somebody else holds some paths."""

    def __init__(self, *taken: str) -> None:
        self.taken, self.held = taken, list[str]()

    async def acquire(self, path: str) -> Blocker | None:
        if path in self.taken:
            return Blocker(holder='agent 12 ("Add the parser")', until="12:31 UTC")
        if path not in self.held:
            self.held.append(path)
        return None

    async def release(self, path: str) -> None:
        self.held.remove(path)


def test_file_lock_says_who_holds_a_path() -> None:
    locks = Leases("src/a.py")
    hook = build("file_lock", {}, Services(locks=locks))
    with pytest.raises(ToolRefusedError, match=r'^src/a.py is locked by agent 12 \("Add the parser"\) until 12:31 UTC'):
        run(a_tool(_ran, effects=["write"]), hook, path="./src//a.py")
    assert run(a_tool(_ran, effects=["read"]), hook, path="src/a.py") == "ran src/a.py"


def test_file_lock_keeps_what_was_written_and_gives_back_what_was_not() -> None:
    locks = Leases()
    hook = build("file_lock", {}, Services(locks=locks))
    refusing, _ = failing(9, lambda: ToolRefusedError("no such text"))
    run(a_tool(_ran, effects=["write"]), hook, path="written")
    for path in ("written", "other"):
        with pytest.raises(ToolRefusedError, match="no such text"):
            run(a_tool(refusing, effects=["write"]), hook, path=path)
    assert locks.held == ["written"]

    brief = build("file_lock", {"keep": False}, Services(locks=locks))
    run(a_tool(_ran, effects=["write"]), brief, path="brief")
    assert locks.held == ["written"]


def test_without_a_lock_service_everything_can_be_written() -> None:
    assert run(a_tool(_ran, effects=["write"]), build("file_lock"), path="a") == "ran a"


def test_budget_warns_once_and_then_refuses_all_but_the_report() -> None:
    hook = build("budget", {"tool_calls": 5})
    tool = a_tool(_ran)
    results = [run(tool, hook, path=str(n)) for n in range(5)]
    assert results[:3] == ["ran 0", "ran 1", "ran 2"]
    assert results[3] == "ran 3\n\n[budget: 4 of 5 tool calls are used; come to an end and call finish]"
    assert results[4] == "ran 4"
    with pytest.raises(ToolRefusedError, match="the budget of 5 tool calls is used up; call finish now"):
        run(tool, hook, path="x")
    assert run(a_tool(_ran, name="finish"), hook, path="x") == "ran x"


def test_budget_of_seconds_counts_from_the_first_call() -> None:
    clock = Clock()
    hook = build("budget", {"seconds": 10}, clock.services())
    clock.now += 1_000
    assert run(a_tool(_ran), hook, path="x") == "ran x"
    clock.now += 9
    assert "9 of 10 seconds are used" in run(a_tool(_ran), hook, path="x")
    clock.now += 1
    with pytest.raises(ToolRefusedError, match="10 seconds is used up"):
        run(a_tool(_ran), hook, path="x")


def test_a_warning_waits_for_a_result_that_has_room() -> None:
    hook = build("budget", {"tool_calls": 2, "warn_percent": 1})

    def listing(context: Any, path: str = "a") -> list[str]:
        return ["a"]

    def mapping(context: Any, path: str = "a") -> dict[str, int]:
        return {"n": 1}

    assert run(a_tool(listing), hook) == ["a"]
    assert run(a_tool(mapping), hook) == {
        "n": 1,
        "budget": "2 of 2 tool calls are used; come to an end and call finish",
    }


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("tracee", {}, "unknown mixin 'tracee'; did you mean 'trace'?"),
        ("retry", {"attempt": 2}, "mixin 'retry': unknown option 'attempt'; did you mean 'attempts'?"),
        ("retry", {"attempts": 0}, "mixin 'retry': attempts: Input should be greater than or equal to 1"),
        ("retry", {"attempts": "3"}, "mixin 'retry': attempts: Input should be a valid integer"),
        ("trace", {"x": 1}, "mixin 'trace': unknown option 'x'; there are: none"),
        ("concurrency", {}, "mixin 'concurrency': give 'limit'"),
        ("denylist", {}, "mixin 'denylist': give 'tools'"),
        ("denylist", {"arguments": {"run_command": []}}, "mixin 'denylist': arguments.run_command: "),
        ("budget", {}, "mixin 'budget': give 'tool_calls'"),
        ("budget", {"seconds": float("nan")}, "mixin 'budget': seconds: "),
    ],
)
def test_wrong_options_are_refused_with_the_fix(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build(name, options)
    assert str(caught.value).startswith(words)


def test_every_mixin_is_built_from_the_entries_of_a_profile_in_their_order() -> None:
    needed = {"concurrency": {"limit": 1}, "denylist": {"tools": ["nudge"]}, "budget": {"seconds": 5}}
    entries: list[str | Mapping[str, Any]] = [{name: needed.get(name)} for name in mixin_names()]

    hooks = build_all([*entries, "trace"])

    assert [hook.name for hook in hooks] == [*mixin_names(), "trace"]
    assert all(isinstance(hook, Hook) for hook in hooks)
