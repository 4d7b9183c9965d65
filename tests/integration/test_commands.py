"""The commands as people start them: help, exit statuses, errors, configuration, in real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dcp_worker.tests.programs import Program, command

PROGRAMS = ("dcp", "dcp-worker", "dcp-scheduler", "dcp-evaluator-manager", "dcp-evaluator-start")
CONFIGURED = ("dcp-worker", "dcp-scheduler", "dcp-evaluator-manager")


def run(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command to its end, away from the user's own configuration."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("DCP_", "XDG_"))}
    variables |= {"DCP_RESOURCE_DIR": str(folder / "resources"), "DCP_ETCDIR": str(folder / "etc")}
    return subprocess.run(
        [command(arguments[0]), *arguments[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        env=variables | dict(environment or {}),
        input=text,
        timeout=60,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version(program: str, tmp_path: Path) -> None:
    """Both end with 0, teach, and write nothing to stderr."""
    for option in ("--help", "--version"):
        done = run(program, option, folder=tmp_path)

        assert (done.returncode, done.stderr) == (0, "")
        assert program in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_of_dcp_imports_nothing_heavy(tmp_path: Path) -> None:
    """What makes `dcp --help` quick: no settings model, no logs, no network code."""
    code = (
        "import sys\nfrom dcp_worker.cli.dcp import command\n"
        "try:\n    command.main(['--help'], prog_name='dcp')\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'loguru', 'aiohttp', 'asyncio', 'zmq', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )

    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_every_sub_command_has_help(tmp_path: Path) -> None:
    """What `dcp --help` lists can be called."""
    from dcp_worker.cli.dcp import COMMANDS

    for name in COMMANDS:
        done = run("dcp", name, "--help", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"Usage: dcp {name}" in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_option_is_a_usage_error(program: str, tmp_path: Path) -> None:
    done = run(program, "--no-such-thing", folder=tmp_path)

    assert done.returncode == 2
    assert "--no-such-thing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", CONFIGURED)
def test_show_config_tells_where_each_value_comes_from(program: str, tmp_path: Path) -> None:
    (tmp_path / "dcp.toml").write_text('[log]\nlevel = "debug"\n')

    text = run(program, "--show-config", folder=tmp_path)

    assert text.returncode == 0, text.stderr
    assert f"# {tmp_path / 'dcp.toml'}:2" in text.stdout


def test_worker_takes_the_spellings_of_the_reference(tmp_path: Path) -> None:
    done = run(
        "dcp-worker",
        *("--maxSandboxes", "3", "--paymentAddress", "0x" + "1a" * 20, "--leavePublicGroup"),
        *("--dcp-scheduler", "http://127.0.0.1:1", "-c", "2,1", "-g", "lab,hunter2", "--show-config"),
        folder=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    for line in ("max_sandboxes = 3 ", "leave_public_group = true ", 'cores = "2,1" '):
        assert line in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("program", CONFIGURED)
def test_wrong_configuration_is_one_clear_message(program: str, tmp_path: Path) -> None:
    """File, line and the nearest right key; exit status 2; no traceback."""
    (tmp_path / "dcp.toml").write_text("[log]\nlevl = 'debug'\n")

    done = run(program, folder=tmp_path)

    expected = f"{tmp_path / 'dcp.toml'}:2: [log] has no key 'levl'; did you mean 'level'?"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{program}: {expected} [ECONFIG]\n"


def test_wrong_flag_value_names_the_flag(tmp_path: Path) -> None:
    done = run("dcp-worker", "--cores", "many", folder=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("dcp-worker: --cores: worker.cores: expected ")


def test_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for arguments in (("dcp-scheduler",), ("dcp", "up")):
            done = run(*arguments, "--listen", address, "--data", str(tmp_path / "data"), folder=tmp_path)

            assert done.returncode == 1
            assert "address already in use" in done.stderr.lower()
            assert "--listen" in done.stderr
            assert "Traceback" not in done.stderr


def test_unusable_data_directory_is_a_clear_error(tmp_path: Path) -> None:
    """A directory that cannot be made (this holds for root too, whom no permission bits stop)."""
    (tmp_path / "file").write_text("")
    for arguments in (("dcp-scheduler",), ("dcp", "up")):
        done = run(
            *arguments, "--listen", "127.0.0.1:0", "--data", str(tmp_path / "file" / "data"), folder=tmp_path
        )

        assert done.returncode == 1, done.stderr
        assert str(tmp_path / "file" / "data") in done.stderr
        assert "Traceback" not in done.stderr


def test_scheduler_logs_json_lines_and_ends_on_a_signal(tmp_path: Path) -> None:
    """The line `listening on URL` on stdout, one JSON object a line in the log file, exit status 0."""
    log = tmp_path / "scheduler.json"
    program = Program(
        [
            *(command("dcp-scheduler"), "--listen", "127.0.0.1:0"),
            *("--data", str(tmp_path / "data"), "--log", f"json:{log}"),
        ],
        tmp_path / "output",
        env={"DCP_ETCDIR": str(tmp_path), "DCP_RESOURCE_DIR": str(tmp_path / "resources")},
        cwd=tmp_path,
    )
    try:
        url = program.wait_for(r"listening on (http://\S+)").group(1)
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.stop()

    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(url in record["message"] for record in records)
    assert {record["program"] for record in records} == {"dcp-scheduler"}


def test_wallet_makes_and_shows_keystores(tmp_path: Path) -> None:
    """The key is printed only when asked for; an existing keystore is never replaced."""
    made = run("dcp", "wallet", "create", "lab", "--no-passphrase", "--json", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout)
    path = tmp_path / "resources" / "lab.keystore"
    assert facts["file"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()

    shown = run("dcp", "wallet", "show", "lab", "--json", folder=tmp_path)
    secret = run("dcp", "wallet", "show", str(path), "--show-private-key", "--json", folder=tmp_path)
    again = run("dcp", "wallet", "create", "lab", "--no-passphrase", folder=tmp_path)
    absent = run("dcp", "wallet", "show", "nobody", folder=tmp_path)

    assert json.loads(shown.stdout) == facts
    assert len(json.loads(secret.stdout)["privateKey"]) == 66
    assert (again.returncode, absent.returncode) == (1, 1)
    assert path.read_text() == before
    assert "dcp wallet create" in absent.stderr


def test_wallet_passphrase_from_a_file(tmp_path: Path) -> None:
    """A keystore with a passphrase opens with it and with no other."""
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery\n")
    made = run("dcp", "wallet", "create", "lab", "--passphrase-file", "right", folder=tmp_path)
    assert made.returncode == 0, made.stderr

    show = ("dcp", "wallet", "show", "lab", "--show-private-key", "--json", "--passphrase-file")
    right, wrong = run(*show, "right", folder=tmp_path), run(*show, "wrong", folder=tmp_path)

    assert "privateKey" in json.loads(right.stdout)
    assert (wrong.returncode, wrong.stdout) == (1, "")


def test_hosts_are_authorised_listed_and_revoked(tmp_path: Path) -> None:
    key = run("dcp", "host", "key", "--of-host", folder=tmp_path).stdout.strip()
    assert len(key) == 64

    assert run("dcp", "host", "authorise", key, "--name", "box-7", folder=tmp_path).returncode == 0
    listed = json.loads(run("dcp", "host", "list", "--json", folder=tmp_path).stdout)
    revoked = run("dcp", "host", "revoke", "box-7", folder=tmp_path)
    again = run("dcp", "host", "revoke", "box-7", folder=tmp_path)

    assert listed == [{"name": "box-7", "key": key}]
    assert (revoked.returncode, again.returncode) == (0, 1)
    assert "Traceback" not in again.stderr
