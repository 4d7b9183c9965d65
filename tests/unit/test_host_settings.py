"""From configuration and flags to what an evaluator host does."""

from pathlib import Path

import click
import pytest

from dcp_worker.cli.evaluator_manager import host_settings
from dcp_worker.config.layers import load
from dcp_worker.evaluator_host.daemon import HostError, HostSettings, run_host


def settings(**flags):
    return load({name.replace("__", "."): ("--flag", value) for name, value in flags.items()}).settings


def test_flags_reach_the_host(tmp_path, monkeypatch):
    """Cores, limits, layers and names arrive where they are used, in its units."""
    monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path))
    host = host_settings(
        settings(
            evaluator_host__supervisor="tcp://10.0.0.1:9081",
            evaluator_host__supervisor_key="ab" * 32,
            evaluator_host__name="box",
            evaluator_host__spares="3",
            evaluator_host__progress_timeout="2m",
            evaluator_host__memory_per_sandbox="512MiB",
            evaluator_host__allow_weaker_sandbox=["namespaces"],
            worker__cores="3,1",
            worker__utilization="0.5",
            worker__max_sandboxes="7",
            evaluator_host__max_load="0.9",
        ),
        parent=7,
    )

    assert (host.supervisor, host.supervisor_key, host.name) == ("tcp://10.0.0.1:9081", "ab" * 32, "box")
    assert host.key_file == tmp_path / "host.key"
    assert (host.spares, host.sandbox.progress_timeout_s, host.evaluator.memory_mb) == (3, 120.0, 512)
    assert host.allow_weaker == {"namespaces"}
    assert (host.load.cores, host.load.gpus, host.load.utilization) == (3, 1, 0.5)
    assert (host.load.max_sandboxes, host.load.max_load) == (7, 0.9)
    assert host.parent == 7


def test_without_a_supervisor_there_is_nothing_to_do(tmp_path, monkeypatch):
    """The error says which flag is missing."""
    monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path))

    with pytest.raises(click.UsageError, match="--supervisor"):
        host_settings(settings())


def test_over_the_network_a_key_is_needed():
    """The error says where to get it."""
    with pytest.raises(HostError, match="dcp host key"):
        run_host(HostSettings(supervisor="tcp://127.0.0.1:1", key_file=Path("/nonexistent")))
