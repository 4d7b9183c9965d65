"""docker-compose.yml and Dockerfile: valid, and in step with the programs that they start."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from dcp_worker.config.layers import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(document, dict)
    return document


def test_compose_file_follows_the_schema(compose: dict[str, Any]) -> None:
    """As published by the Compose project; no container engine is needed for this."""
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    Draft7Validator.check_schema(schema)

    assert [error.message for error in Draft7Validator(schema).iter_errors(compose)] == []
    broken = {**compose, "services": {**compose["services"], "extra": {"imge": "x"}}}
    assert [error.message for error in Draft7Validator(schema).iter_errors(broken)] != []


def test_compose_has_the_stack_from_one_image(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"scheduler", "worker", "evaluator-host"}
    for service in compose["services"].values():
        assert service["build"] == "."
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]


def test_settings_in_the_compose_file_are_real(compose: dict[str, Any], tmp_path: Path) -> None:
    """Every variable loads as a setting, and worker and host agree on the endpoint."""
    loaded = {
        name: load(
            environment=service.get("environment", {}) | {"DCP_ETCDIR": str(tmp_path)}, project_dir=tmp_path
        )
        for name, service in compose["services"].items()
    }

    bound = loaded["worker"].settings.worker.evaluator_hosts
    dialled = loaded["evaluator-host"].settings.evaluator_host.supervisor
    assert bound is not None
    assert dialled is not None
    assert bound.rpartition(":")[2] == dialled.rpartition(":")[2]
    assert dialled.startswith("tcp://worker:")


def test_programs_in_the_compose_file_are_installed_by_the_package(compose: dict[str, Any]) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for service in compose["services"].values():
        words = re.findall(r"\bdcp(?:-[a-z]+)*\b(?!\.)", " ".join(service["command"]))
        assert words
        assert set(words) <= set(scripts)


def test_image_holds_what_the_build_needs() -> None:
    """.dockerignore leaves out no file that pyproject.toml packs."""
    ignored = {line.strip("*/") for line in (ROOT / ".dockerignore").read_text().split()}
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["only-include"]

    assert ignored.isdisjoint(packed)
    assert ignored.isdisjoint({"README.md", "LICENSE", "pyproject.toml"})
