"""Logs: several outputs at once, levels, JSON lines, libraries, and no secrets."""

import json
import logging
from pathlib import Path

import pytest
from loguru import logger

from dcp_worker.cli import logs
from dcp_worker.config.model import Log


def test_several_outputs_at_once_each_with_its_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file, a JSON file and the console get the same record, if their level lets it through."""
    text, lines = tmp_path / "new" / "w.log", tmp_path / "w.json"
    logs.set_up(Log(outputs=("console@error", f"file:{text}@debug", f"json:{lines}")), "dcp-worker")

    logger.bind(job="0xabc", slice=7).debug("slice completed {}", 7)
    logger.error("disk full")

    assert "slice completed 7 job=0xabc slice=7" in text.read_text()
    (record,) = [json.loads(line) for line in lines.read_text().splitlines()]
    assert (record["level"], record["message"], record["program"]) == ("error", "disk full", "dcp-worker")
    console = capsys.readouterr().err
    assert "disk full" in console
    assert "slice completed" not in console


def test_json_lines_carry_facts_and_exceptions(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    logs.set_up(Log(outputs=(f"json:{path}@debug",)), "dcp-worker")

    try:
        raise OSError("no space\nleft")
    except OSError:
        logger.bind(job="j1", message="cannot shadow").exception("it failed: {{}}", 1)

    (record,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert record["job"] == "j1"
    assert record["message"] == "it failed: {}"
    assert "OSError: no space" in record["exception"]
    assert "Traceback" in record["exception"]


def test_braces_and_markup_in_facts_do_no_harm(tmp_path: Path) -> None:
    """Texts of strangers are printed as they are: no format is read from them."""
    path = tmp_path / "w.log"
    logs.set_up(Log(outputs=(f"file:{path}",)), "dcp-worker")

    logger.bind(job="{level} <red>{extra[x]}").info("{} <blue>{{", "<green>{time}")

    assert "<green>{time} <blue>{ job={level} <red>{extra[x]}" in path.read_text()


@pytest.mark.parametrize(
    "text", ["passphrase=hunter2", '{"privateKey": "hunter2"}', "joinSecret: hunter2, x"]
)
def test_secrets_do_not_reach_the_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.log"
    logs.set_up(Log(outputs=(f"file:{path}",)), "dcp-worker")

    logger.info("{}", text)

    assert "(hidden)" in path.read_text()
    assert "hunter2" not in path.read_text()


def test_libraries_log_through_the_same_outputs(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    logs.set_up(Log(outputs=(f"json:{path}",)), "dcp-worker")

    logging.getLogger("some.library").warning("it is %s", "late")
    logging.getLogger("engineio").warning("chatter that is kept out")

    (record,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (record["library"], record["message"]) == ("some.library", "it is late")


@pytest.mark.parametrize("output", ["", "paper", "file:", "console:x", "json@loud"])
def test_unknown_outputs_are_refused(output: str) -> None:
    with pytest.raises(logs.LogOutputError, match="unknown"):
        logs.set_up(Log(outputs=(output,)), "dcp-worker")


def test_unwritable_log_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(logs.LogOutputError, match="cannot be written"):
        logs.set_up(Log(outputs=(f"file:{tmp_path}/file/w.log",)), "dcp-worker")
