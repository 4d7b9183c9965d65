"""A real evaluator host with real, confined evaluators, driven by a toy supervisor."""

import os
import signal
import time

import psutil
import pytest

from dcp_worker.protocol.messages import (
    Allowance,
    ForgetJob,
    Heartbeat,
    HostHello,
    HostLeaving,
    HostRefused,
    JobEvent,
    OpenSandbox,
    Outcome,
    Results,
    RunFinished,
    SandboxClosed,
    SandboxOpened,
    SliceFailed,
    SliceProgress,
    SliceRejected,
    StopHost,
)

from .toy_supervisor import ToySupervisor, until


@pytest.fixture
def supervisor(tmp_path):
    tmp_path.chmod(0o700)
    supervisor = ToySupervisor(tmp_path)
    yield supervisor
    supervisor.end()


@pytest.fixture
def host(supervisor):
    """A host process that is attached."""
    process = supervisor.start_host("--progress-timeout", "2s", "--spares", "1")
    supervisor.attach()
    return process


def test_a_host_introduces_itself(supervisor):
    """Who it is, what the box has, what may be used; heartbeats follow."""
    supervisor.start_host("--name", "box", "--cores", "1", "--utilization", "0.5")

    hello = supervisor.attach().message

    allowance = next(message for message in supervisor.seen if isinstance(message, Allowance))
    assert (hello.name, hello.version, hello.cores) == ("box", 1, os.cpu_count())
    assert hello.memory > 0
    assert ("map-basic", "1.0.0") in hello.worktimes
    assert (allowance.host, allowance.cpu, allowance.sandboxes) == (hello.host, 0.5, 1)
    assert supervisor.wait_for(Heartbeat).message.sequence >= 1


def test_slices_become_results_at_the_uploader(supervisor, host):
    """In order, with metrics; arguments arrive; the supervisor hears that the run is finished."""
    assert host.poll() is None
    opened = supervisor.open("(x, y) => x * x + y", arguments=b"[1000]")
    assert isinstance(opened.message, SandboxOpened)

    supervisor.run(1, 1, 3, b"[1,2,3]")
    message, body = supervisor.outcome()
    finished = supervisor.wait_for(RunFinished).message

    assert (message.job, message.task, message.first, message.count) == ("j1", "task", 1, 3)
    assert body == b"[1001,1004,1009]"
    assert (finished.run, finished.metrics.slices) == (1, 3)
    assert opened.sender.actor == "sandbox/s1"


def test_a_range_needs_no_values(supervisor, host):
    """Slices are counted through the job's range inside the sandbox."""
    assert host.poll() is None
    supervisor.open("(x) => x", input_range='{"start":10,"end":1000,"step":5}')

    supervisor.run(1, 3, 4)

    assert supervisor.outcome()[1] == b"[20,25,30,35]"


def test_many_slices_in_several_runs(supervisor, host):
    """Each slice has one result, in order, over runs that wait in the pipe."""
    assert host.poll() is None
    supervisor.open("(x) => -x")
    inputs = list(range(1, 5001))
    for number in range(10):
        part = inputs[number * 500 : number * 500 + 500]
        supervisor.run(number + 1, part[0], 500, b"[%b]" % b",".join(b"%d" % x for x in part))

    got = []
    while len(got) < len(inputs):
        message, body = supervisor.outcome()
        values = [int(text) for text in body[1:-1].split(b",")]
        assert message.first == len(got) + 1
        assert message.count == len(values)
        got += values

    assert got == [-x for x in inputs]


def test_an_error_fails_its_slice_alone(supervisor, host):
    """The work function's error is that slice's outcome; its neighbours have results."""
    assert host.poll() is None
    supervisor.open('(x) => { if (x === 2) throw new TypeError("two"); return x; }')

    supervisor.run(1, 1, 3, b"[1,2,3]")
    outcomes = [supervisor.outcome() for _ in range(3)]

    assert [type(message) for message, _ in outcomes] == [Results, SliceFailed, Results]
    assert (outcomes[1][0].slice, outcomes[1][0].message) == (2, "TypeError: two")
    assert b"two" in outcomes[1][1]


def test_console_and_progress_reach_the_supervisor(supervisor, host):
    """As events with an opaque body, of the slice that was being computed."""
    assert host.poll() is None
    supervisor.open('(x) => { console.log("hello"); progress(0.5); return x; }')

    supervisor.run(1, 1, 1, b"[1]")
    event = supervisor.wait_for(JobEvent)

    assert (event.message.job, event.message.slice, event.message.event) == ("j1", 1, "console")
    assert b"hello" in event.bodies[0]
    assert any(isinstance(message, SliceProgress) for message in supervisor.seen) or supervisor.wait_for(
        RunFinished
    )


def test_reject_returns_the_slice(supervisor, host):
    """The reason goes to the supervisor; the sandbox ends and blames nobody."""
    assert host.poll() is None
    supervisor.open('(x) => { work.reject("not here", 2); }')

    supervisor.run(1, 1, 2, b"[1,2]")
    rejected = supervisor.wait_for(SliceRejected).message
    closed = supervisor.wait_for(SandboxClosed).message

    assert (rejected.slice, rejected.reason, rejected.retries) == (1, "not here", 2)
    assert (closed.outcome, closed.culprit) == (Outcome.CLOSED, 0)


