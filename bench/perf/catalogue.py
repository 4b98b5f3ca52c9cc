"""Which benchmarks there are, and what each needs. Pure; a new one is an entry here and a module beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.perf.figures import PerfError


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One measurement on an installation of its own."""

    name: str
    module: str
    """Of `bench.perf`; its `measure(params)` runs inside the installation and returns figures."""
    figures: tuple[str, ...]
    """Names of the figures it gives, also when it is skipped."""
    unit: str
    what: str
    """One line for people."""
    database: str = ""
    """`sqlite` or `postgres` where the benchmark is about it; empty leaves the choice to the operator."""
    broker: str = "filesystem"
    workers: tuple[str, ...] = ()
    slots: int = 4
    full: Mapping[str, int | str] = field(default_factory=dict)
    """Parameters of a real measurement."""
    quick: Mapping[str, int | str] = field(default_factory=dict)
    """Parameters that only show that everything works."""
    seconds: int = 300
    """The measurement is given up after this time."""


def _dispatch(broker: str) -> Benchmark:
    name = f"dispatch.{broker}"
    return Benchmark(
        name=name,
        module="dispatching",
        figures=(f"{name}.p50", f"{name}.p95"),
        unit="ms",
        what="from a nudge's commit to the agent's first own instruction, beside a task that does nothing",
        broker=broker,
        workers=("control", "executions"),  # without beat: nothing but our own nudges may start an agent
        full={"samples": 30, "warm_up": 3},
        quick={"samples": 3, "warm_up": 1},
    )


def _resume_query(database: str) -> Benchmark:
    name = f"resume.query.{database}"
    return Benchmark(
        name=name,
        module="resume_query",
        figures=(name,),
        unit="ms",
        what="the query for parents that are due, with a million agents, beside ten thousand",
        database=database,
        full={"few": 10_000, "many": 1_000_000, "due": 100, "samples": 50},
        quick={"few": 1_000, "many": 10_000, "due": 100, "samples": 10},
    )


def _ingest(database: str) -> Benchmark:
    name = f"events.ingest.{database}"
    return Benchmark(
        name=name,
        module="ingest",
        figures=(name,),
        unit="lines/s",
        what="an agent's lines from spool file to rows, parsing included, beside bare parsing and inserting",
        database=database,
        full={"lines": 30_000, "rounds": 5},
        quick={"lines": 600, "rounds": 1},
    )


def _readers(database: str) -> Benchmark:
    name = f"events.readers.{database}"
    return Benchmark(
        name=name,
        module="readers",
        figures=(f"{name}.missed", f"{name}.doubled", f"{name}.rate"),
        unit="events",
        what="readers of the whole log by cursor beside slow writers: missed, seen twice",
        database=database,
        full={"writers": 6, "readers": 4, "events": 500},
        quick={"writers": 3, "readers": 2, "events": 20},
    )


def _conditional(of: str, name: str, what: str, database: str) -> Benchmark:
    return Benchmark(
        name=f"{name}.{database}",
        module="conditional",
        figures=(f"{name}.{database}",),
        unit="acts/s",
        what=f"{what}, beside the bare conditional UPDATE",
        database=database,
        full={"of": of, "pairs": 1_000, "rounds": 5},
        quick={"of": of, "pairs": 20, "rounds": 1},
    )


_PAIRS = (
    ("locks", "locks.acquire_release", "locks taken and given back"),
    ("budget", "budget.reserve_settle", "a run set aside on a path of four envelopes and settled"),
)

BENCHMARKS = (
    _dispatch("filesystem"),
    _dispatch("sqs"),
    Benchmark(
        name="throughput.commit",
        module="throughput",
        figures=("throughput.commit",),
        unit="executions/s",
        what="agents that commit one file, from the first nudge to the last applied outcome, beside clone and spawn",
        workers=("control", "executions", "beat"),
        slots=8,
        full={"agents": 100, "warm_up": 4, "floor": 100},
        quick={"agents": 6, "warm_up": 1, "floor": 6},
    ),
    Benchmark(
        name="memory.agent",
        module="memory",
        figures=("memory.agent",),
        unit="MB",
        what="memory of a running agent beyond its own, beside the agent's own",
        workers=("control", "executions"),  # without beat: only our nudges may start an agent
        slots=201,
        full={"agents": 200},
        quick={"agents": 8},
    ),
    _resume_query("sqlite"),
    _resume_query("postgres"),
    _ingest("sqlite"),
    _ingest("postgres"),
    _readers("sqlite"),
    _readers("postgres"),
    *(_conditional(*pair, database) for pair in _PAIRS for database in ("sqlite", "postgres")),
    Benchmark(
        name="resume.children",
        module="resume_children",
        figures=("resume.children.queries", "resume.children.ms"),
        unit="statements",
        what="resuming a parent with a hundred children, from the nudge to the queued run, beside one with ten",
        full={"few": 10, "many": 100},
        quick={"few": 2, "many": 6},
    ),
    Benchmark(
        name="intake",
        module="intake",
        figures=("intake.rate", "intake.p99"),
        unit="requests/s",
        what="signed webhooks stored by one web process, beside a bare view that answers 202",
        full={"requests": 2_000, "warm_up": 100, "clients": 4},
        quick={"requests": 30, "warm_up": 5, "clients": 2},
    ),
    Benchmark(
        name="gateway",
        module="gateway",
        figures=("gateway.first_byte.p50",),
        unit="ms",
        what="first byte of a streamed model call through the gateway, beside the same call made directly",
        full={"samples": 300, "warm_up": 20, "agents": 10},
        quick={"samples": 6, "warm_up": 2, "agents": 2},
    ),
    Benchmark(
        name="adapter.start",
        module="adapter_start",
        figures=("adapter.start.wiring", "adapter.start.builtin"),
        unit="ms",
        what="making an agent's command and files, and a built-in agent that is done at once beside a cold interpreter",
        full={"samples": 200, "runs": 15},
        quick={"samples": 5, "runs": 1},
    ),
    Benchmark(
        name="mcp.call",
        module="mcp_calls",
        figures=("mcp.call.p50",),
        unit="ms",
        what="one call of a tool of the grid over MCP, beside a bare view",
        full={"samples": 300, "warm_up": 20, "agents": 10},
        quick={"samples": 6, "warm_up": 2, "agents": 2},
    ),
)


def select(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks with these names, or below them (`resume` means all `resume.…`); all without names.

    Raises:
        PerfError: A name means nothing; the message lists those there are.
    """
    for name in names:
        if not any(_means(name, benchmark) for benchmark in BENCHMARKS):
            known = ", ".join(benchmark.name for benchmark in BENCHMARKS)
            raise PerfError(f"there is no benchmark {name[:60]!r}; choose from {known}")
    return [one for one in BENCHMARKS if not names or any(_means(name, one) for name in names)]


def _means(name: str, benchmark: Benchmark) -> bool:
    return benchmark.name == name or benchmark.name.startswith(f"{name}.") or name in benchmark.figures
