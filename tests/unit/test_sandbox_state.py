"""The life of a sandbox: what goes in, what has to be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.actors.sandbox_limits import EventBudget, SandboxLimits
from dcp_worker.actors.sandbox_state import Kill, Phase, SandboxState, Send, Write
from dcp_worker.protocol import evaluator_lines as lines
from dcp_worker.protocol import messages
from dcp_worker.protocol.messages import Metrics, Outcome

COST = lines.Cost(4.0, 3.0, 0.0, 10, 20)
LIMITS = SandboxLimits(progress_timeout_s=10, start_timeout_s=5)


def new_state():
    return SandboxState("host", "box", "job", LIMITS, now=0.0)


def open_state():
    state = new_state()
    state.on_line(lines.Ready(), 0.1)
    state.on_line(lines.Assigned(), 0.2)
    return state


def run(number, first, count):
    return messages.Run(number, "task", "job", first, count)


def results(number, first, count, body=None):
    body = body or b"[" + b",".join([b"1"] * count) + b"]"
    return lines.ResultsLine(number, first, count, COST, body)


def metrics(slices, times=1):
    return Metrics(slices, 4.0 * times, 3.0 * times, 0.0, 10 * times, 20 * times)


def outcome_of(state, instructions):
    """The verdict, checked to be the last instruction and to be reported once the process is gone."""
    kill = instructions[-1]
    assert isinstance(kill, Kill)
    (send,) = state.on_ended("closed", "killed")
    assert send.message == messages.SandboxClosed(
        "host", "box", "job", kill.outcome, kill.detail, send.message.culprit
    )
    assert state.phase is Phase.GONE
    return kill.outcome, send.message.culprit


def test_a_whole_life():
    """Ready, assigned, a run with results and a failure, finished, closed."""
    state = new_state()

    assert state.on_line(lines.Ready(), 0.1) == ()
    assert state.on_line(lines.Assigned(), 0.2) == (
        Send("supervisor", messages.SandboxOpened("host", "box", "job")),
    )
    assert state.on_run(run(7, 1, 3), b"[1,2,3]", 1.0) == (
        Write(b'{"type":"run","run":7,"first":1,"count":3,"values":true}\n[1,2,3]\n'),
    )
    assert state.on_line(results(7, 1, 2, b"[1,4]"), 1.1) == (
        Send("uploader", messages.Results("host", "box", 7, "task", "job", 1, 2, metrics(2)), (b"[1,4]",)),
    )
    failed = lines.FailedLine(7, 3, "Error:\n bad", COST, b'{"ctr":"Error"}')
    assert state.on_line(failed, 1.2) == (
        Send(
            "uploader",
            messages.SliceFailed("host", "box", 7, "task", "job", 3, "Error: bad", metrics(1)),
            (b'{"ctr":"Error"}',),
        ),
    )
    assert state.on_line(lines.FinishedLine(7), 1.3) == (
        Send("supervisor", messages.RunFinished("box", 7, metrics(3, times=2))),
    )
    assert outcome_of(state, state.on_close("enough")) == (Outcome.CLOSED, 0)


def test_silence_counts_only_while_slices_are_in_flight():
    """An open sandbox may wait for ever; a slice in flight may be silent for the progress timeout."""
    state = open_state()
    assert state.deadline is None

    state.on_run(run(1, 1, 2), None, 100.0)
    assert state.deadline == 110.0
    state.on_line(results(1, 1, 1), 105.0)
    assert state.deadline == 115.0
    assert state.on_time(114.9) == ()
    state.on_line(lines.ProgressLine(1, 2, 0.5), 114.9)
    assert state.on_time(115.0) == ()

    assert outcome_of(state, state.on_time(124.9)) == (Outcome.NO_PROGRESS, 2)


def test_a_run_that_waits_does_not_extend_the_time():
    """Dealing more runs to a silent sandbox is no sign of life."""
    state = open_state()
    state.on_run(run(1, 1, 1), None, 100.0)
    state.on_run(run(2, 2, 1), None, 109.0)

    assert outcome_of(state, state.on_time(110.0)) == (Outcome.NO_PROGRESS, 1)


def test_a_sandbox_that_does_not_get_ready_is_given_up():
    """No deadline is without an end."""
    state = new_state()
    state.on_line(lines.Ready(), 4.0)

    assert outcome_of(state, state.on_time(5.0)) == (Outcome.NOT_STARTED, 0)


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [
        ("memory", Outcome.OUT_OF_MEMORY),
        ("flood", Outcome.FLOODED),
        ("crash", Outcome.DIED),
        ("killed", Outcome.DIED),
        ("exit", Outcome.DIED),
        ("unstarted", Outcome.NOT_STARTED),
    ],
)
def test_an_evaluator_that_ends_by_itself_is_classified(cause, outcome):
    """The first slice without an outcome is the culprit, and the last words are told."""
    state = open_state()
    state.on_run(run(1, 5, 3), None, 1.0)
    state.on_line(results(1, 5, 1), 1.1)
    state.on_line(lines.DieLine("last words"), 1.2)

    (send,) = state.on_ended(cause, "it is gone")

    assert (send.message.outcome, send.message.culprit) == (outcome, 6)
    assert "last words" in send.message.detail


def test_between_the_last_outcome_and_finished_nobody_is_to_blame():
    """All slices of the run have their outcome."""
    state = open_state()
    state.on_run(run(1, 5, 1), None, 1.0)
    state.on_line(results(1, 5, 1), 1.1)

    (send,) = state.on_ended("crash", "gone")

    assert send.message.culprit == 0


@pytest.mark.parametrize(
    "line",
    [
        results(2, 1, 1),
        results(1, 2, 1),
        results(1, 1, 4),
        results(1, 1, 2, b"[1]"),
        results(1, 1, 1, b"[1],[2]"),
        results(1, 1, 1, b"1"),
        results(1, 1, 1, b"[\xff]"),
        lines.FailedLine(1, 2, "", COST, b"1"),
        lines.FailedLine(1, 1, "", COST, b"1,2"),
        lines.FailedLine(1, 1, "", COST, b"}"),
        lines.FinishedLine(1),
        lines.FinishedLine(2),
        lines.RejectedLine(1, 2, "", 0),
        lines.ProgressLine(1, 4, 0.5),
        lines.ProgressLine(2, 1, 0.5),
        lines.EventLine(9, "console", b"{}"),
        lines.Ready(),
        lines.Assigned(),
        lines.AssignFailed("Error", "", ""),
    ],
    ids=repr,
)
def test_what_cannot_be_ends_the_sandbox(line):
    """Outcomes come in order, of runs that were given, in well-formed bodies; nothing else is believed."""
    state = open_state()
    state.on_run(run(1, 1, 3), None, 1.0)

    assert outcome_of(state, state.on_line(line, 1.1)) == (Outcome.PROTOCOL, 1)


def test_nothing_counts_before_the_job_is_assigned_or_after_the_verdict():
    """Results of a sandbox that is not open are nonsense; what a dying one still says is ignored."""
    early = new_state()
    early.on_run(run(1, 1, 1), None, 0.0)
    assert outcome_of(early, early.on_line(results(1, 1, 1), 0.1))[0] is Outcome.PROTOCOL

    late = open_state()
    late.on_run(run(1, 1, 1), None, 1.0)
    late.on_close("enough")
    assert late.on_line(results(1, 1, 1), 1.1) == ()
    assert late.on_run(run(2, 2, 1), None, 1.1) == ()
    assert late.on_close("again") == ()
    assert late.on_time(1e9) == ()


def test_a_job_that_cannot_be_set_up():
    """The error of the work function's source goes to the supervisor; no slice is to blame."""
    state = new_state()
    state.on_run(run(1, 1, 1), None, 0.0)
    state.on_line(lines.Ready(), 0.1)

    instructions = state.on_line(lines.AssignFailed("SyntaxError", "bad", ""), 0.2)

    assert "SyntaxError: bad" in instructions[0].detail
    assert outcome_of(state, instructions) == (Outcome.ASSIGN_FAILED, 0)


