"""What was committed to the outbox is there after anything that can happen to the process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dcp_worker.actors.outbox import Outbox, OutboxError, OutcomeRow, Task
from dcp_worker.protocol.messages import Metrics

COST = Metrics(10, 5.0, 4.0, 0.0, 100, 200)
TASK = Task("t1", "job", "v9", b'{"owner":"0x"}')

WRITER = """
import sys
from pathlib import Path
from dcp_worker.actors.outbox import Outbox, OutcomeRow, Task
from dcp_worker.protocol.messages import Metrics
box = Outbox(Path(sys.argv[1]))
box.commit([Task("t1", "job", "v9", b"{}")], [], [], [])
for n in range(1, 1_000_000):
    row = OutcomeRow("t1", "job", n * 10, 10, False, b"[" + b"7" * 500 + b"]", Metrics(10, 1, 1, 0, 1, 1))
    box.commit([], [row], [], [])
    print(n, flush=True)
"""


def rows(*firsts: int) -> list[OutcomeRow]:
    return [OutcomeRow("t1", "job", first, 10, False, b"[1,2,3,4,5,6,7,8,9,0]", COST) for first in firsts]


def test_outcomes_stay_until_they_are_delivered(tmp_path: Path) -> None:
    """Rows come back in order with their authorisation, and a delivered row is gone."""
    box = Outbox(tmp_path / "outbox.db")
    box.commit([TASK], rows(1, 11, 21), [], [])
    first, second, third = box.read(0, 100, 10_000)
    box.commit([], [], [first, third], ["t1"])

    assert [row.first for row in (first, second, third)] == [1, 11, 21]
    assert box.read(0, 100, 10_000) == [second]
    assert (box.slices, box.bytes) == (10, len(second.body))
    assert box.task("t1") == TASK
    box.commit([], [], [second], [])
    assert box.task("t1") is None


def test_reading_is_bounded_but_never_stuck(tmp_path: Path) -> None:
    """A limit cuts the rows, and one row larger than the limit still comes."""
    box = Outbox(tmp_path / "outbox.db")
    box.commit([TASK], rows(1, 11, 21), [], [])

    assert len(box.read(0, 20, 10_000)) == 2
    assert len(box.read(0, 5, 1)) == 1


def test_a_killed_process_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    """kill -9 in the middle of writing: everything that was reported as committed is there afterwards."""
    path = tmp_path / "outbox.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    reported = [int(writer.stdout.readline()) for _ in range(25)]
    os.kill(writer.pid, signal.SIGKILL)
    reported += [int(line) for line in writer.stdout if line.endswith("\n")]
    writer.wait()

    box = Outbox(path)

    kept = [row.first // 10 for row in box.read(0, 10**9, 10**9)]
    assert kept[: len(reported)] == reported
    assert len(kept) - len(reported) in (0, 1)  # committed, and killed before it could say so
    assert [first for _, first, _ in box.held()] == [number * 10 for number in kept]


def test_two_workers_cannot_share_an_outbox(tmp_path: Path) -> None:
    """The second one is told so, and what to do."""
    box = Outbox(tmp_path / "outbox.db")
    with pytest.raises(OutboxError, match="another worker"):
        Outbox(tmp_path / "outbox.db")
    box.close()
    Outbox(tmp_path / "outbox.db").close()


def test_a_folder_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    """The text names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="cannot keep results in"):
        Outbox(tmp_path / "file" / "outbox.db")


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    """A commit that finds no room fails as a whole, says so, and works again when there is room."""
    box = Outbox(tmp_path / "outbox.db")
    box.commit([TASK], rows(1), [], [])
    box._db.execute("pragma max_page_count=30")  # SQLite's own way to a full disk
    big = OutcomeRow("t1", "job", 11, 1, False, b"[" + b"1" * 500_000 + b"]", COST)

    with pytest.raises(OutboxError, match="disk full"):
        box.commit([], [*rows(21), big], [], [])

    assert [row.first for row in box.read(0, 100, 10_000_000)] == [1]
    box._db.execute("pragma max_page_count=100000")
    box.commit([], [*rows(21), big], [], [])
    assert [row.first for row in box.read(0, 100, 10_000_000)] == [1, 21, 11]


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    """A file that is no database is not overwritten."""
    (tmp_path / "outbox.db").write_bytes(b"not a database, but somebody's letter" * 100)
    with pytest.raises(OutboxError, match="cannot use the outbox"):
        Outbox(tmp_path / "outbox.db")
    assert (tmp_path / "outbox.db").read_bytes().startswith(b"not a database")
