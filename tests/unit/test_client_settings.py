"""Where a deployer's program finds its scheduler and keystores."""

from pathlib import Path

import pytest

from dcp_worker.client.errors import ClientError
from dcp_worker.client.settings import DEFAULT_SCHEDULER, keystore_paths, scheduler_url
from dcp_worker.config.model import Settings


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DCP_SCHEDULER_LOCATION", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path / "resources"))
    monkeypatch.setenv("DCP_ETCDIR", str(tmp_path / "etc"))
    monkeypatch.chdir(tmp_path)


def test_the_default_is_that_of_all_programs() -> None:
    """The fast way and the full way agree."""
    assert scheduler_url() == DEFAULT_SCHEDULER == Settings().scheduler.location
    assert keystore_paths() == (None, None)


def test_later_places_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project file, then environment, then what the program says."""
    (tmp_path / "dcp.toml").write_text(
        '[scheduler]\nlocation = "http://project.example/"\n[client]\npayment_keystore = "/keys/lab.keystore"\n'
    )
    assert scheduler_url() == "http://project.example/"
    assert keystore_paths() == (None, Path("/keys/lab.keystore"))
    monkeypatch.setenv("DCP_SCHEDULER_LOCATION", "http://environment.example/")
    assert scheduler_url() == "http://environment.example/"
    assert scheduler_url("https://said.example/") == "https://said.example/"


def test_what_is_no_address_is_refused() -> None:
    """The error shows what one looks like."""
    with pytest.raises(ClientError, match="http://127"):
        scheduler_url("scheduler.example.org")