def test_a_syntax_error_is_told(supervisor, host):
    """The job cannot be set up; its host goes on."""
    assert host.poll() is None
    closed = supervisor.open("(x => {", sandbox="bad", job="bad").message

    assert isinstance(closed, SandboxClosed)
    assert closed.outcome is Outcome.ASSIGN_FAILED
    assert "SyntaxError" in closed.detail
    assert isinstance(supervisor.open("(x) => x").message, SandboxOpened)


def test_an_endless_loop_ends_for_no_progress(supervisor, host):
    """The silent slice is named; what came before it has its result; the box is free for others."""
    supervisor.open("(x) => { while (x === 2); return x; }")
    supervisor.run(1, 1, 3, b"[1,2,3]")

    began = time.monotonic()
    closed = supervisor.wait_for(SandboxClosed).message
    assert (closed.outcome, closed.culprit) in (
        (Outcome.NO_PROGRESS, 2),
        (Outcome.NO_PROGRESS, 1),  # the result of slice 1 was still waiting to be flushed
    )
    assert time.monotonic() - began < 10
    until(lambda: len(supervisor.evaluators(host)) == 1, what="only the spare is left")
    assert isinstance(supervisor.open("(x) => x", sandbox="s2").message, SandboxOpened)


def test_a_memory_hog_ends_alone(supervisor):
    """It hits its own limit, is called by its name, and its neighbour computes on."""
    supervisor.start_host("--memory-per-sandbox", "128MiB")
    supervisor.attach()
    supervisor.open("(x) => x", sandbox="good")
    supervisor.open(
        "(x) => { const all = []; for (;;) all.push(new Array(10000).fill(0.5)); }",
        sandbox="hog",
        job="hog",
    )
    supervisor.run(1, 1, 1, b"[1]", sandbox="hog", job="hog")

    message = supervisor.wait_for(SandboxClosed, timeout=60).message
    assert message.outcome is Outcome.OUT_OF_MEMORY
    assert message.culprit == 1
    supervisor.run(2, 1, 1, b"[5]", sandbox="good")
    assert supervisor.outcome()[1] == b"[5]"


def test_a_killed_evaluator_is_reported_and_the_host_goes_on(supervisor, host):
    """kill -9 from outside: the slice in flight is named, and the next sandbox works."""
    supervisor.open("(x) => new Promise(() => { setInterval(() => progress(), 100); })")
    supervisor.run(1, 1, 1, b"[1]")
    supervisor.wait_for(SliceProgress)
    before = {process.pid for process in supervisor.evaluators(host)}
    assert len(before) == 2  # the sandbox's, and the spare that took its place

    for pid in before:
        os.kill(pid, signal.SIGKILL)
    closed = supervisor.wait_for(SandboxClosed).message

    assert (closed.outcome, closed.culprit) == (Outcome.DIED, 1)
    until(lambda: "a spare evaluator ended" in supervisor.log())
    assert isinstance(supervisor.open("(x) => x", sandbox="s2").message, SandboxOpened)


def test_a_job_can_be_closed_and_forgotten(supervisor, host):
    """CloseSandbox ends one sandbox; ForgetJob all of a job, and the job is unknown then."""
    supervisor.open("(x) => x", sandbox="a")
    supervisor.open("(x) => x", sandbox="b")

    supervisor.close_sandbox("a")
    closed = supervisor.wait_for(SandboxClosed).message
    assert (closed.sandbox, closed.outcome) == ("a", Outcome.CLOSED)
    supervisor.board.tell(supervisor.host, ForgetJob("j1"))
    assert supervisor.wait_for(SandboxClosed).message.sandbox == "b"
    supervisor.board.tell(supervisor.host, OpenSandbox("c", "j1"))
    closed = supervisor.wait_for(SandboxClosed).message
    assert (closed.sandbox, closed.outcome) == ("c", Outcome.ASSIGN_FAILED)
    supervisor.run(1, 1, 1, b"[1]", sandbox="a")
    assert supervisor.wait_for(SandboxClosed).message.sandbox == "a"
    until(lambda: len(supervisor.evaluators(host)) == 1, what="only the spare is left")


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_an_orderly_end(supervisor, host, how):
    """Goodbye to the supervisor, every sandbox closed, exit status 0, no process left."""
    supervisor.open("(x) => { for (;;); }")
    supervisor.run(1, 1, 1, b"[1]")
    evaluators = supervisor.evaluators(host)

    if how == "stop":
        supervisor.board.tell(supervisor.host, StopHost("bye"))
    else:
        host.send_signal(getattr(signal, how))

    assert supervisor.wait_for(HostLeaving).message.reason
    assert supervisor.wait_for(SandboxClosed).message.outcome is Outcome.CLOSED
    assert host.wait(timeout=20) == 0
    psutil.wait_procs(evaluators, timeout=10)
    assert not any(process.is_running() for process in evaluators)


