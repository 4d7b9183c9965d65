"""Whatever happens to hosts, sandboxes and links: every slice ends once, committed or returned."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dcp_worker.actors import instructions as do
from dcp_worker.actors.planning import Arrival, Planner
from dcp_worker.actors.records import Stretch
from dcp_worker.protocol.messages import HostHello, Outcome

JOBS = ("a", "b", "c")
LOSSES = [
    Outcome.NO_PROGRESS,
    Outcome.OUT_OF_MEMORY,
    Outcome.DIED,
    Outcome.ASSIGN_FAILED,
    Outcome.NOT_STARTED,
]


def hello(host: str) -> HostHello:
    return HostHello(1, host, host, 2, 1 << 32, 81, (("map-basic", "1.0.0"),))


class World(RuleBasedStateMachine):
    """Hosts, sandboxes and a scheduler that do what they are told, and fail when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.planner = Planner(life="t", watch_s=4.0)
        self.planner.on_ready_to_fetch(self.now)
        self.asked: do.RequestWork | None = None
        self.next_slice = defaultdict(lambda: 1)
        self.fetched: set[tuple[str, int]] = set()
        self.returned: set[tuple[str, int]] = set()
        self.committed: set[tuple[str, int]] = set()
        self.hosts: dict[str, set[str]] = {}
        self.boxes: dict[str, dict] = {}  # alive: host, job, opened, runs [(number, stretch)]
        self.uncommitted: list[tuple[str, str, int, int, int]] = []  # sandbox, job, run, first, count
        self.open_tasks: set[str] = set()
        self.tasks = 0
        self.stopped = False

    def obey(self) -> None:
        for order in self.planner.take():
            match order:
                case do.Open(host, sandbox, job):
                    assert host in self.hosts
                    self.hosts[host].add(sandbox)
                    self.boxes[sandbox] = {"host": host, "job": job, "opened": False, "runs": []}
                case do.Deal(_, sandbox, run, job, stretch):
                    box = self.boxes[sandbox]
                    assert box["opened"]
                    assert box["job"] == job
                    numbers = self.numbers(job, stretch)
                    for other in self.boxes.values():
                        for _, held in other["runs"]:
                            assert other["job"] != job or not numbers & self.numbers(job, held)
                    assert not numbers & self.returned
                    box["runs"].append((run, stretch))
                    assert len(box["runs"]) <= 3
                case do.Close(_, sandbox, _):
                    self.lose(sandbox)
                    self.planner.on_sandbox_closed(self.now, sandbox, Outcome.CLOSED, "", 0)
                case do.Return(job, _, intervals, _, _):
                    numbers = {(job, n) for first, count in intervals for n in range(first, first + count)}
                    assert numbers <= self.fetched
                    assert not numbers & self.returned
                    assert not numbers & self.committed
                    self.returned |= numbers
                case do.CloseTask(task):
                    self.open_tasks.remove(task)
                case do.RequestWork():
                    assert self.asked is None
                    assert not self.stopped
                    self.asked = order
        if self.planner._out:
            self.obey()

    @staticmethod
    def numbers(job: str, stretch: Stretch) -> set[tuple[str, int]]:
        return {(job, n) for n in range(stretch.first, stretch.first + stretch.count)}

    def lose(self, sandbox: str) -> None:
        box = self.boxes.pop(sandbox, None)
        if box:
            self.hosts.get(box["host"], set()).discard(sandbox)

    @rule(host=st.sampled_from("xy"), cpu=st.sampled_from([0, 0.5, 1, 2, 3]), sandboxes=st.integers(0, 3))
    def host(self, host: str, cpu: float, sandboxes: int) -> None:
        if host not in self.hosts:
            self.hosts[host] = set()
            self.planner.on_host_attached(self.now, hello(host))
        self.planner.on_allowance(self.now, host, cpu, sandboxes)
        self.obey()

    @precondition(lambda self: self.hosts)
    @rule(data=st.data(), again=st.booleans())
    def host_lost(self, data: st.DataObject, again: bool) -> None:
        host = data.draw(st.sampled_from(sorted(self.hosts)))
        for sandbox in list(self.hosts[host]):
            self.lose(sandbox)
        if again:
            self.planner.on_host_attached(self.now, hello(host))
        else:
            del self.hosts[host]
            self.planner.on_host_left(self.now, host)
        self.obey()

    @precondition(lambda self: self.asked and not self.stopped)
    @rule(
        work=st.lists(
            st.tuples(st.sampled_from(JOBS), st.lists(st.integers(1, 2_000), min_size=1, max_size=3)),
            max_size=3,
        )
    )
    def work(self, work: list[tuple[str, list[int]]]) -> None:
        arrivals = []
        for job, counts in dict(work).items():
            self.tasks += 1
            stretches = []
            for count in counts:
                first = self.next_slice[job]
                self.next_slice[job] += count + 1
                stretch = Stretch(f"task{self.tasks}", first, count, None)
                self.fetched |= self.numbers(job, stretch)
                stretches.append(stretch)
            self.open_tasks.add(f"task{self.tasks}")
            arrivals.append(Arrival(job, f"task{self.tasks}", "map-basic", 64, tuple(stretches)))
        self.asked = None
        self.planner.on_work(self.now, arrivals, 0.5)
        self.obey()

    @precondition(lambda self: self.asked)
    @rule()
    def no_answer(self) -> None:
        self.asked = None
        self.planner.on_request_failed(self.now, 1.0)
        self.obey()

    @rule()
    def open_all(self) -> None:
        for sandbox, box in list(self.boxes.items()):
            if sandbox in self.boxes and not box["opened"]:
                box["opened"] = True
                self.planner.on_sandbox_opened(self.now, sandbox)
                self.obey()

    @precondition(lambda self: any(box["runs"] for box in self.boxes.values()))
    @rule(data=st.data(), ms=st.sampled_from([0.001, 0.1, 10.0, 400.0, 5_000.0]), times=st.integers(1, 5))
    def finish_runs(self, data: st.DataObject, ms: float, times: int) -> None:
        for _ in range(times):
            busy = sorted(name for name, box in self.boxes.items() if box["runs"])
            if not busy:
                return
            sandbox = data.draw(st.sampled_from(busy))
            box = self.boxes[sandbox]
            run, stretch = box["runs"].pop(0)
            self.uncommitted.append((sandbox, box["job"], run, stretch.first, stretch.count))
            self.planner.on_run_finished(self.now, sandbox, run, stretch.count, ms * stretch.count)
            self.obey()

    @precondition(lambda self: any(box["runs"] for box in self.boxes.values()))
    @rule(data=st.data(), outcome=st.sampled_from(LOSSES), flushed=st.booleans())
    def die_at_work(self, data: st.DataObject, outcome: Outcome, flushed: bool) -> None:
        sandbox = data.draw(st.sampled_from(sorted(name for name, box in self.boxes.items() if box["runs"])))
        run, stretch = self.boxes[sandbox]["runs"][0]
        culprit = data.draw(st.integers(stretch.first, stretch.first + stretch.count - 1))
        if flushed and culprit > stretch.first:
            self.uncommitted.append(
                (sandbox, self.boxes[sandbox]["job"], run, stretch.first, culprit - stretch.first)
            )
        self.lose(sandbox)
        self.planner.on_sandbox_closed(self.now, sandbox, outcome, "it died", culprit)
        self.obey()

    @precondition(lambda self: any(box["runs"] for box in self.boxes.values()))
    @rule(data=st.data(), retries=st.integers(0, 2))
    def reject(self, data: st.DataObject, retries: int) -> None:
        sandbox = data.draw(st.sampled_from(sorted(name for name, box in self.boxes.items() if box["runs"])))
        box = self.boxes[sandbox]
        run, stretch = box["runs"][0]
        number = data.draw(st.integers(stretch.first, stretch.first + stretch.count - 1))
        rest = [Stretch(stretch.task, stretch.first, number - stretch.first, None)]
        rest.append(Stretch(stretch.task, number + 1, stretch.first + stretch.count - number - 1, None))
        for part in rest:
            if part.count:
                self.uncommitted.append((sandbox, box["job"], run, part.first, part.count))
        box["runs"].pop(0)
        self.planner.on_slice_rejected(self.now, box["job"], run, number, "not me", retries)
        self.planner.on_run_finished(self.now, sandbox, run, stretch.count - 1, 1.0)
        self.obey()

    @precondition(lambda self: self.boxes)
    @rule(data=st.data(), outcome=st.sampled_from(LOSSES))
    def die_idle(self, data: st.DataObject, outcome: Outcome) -> None:
        sandbox = data.draw(st.sampled_from(sorted(self.boxes)))
        self.lose(sandbox)
        self.planner.on_sandbox_closed(self.now, sandbox, outcome, "it died", 0)
        self.obey()

    @precondition(lambda self: self.uncommitted)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.uncommitted) - 1))
        _, job, run, first, count = self.uncommitted.pop(index)
        self.committed |= {(job, n) for n in range(first, first + count)} - self.returned
        self.planner.on_outcomes_committed(self.now, job, run, first, count)
        self.obey()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds
        for host in self.hosts:
            self.planner.on_heard(self.now, host)
        self.planner.on_tick(self.now)
        self.obey()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.planner.on_paused(self.now, paused=paused)
        self.obey()

    @invariant()
    def books_are_right(self) -> None:
        for job in self.planner.jobs.values():
            assert job.queued == sum(part.count for part in job.queue)
            live = {number for box in job.sandboxes.values() for number in box.runs}
            assert job.dealt == sum(job.running[number].stretch.count for number in live)
            waiting = job.queued + sum(count for run in job.running.values() for _, count in run.left)
            assert waiting == job.unfinished
        for host in self.planner.hosts.values():
            assert host.sandboxes <= set(self.planner.sandboxes)

    def teardown(self) -> None:
        self.planner.on_stop(self.now)
        self.stopped = True
        self.obey()
        self.planner.on_abandon(self.now)
        self.obey()
        for _, job, run, first, count in self.uncommitted:
            self.committed |= {(job, n) for n in range(first, first + count)} - self.returned
            self.planner.on_outcomes_committed(self.now, job, run, first, count)
            self.obey()
        self.planner.on_tick(self.now)
        self.obey()

        assert self.committed | self.returned == self.fetched
        assert not self.committed & self.returned
        assert not self.open_tasks
        assert self.planner.at_rest
        assert not self.planner.jobs


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
