"""The deployer's keystores: made once, kept, refused when they cannot be."""

import os
from pathlib import Path

import pytest

from dcp_worker.client.identity import IdentityError, load_identity, resource_dir
from dcp_worker.errors import DcpError


def test_keystores_are_made_on_first_use_and_kept(tmp_path: Path) -> None:
    """The second program of a user is the same deployer as the first; its keys are for its eyes only."""
    folder = tmp_path / "new" / "resources"

    first = load_identity(folder=folder)
    second = load_identity(folder=folder)

    assert first.owner.address == second.owner.address
    assert first.payer.address == second.payer.address != first.owner.address
    assert sorted(path.name for path in folder.iterdir()) == ["default.keystore", "id.keystore"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_named_keystore_must_exist(tmp_path: Path) -> None:
    """A misspelled name does not make a fresh, empty account."""
    with pytest.raises(DcpError, match=r"other\.keystore"):
        load_identity(payer=tmp_path / "other.keystore", folder=tmp_path)
    assert not (tmp_path / "other.keystore").exists()


def test_a_broken_keystore_is_not_replaced(tmp_path: Path) -> None:
    """Money may hang on it."""
    (tmp_path / "id.keystore").write_text("{")

    with pytest.raises(DcpError, match="id"):
        load_identity(folder=tmp_path)

    assert (tmp_path / "id.keystore").read_text() == "{"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The error says what to set."""
    tmp_path.chmod(0o500)
    with pytest.raises(IdentityError, match="DCP_RESOURCE_DIR"):
        load_identity(folder=tmp_path / "resources")


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    """So does this one, for root too."""
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="DCP_RESOURCE_DIR"):
        load_identity(folder=tmp_path / "file" / "resources")


def test_where_keystores_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same places as for npm tools."""
    monkeypatch.setenv("DCP_RESOURCE_DIR", str(tmp_path))
    assert resource_dir() == tmp_path
    monkeypatch.delenv("DCP_RESOURCE_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert resource_dir() == tmp_path / "dcp"
