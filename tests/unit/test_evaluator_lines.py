"""The line protocol between an evaluator host and a sandbox."""

import json

import pytest

from dcp_worker.protocol.evaluator_lines import (
    MAX_HEADER,
    Assigned,
    AssignFailed,
    Cost,
    DieLine,
    EventLine,
    FailedLine,
    FinishedLine,
    LineError,
    LineReader,
    LogLine,
    ProgressLine,
    Ready,
    RejectedLine,
    ResultsLine,
    encode_assign,
    encode_run,
)

COST = b'"wall":1.5,"cpu":1e-7,"gpu":0,"in":10,"out":20'


def test_every_line_has_its_type() -> None:
    """What a sandbox says in the table of the architecture page, with payloads left as they are."""
    said = [
        b'MSG:{"type":"ready"}',
        b'MSG:{"type":"assigned"}',
        b'MSG:{"type":"assignFailed","error":{"name":"SyntaxError","message":"m"}}',
        b'MSG:{"type":"results","run":7,"first":1,"count":2,' + COST + b"}",
        b"MSG: this is a payload",
        b'MSG:{"type":"failed","run":7,"slice":3,"message":"m",' + COST + b"}",
        b"{}",
        b'MSG:{"type":"rejected","run":7,"slice":4,"reason":"r","retries":2}',
        b'MSG:{"type":"progress","run":7,"slice":4,"progress":0.5}',
        b'MSG:{"type":"progress","run":7,"slice":4,"progress":7}',
        b'MSG:{"type":"event","slice":4,"event":"console"}',
        b'{"level":"log"}',
        b'MSG:{"type":"finished","run":7}',
        b"LOG:hello",
        b"DIE: as told",
    ]
    cost = Cost(1.5, 1e-7, 0.0, 10, 20)

    assert list(LineReader().read(said)) == [
        Ready(),
        Assigned(),
        AssignFailed("SyntaxError", "m", ""),
        ResultsLine(7, 1, 2, cost, b"MSG: this is a payload"),
        FailedLine(7, 3, "m", cost, b"{}"),
        RejectedLine(7, 4, "r", 2),
        ProgressLine(7, 4, 0.5),
        ProgressLine(7, 4, -1.0),
        EventLine(4, "console", b'{"level":"log"}'),
        FinishedLine(7),
        LogLine("hello"),
        DieLine("as told"),
    ]


def test_a_payload_may_come_later_than_its_header() -> None:
    reader = LineReader()

    assert list(reader.read([b'MSG:{"type":"event","slice":4,"event":"custom"}'])) == []
    assert list(reader.read([b"{}"])) == [EventLine(4, "custom", b"{}")]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"MSG:",
        b"MSG:{",
        b"MSG:[]",
        b'MSG:{"type":"dance"}',
        b'MSG:{"type":["ready"]}',
        b'MSG:{"type":"finished"}',
        b'MSG:{"type":"finished","run":-1}',
        b'MSG:{"type":"finished","run":1.5}',
        b'MSG:{"type":"finished","run":true}',
        b'MSG:{"type":"finished","run":1e400}',
        b'MSG:{"type":"finished","run":99999999999999999999}',
        b'MSG:{"type":"progress","run":1,"slice":1,"progress":"half"}',
        b'MSG:{"type":"assignFailed","error":"no"}',
        b'MSG:{"type":"rejected","run":1,"slice":1,"reason":1,"retries":0}',
        b"MSG:" + b"[" * 100_000,
        b"LOG:" + b"x" * MAX_HEADER,
        b"\xff\xfe\x00",
    ],
)
def test_nonsense_is_an_error_of_the_protocol(line: bytes) -> None:
    with pytest.raises(LineError):
        list(LineReader().read([line]))


@pytest.mark.parametrize(
    "header",
    [
        b'MSG:{"type":"results","run":1,"first":1,"count":0,' + COST + b"}",
        b'MSG:{"type":"results","run":1,"first":1,"count":1}',
        b'MSG:{"type":"event","slice":1,"event":"complete"}',
    ],
)
def test_a_header_is_checked_with_its_payload(header: bytes) -> None:
    with pytest.raises(LineError):
        list(LineReader().read([header, b"[]"]))


def test_an_assign_line_is_json_whatever_the_source_holds() -> None:
    """Line feeds, quotes and half surrogate pairs of a work function travel as escapes."""
    source = 'x => "\ud800\u2028\n"'
    line = encode_assign(
        job="j", work_function=source, arguments=b"[1,2]", input_range='{"start":1,"end":2}', link="l"
    )
    message = json.loads(line)

    assert line.count(b"\n") == 1
    assert message["job"]["workFunction"] == source
    assert message["job"]["range"] == {"start": 1, "end": 2}
    assert message["job"]["public"] == {"link": "l"}
    assert message["arguments"] == [1, 2]


def test_a_run_line_is_followed_by_its_values() -> None:
    assert encode_run(7, 1, 2, b"[1,2]").split(b"\n") == [
        b'{"type":"run","run":7,"first":1,"count":2,"values":true}',
        b"[1,2]",
        b"",
    ]
    assert b'"values":false' in encode_run(7, 1, 2)


def test_texts_that_would_break_a_line_are_refused() -> None:
    with pytest.raises(LineError):
        encode_run(1, 1, 1, b"[1,\n2]")
    with pytest.raises(LineError):
        encode_assign(job="j", work_function="", arguments="[\n]")
