"""How much of a box may be used."""

from hypothesis import given
from hypothesis import strategies as st

from dcp_worker.actors.load import LoadSettings, Readings, Room, Steady, room
from dcp_worker.actors.load_governor import CpuMeter, read_box

GIB = 1 << 30
IDLE = Readings(cores=8, memory=32 * GIB, memory_available=30 * GIB, sandboxes=0)


def test_an_idle_box_gives_all_that_is_allowed():
    """Cores times utilization, one sandbox for each part of a core."""
    all_of_it = room(LoadSettings(), IDLE)
    some_of_it = room(LoadSettings(cores=3, utilization=0.5, max_sandboxes=5), IDLE)

    assert (all_of_it.cpu, all_of_it.sandboxes) == (8, 8)
    assert (some_of_it.cpu, some_of_it.sandboxes) == (1.5, 5)


def test_fractions_of_a_core_count():
    """One core at 80 % is 0.8 cores and one sandbox, not nothing."""
    answer = room(LoadSettings(cores=1, utilization=0.8), IDLE)

    assert (answer.cpu, answer.sandboxes) == (0.8, 1)


def test_more_cores_than_the_box_has_are_not_there():
    """A setting cannot make cores."""
    assert room(LoadSettings(cores=100), IDLE).cpu == 8


def test_memory_limits_sandboxes():
    """When memory is short fewer sandboxes are allowed, and those that live are not counted twice."""
    short = Readings(cores=8, memory=8 * GIB, memory_available=GIB, sandboxes=0)
    running = Readings(cores=8, memory=8 * GIB, memory_available=GIB, sandboxes=5)

    assert room(LoadSettings(), short).sandboxes == 2
    assert "memory" in room(LoadSettings(), short).reason
    assert room(LoadSettings(), running).sandboxes == 7


def test_room_is_left_for_others_when_asked():
    """With a limit on the load of the box, what others use is not ours."""
    busy = Readings(cores=8, memory=32 * GIB, memory_available=30 * GIB, sandboxes=0, others_cpu=5.5)

    assert room(LoadSettings(), busy).cpu == 8
    assert room(LoadSettings(max_load=1.0), busy).cpu == 2.5
    nothing = room(LoadSettings(max_load=0.5), busy)
    assert (nothing.cpu, nothing.sandboxes) == (0, 0)
    assert "5.50 cores" in nothing.reason


@given(
    st.builds(
        LoadSettings,
        st.none() | st.floats(0, 1000),
        st.floats(0, 16),
        st.floats(0, 1),
        st.floats(0, 1),
        st.none() | st.integers(0, 1000),
        st.none() | st.floats(0, 1),
    ),
    st.builds(
        Readings,
        st.floats(0.1, 512),
        st.integers(0, 1 << 45),
        st.integers(0, 1 << 45),
        st.integers(0, 1000),
        st.floats(0, 1000),
    ),
)
def test_never_more_than_allowed_and_never_negative(settings, readings):
    """Whatever is set and read."""
    answer = room(settings, readings)

    assert 0 <= answer.cpu <= readings.cores + 0.001
    assert answer.gpu >= 0
    assert answer.sandboxes >= 0
    if settings.max_sandboxes is not None:
        assert answer.sandboxes <= settings.max_sandboxes


def test_less_at_once_more_only_when_it_stays():
    """The supervisor hears of a shortage immediately, and is not bothered by noise."""
    steady = Steady()
    answers = [4, 4.1, 3.9, 2, 4, 2, 4, 4, 0.1, 0]

    told = [cpu for cpu in answers if steady.pass_on(Room(cpu, 0, 4, ""))]

    assert told == [4, 2, 4, 0.1, 0]


def test_this_box_can_be_read():
    """The real figures make sense."""
    readings = read_box(0, CpuMeter())

    assert readings.cores > 0
    assert readings.memory >= readings.memory_available > 0
    assert readings.others_cpu >= 0
