"""One run: a place, a server, faults now and then, and what the checkers find in the history."""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn_server import GunicornServer

from histories.checkers import judge
from histories.faults import FAULTS
from histories.faults.network import Proxy
from histories.faults.scene import Scene
from histories.places import PLACES
from histories.record import History, Report
from histories.trap import FOLDER, Trap
from histories.workload import AFTERWARDS, Workload

if TYPE_CHECKING:
    from gunicorn_server import WorkerClass

    from histories.checkers.violation import Violation
    from histories.places import HistoryPlace

APP = "histories.application:create()"
_REST = (0.2, 1.0)  # seconds between faults, from and to


@dataclass(frozen=True)
class Plan:
    """What a run is made of, and for how many seconds."""

    place: str
    worker_class: WorkerClass
    seconds: float
    seed: int
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}, {self.worker_class}, {self.fault_names}, seed {self.seed}"

    @property
    def fault_names(self) -> str:
        return "+".join(self.faults) or "no fault"


@dataclass(frozen=True)
class Result:
    """What came of a run. `strikes` is how often a fault happened."""

    plan: Plan
    history: History
    violations: tuple[Violation, ...]
    strikes: int = 0

    @property
    def unavailable(self) -> float:
        """For how long, at the longest, no request was answered as it should be, in seconds."""
        asked = [o for o in self.history.operations if o.process != AFTERWARDS]
        ends = sorted(o.end for o in asked if o.outcome == "ok")
        return max((later - end for end, later in itertools.pairwise(ends)), default=0.0)

    @property
    def refused(self) -> int:
        """How many requests got a 503 or no answer."""
        return sum(o.outcome == "unknown" for o in self.history.operations)


def run(plan: Plan, app: str = APP) -> Result:
    """Make a run; all that it started has ended then. `app` is what gunicorn loads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ws-history-")))
        place = stack.enter_context(PLACES[plan.place](folder))
        scene = _scene(stack, plan, place, folder / "trap", app)
        workload = Workload(scene.workers.port, plan.seed)
        strikes = _strain(workload, scene, plan)
        workload.read_once_more()
        reports = tuple(map(Report.of, scene.workers.events()))
    history = History(tuple(workload.operations), reports, tuple(scene.excused), tuple(scene.stale))
    return Result(plan, history, tuple(judge(history)), strikes)


def _scene(stack: ExitStack, plan: Plan, place: HistoryPlace, trap: Path, app: str) -> Scene:
    """Start the workers, behind a proxy if the store has a route for one."""
    trap.mkdir()
    proxy, url = None, place.url
    if place.route is not None:
        proxy = stack.enter_context(Proxy(place.route.address))
        url = place.route.behind(proxy.port)
    faults = [FAULTS[name] for name in plan.faults]
    environ = {**place.environ, FOLDER: str(trap)}
    for fault in faults:
        environ |= fault.environ
    workers = stack.enter_context(
        GunicornServer(
            worker_class=plan.worker_class,
            url=url,
            app=app,
            environ=environ,
            options=[option for fault in faults for option in fault.options],
        )
    )
    return Scene(workers, place, proxy, random.Random(plan.seed), Trap(trap))


def _strain(workload: Workload, scene: Scene, plan: Plan) -> int:
    """Have the clients ask, and faults happen, until the time is over; how often one happened."""
    over = threading.Event()
    timer = threading.Timer(plan.seconds, workload.stop)
    with ThreadPoolExecutor(1) as thread:
        strikes = thread.submit(_strike, scene, plan, over)
        timer.start()
        try:
            workload.run()
        finally:
            timer.cancel()
            over.set()
        return strikes.result()


def _strike(scene: Scene, plan: Plan, over: threading.Event) -> int:
    faults = [fault.strike for name in plan.faults if (fault := FAULTS[name]).strike is not None]
    if not faults:
        return 0
    for number in itertools.count():
        if over.wait(scene.rng.uniform(*_REST)):
            return number
        scene.rng.choice(faults)(scene)
    raise AssertionError("not reached")
