"""The commands and variables of docker-compose.yml, run on one box without a container engine."""

import os
import socket
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from dcp_worker.tests.programs import Program, command, wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = "from dcp_worker.client import compute_for\nprint(compute_for([1, 2, 3], 'x => x * x').exec())\n"


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


class Services:
    """The services of the Compose file, with ports, host names and volumes that a test may have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        (folder / "enrolment").mkdir()
        self.scheduler_port = free_port()
        self.replaced = {
            "$$": "$",
            "0.0.0.0": "127.0.0.1",
            "//worker:": "//127.0.0.1:",
            "//scheduler:": "//127.0.0.1:",
            "9080": self.scheduler_port,
            "9081": free_port(),
            "/enrolment": str(folder / "enrolment"),
        }

    def here(self, text: str) -> str:
        for there, here in self.replaced.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        given = self.document["services"].get(name, {}).get("environment", {})
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DCP_ETCDIR": str(self.folder),
            "DCP_RESOURCE_DIR": str(self.folder / name),
            **{variable: self.here(value) for variable, value in given.items()},
        }

    def start(self, name: str) -> Program:
        first, *rest = [self.here(word) for word in self.document["services"][name]["command"]]
        program = first if first == "sh" else command(first)
        return Program(
            [program, *rest], self.folder / f"{name}.log", env=self.environment(name), cwd=self.folder
        )


def test_three_services_compute_a_job(tmp_path: Path) -> None:
    """The host enrols itself, attaches over CURVE, computes the job; SIGTERM ends each with status 0."""
    services = Services(tmp_path)
    running: dict[str, Program] = {}
    try:
        for name in ("scheduler", "worker", "evaluator-host"):
            running[name] = services.start(name)
        running["worker"].wait_for("attached: ")
        environment = services.environment("deployer") | {
            "DCP_SCHEDULER_LOCATION": f"http://127.0.0.1:{services.scheduler_port}/"
        }
        deployer = Program(
            [sys.executable, "-c", DEPLOY], tmp_path / "deployer.log", env=environment, cwd=tmp_path
        )
        assert deployer.wait() == 0, deployer.output
        assert "[1, 4, 9]" in deployer.output
        assert len(list((tmp_path / "enrolment" / "hosts").glob("*.json"))) == 1
        assert not list((tmp_path / "enrolment").rglob("*.key"))

        for name in ("evaluator-host", "worker", "scheduler"):
            running[name].process.terminate()
            assert running[name].wait() == 0, running[name].output
    finally:
        for program in running.values():
            program.stop()


@pytest.mark.parametrize("name", ["worker", "evaluator-host"])
def test_a_service_waits_for_the_others(tmp_path: Path, name: str) -> None:
    """A service that is up before the others does not end."""
    service = Services(tmp_path).start(name)
    try:
        process = psutil.Process(service.process.pid)
        if name == "worker":
            service.wait_for("waits for work")
        wait_until(lambda: process.children() or service.output, "a sign of life")
        assert service.process.poll() is None
    finally:
        service.stop()
