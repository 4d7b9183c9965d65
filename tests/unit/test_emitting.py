"""Events for the owners of jobs: the first at once, the rest together, never without bound."""

from dcp_worker.actors.emitting import MAX_BYTES, MAX_EVENTS, MAX_WAITING_BYTES, Emission, Emitter


def emission(number: int, size: int = 10) -> Emission:
    return Emission(number, "console", {"message": number}, size)


def test_the_first_goes_at_once_and_the_rest_together() -> None:
    emitter = Emitter()
    first, *rest = [emission(number) for number in range(5)]

    assert emitter.put("job", first) == [first]
    assert [emitter.put("job", one) for one in rest] == [[], [], [], []]
    assert emitter.answered("job") == (rest, 0)
    assert emitter.answered("job") == ([], 0)
    assert emitter.put("job", first) == [first]


def test_jobs_do_not_wait_for_each_other() -> None:
    emitter = Emitter()
    emitter.put("one", emission(1))

    assert emitter.put("other", emission(2)) == [emission(2)]


def test_a_delivery_is_bounded_by_count_and_by_bytes() -> None:
    emitter = Emitter()
    for _ in range(MAX_EVENTS + 2):
        emitter.put("job", emission(1))

    assert len(emitter.answered("job")[0]) == MAX_EVENTS
    assert len(emitter.answered("job")[0]) == 1

    for _ in range(3):
        emitter.put("job", emission(1, MAX_BYTES))

    assert len(emitter.answered("job")[0]) == 1


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    emitter = Emitter()
    emitter.put("job", emission(1))
    for _ in range(3):
        emitter.put("job", emission(1, MAX_WAITING_BYTES // 2))

    batch, dropped = emitter.answered("job")

    assert (len(batch), dropped) == (1, 1)