def test_reject():
    """The slice goes back with the reason, the sandbox ends, and the slice after it is not blamed."""
    state = open_state()
    state.on_run(run(1, 1, 3), None, 1.0)
    state.on_line(results(1, 1, 1), 1.1)

    instructions = state.on_line(lines.RejectedLine(1, 2, "no", 3), 1.2)

    assert instructions[0] == Send("supervisor", messages.SliceRejected("box", 1, "job", 2, "no", 3))
    assert outcome_of(state, instructions) == (Outcome.CLOSED, 0)


def test_progress_is_throttled():
    """The supervisor is told now and then, not for every call."""
    state = open_state()
    state.on_run(run(1, 1, 1), None, 1.0)

    told = [bool(state.on_line(lines.ProgressLine(1, 1, 0.5), 1.0 + n / 100)) for n in range(100)]

    assert sum(told) == 4


def test_a_chatterbox_is_cut_short_and_a_flood_ends_it():
    """Console output is passed on up to a rate, then dropped, and far beyond it the sandbox is killed."""
    state = open_state()
    sent = dropped = 0
    instructions = ()
    for _ in range(100_000):
        instructions = state.on_line(lines.EventLine(0, "console", b"{}"), 1.0)
        if state.verdict is not None:
            break
        sent += len(instructions)
        dropped += not instructions

    assert (sent, dropped) == (LIMITS.events_burst, LIMITS.wasted_burst)
    assert outcome_of(state, instructions)[0] is Outcome.FLOODED