def test_a_killed_host_leaves_no_evaluator(supervisor, host):
    """kill -9 of the host: its evaluators die with it, busy ones and spares."""
    supervisor.open("(x) => { for (;;); }")
    supervisor.run(1, 1, 1, b"[1]")
    evaluators = supervisor.evaluators(host)
    assert evaluators

    host.kill()

    _gone, alive = psutil.wait_procs(evaluators, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_host_ends_with_the_process_that_started_it(supervisor, tmp_path):
    """A worker that is killed leaves no host behind."""
    import subprocess
    import sys

    script = (
        "import subprocess,sys,time;"
        "p=subprocess.Popen([sys.executable,'-m','dcp_worker.cli.evaluator_manager',"
        "'--exit-with-supervisor','--supervisor',sys.argv[1]]); print(p.pid,flush=True); time.sleep(600)"
    )
    with (tmp_path / "host.log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", script, supervisor.endpoint],
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"DCP_RESOURCE_DIR": str(tmp_path / "resources")},
        )
    supervisor.processes.append(parent)
    host = psutil.Process(int(parent.stdout.readline()))
    supervisor.attach()

    host.send_signal(signal.SIGINT)  # Ctrl-C is the worker's business
    supervisor.wait_for(Heartbeat)
    assert host.is_running()
    parent.kill()

    assert supervisor.wait_for(HostLeaving).message.reason
    host.wait(timeout=20)


def test_a_host_comes_back_after_its_supervisor_was_restarted(supervisor, host):
    """It closes what it had, introduces itself anew, and works for the new one."""
    supervisor.open("(x) => x")
    first = [message for message in supervisor.seen if isinstance(message, HostHello)]

    supervisor.board.stop(0)
    supervisor.open_board()
    again = supervisor.attach()

    assert again.message == first[0]
    until(lambda: len(supervisor.evaluators(host)) == 1, what="only the spare is left")
    assert isinstance(supervisor.open("(x) => x", sandbox="new").message, SandboxOpened)


def test_a_silent_supervisor_is_given_up(supervisor):
    """Without an answer to its heartbeats the host closes everything and introduces itself anew."""
    process = supervisor.start_host("--spares", "0")
    supervisor.attach(heartbeat_s=0.1, lost_after_s=1.0)
    supervisor.open("(x) => x")
    supervisor.wait_for(Heartbeat)

    until(lambda: not supervisor.evaluators(process), what="the sandbox is closed")

    assert supervisor.wait_for(HostHello)
    assert supervisor.open("(x) => x", sandbox="s2")


def test_a_refused_host_says_why(supervisor):
    """For its operator."""
    supervisor.start_host()
    hello = supervisor.wait_for(HostHello)

    supervisor.board.tell(hello.sender, HostRefused("this worker has hosts enough"))

    until(lambda: "hosts enough" in supervisor.log())


def test_over_tcp_a_host_waits_to_be_authorised(tmp_path):
    """It makes its own key, prints the command that authorises it, and gets in by itself after that."""
    supervisor = ToySupervisor(tmp_path, "tcp")
    try:
        supervisor.start_host("--name", "box")
        until(lambda: "dcp host authorise" in supervisor.log())
        words = supervisor.log().split("dcp host authorise ")[1].split()
        assert words[1:3] == ["--name", "box"]

        supervisor.hosts.authorise(words[0], "box")

        hello = supervisor.attach()
        assert hello.user == words[0]
        supervisor.open("(x) => x + 1")
        supervisor.run(1, 1, 1, b"[1]")
        assert supervisor.outcome()[1] == b"[2]"
    finally:
        supervisor.end()


def test_a_flood_of_console_output_ends_its_sandbox_alone(supervisor, host):
    """Some of it is passed on, the rest dropped, and what never stops is ended; the host stays small."""
    supervisor.open("(x) => { for (let n = 0; ; n++) console.log(n); }", sandbox="loud", job="loud")
    supervisor.run(1, 1, 1, b"[1]", sandbox="loud", job="loud")

    closed = supervisor.wait_for(SandboxClosed, timeout=60).message

    assert (closed.outcome, closed.culprit) == (Outcome.FLOODED, 1)
    assert sum(isinstance(message, JobEvent) for message in supervisor.seen) < 50_000
    assert psutil.Process(host.pid).memory_info().rss < 600 << 20
    supervisor.open("(x) => x + 1")
    supervisor.run(2, 1, 1, b"[1]")
    assert supervisor.outcome()[1] == b"[2]"


def test_large_values_pass_through(supervisor, host):
    """Megabytes in and out, byte for byte."""
    assert host.poll() is None
    supervisor.open("(x) => x + x")
    text = os.urandom(2_000_000).hex().encode()

    supervisor.run(1, 1, 1, b'["%b"]' % text)

    assert supervisor.outcome()[1] == b'["%b%b"]' % (text, text)


def test_a_host_whose_starter_is_gone_already_leaves(supervisor):
    """A worker that dies while its host still starts leaves none behind either."""
    import subprocess
    import sys

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = supervisor.start_host(f"--exit-with-parent={gone.pid}")

    assert process.wait(timeout=60) == 0
