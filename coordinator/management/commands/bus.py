from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from coordinator.management import render
from coordinator.management.base import NOT_OK, OK, GridCommand, whole
from coordinator.management.output import cell
from grid import public_bus as grid_bus

_NO_BUS = "there is no event bus; EVENT_BUS_URL names a queue, see docs/bus.md"


class Command(GridCommand):
    help = "The event bus: how far its queue is behind the log; make the queue; send now; leave out what is old."
    examples = """
    manage.py bus                        what waits, and what the queue answers
    manage.py bus prepare                create the queue unless it exists
    manage.py bus publish --seconds 60   send what waits now, instead of in a worker
    manage.py bus skip                   send nothing of what waits, only what happens from now
    """
    not_ok = "events could not be sent, or the queue cannot be used"

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "act", nargs="?", choices=("status", "prepare", "publish", "skip"), default="status", help="status"
        )
        parser.add_argument("--seconds", type=whole(1, 86_400), default=30, help="of publish, at most about (30)")

    def answer(self, options: dict[str, Any]) -> int:
        if options["act"] == "publish":
            return self._publish(options["seconds"])
        return {"status": self._status, "prepare": self._prepare, "skip": self._skip}[options["act"]]()

    def _status(self) -> int:
        found, problems = grid_bus.view(), grid_bus.check()
        self.out.document({"bus": found, "problems": problems})
        self.out.line(render.bus(found) if found else cell(_NO_BUS, "dim"))
        self.out.lines([cell(problem, "red", limit=1000) for problem in problems])
        return NOT_OK if problems else OK

    def _prepare(self) -> int:
        is_new = grid_bus.prepare()
        self.out.document({"created": is_new})
        self.out.line(cell("the queue is made" if is_new else "the queue was there; its settings are as they were"))
        return OK

    def _publish(self, seconds: int) -> int:
        done = grid_bus.publish(seconds=seconds)
        self.out.document(done)
        self.out.line(cell(f"{done.sent} events sent" + (", more wait" if done.is_behind else ", none waits")))
        if done.problem:
            self.out.line(cell(done.problem, "red", limit=1000))
        return NOT_OK if done.problem else OK

    def _skip(self) -> int:
        if not grid_bus.is_configured():
            self.out.document({"left_out": 0})
            self.out.line(cell(_NO_BUS, "dim"))
            return OK
        left_out = grid_bus.skip()
        self.out.document({"left_out": left_out})
        self.out.line(cell(f"{left_out} events are left out; the queue gets what happens from now"))
        return OK