def test_long_lines_are_a_flood_sooner():
    """What is dropped is counted by its size too: reading it costs the box something."""
    state = open_state()
    dropped = 0
    while state.verdict is None:
        dropped += not state.on_line(lines.EventLine(0, "console", b"x" * 100_000), 1.0)

    assert dropped < 1_000
    assert state.verdict.outcome is Outcome.FLOODED


def test_an_event_that_is_too_large_is_dropped():
    """The next one is passed on."""
    state = open_state()

    assert state.on_line(lines.EventLine(0, "custom", b"x" * (LIMITS.event_bytes + 1)), 1.0) == ()
    assert state.on_line(lines.EventLine(0, "custom", b"{}"), 1.0) == (
        Send("supervisor", messages.JobEvent("box", "job", 0, "custom"), (b"{}",)),
    )


def test_budgets_refill():
    """Patience comes back with time."""
    budget = EventBudget(SandboxLimits(events_burst=2, events_per_s=1), 0.0)

    assert [budget.take(1, 0.0) for _ in range(3)] == [True, True, False]
    assert [budget.take(1, 1.0) for _ in range(2)] == [True, False]


numbers = st.integers(0, 5)
any_line = st.one_of(
    st.builds(results, numbers, numbers, st.integers(1, 3)),
    st.builds(lines.FailedLine, numbers, numbers, st.text(), st.just(COST), st.just(b"1")),
    st.builds(lines.RejectedLine, numbers, numbers, st.text(), numbers),
    st.builds(lines.ProgressLine, numbers, numbers, st.floats(0, 1)),
    st.builds(lines.EventLine, numbers, st.just("console"), st.binary()),
    st.builds(lines.FinishedLine, numbers),
    st.builds(lines.LogLine, st.text()),
    st.builds(lines.DieLine, st.text()),
    st.just(lines.Ready()),
    st.just(lines.Assigned()),
)
steps = st.one_of(
    any_line.map(lambda line: lambda state: state.on_line(line, 1.0)),
    st.builds(
        lambda n, first, count: lambda state: state.on_run(run(n, first, count), None, 1.0), *[numbers] * 3
    ),
)


@given(st.lists(steps, max_size=30))
def test_no_sandbox_can_make_up_outcomes(inputs):
    """Whatever a sandbox says, each slice has at most one outcome, in order, and only if it was dealt."""
    state = open_state()
    dealt, told = [], []
    for step in inputs:
        for instruction in step(state):
            match instruction:
                case Write(data):
                    header = lines.json.loads(data)
                    dealt += [(header["run"], header["first"] + n) for n in range(header["count"])]
                case Send("uploader", messages.Results() as message):
                    told += [(message.run, message.first + n) for n in range(message.count)]
                case Send("uploader", messages.SliceFailed() as message):
                    told.append((message.run, message.slice))
    assert told == dealt[: len(told)]
