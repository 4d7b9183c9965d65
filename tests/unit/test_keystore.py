"""Keystore files: the vectors of their definition, who may read them, and what happens to damaged ones."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dcp_worker.protocol.dcp.keystore import (
    Keystore,
    KeystoreError,
    WrongPassphrase,
    load_keystore,
    load_or_create,
)
from dcp_worker.protocol.dcp.signature import PrivateKey

# Both vectors stand in the definition of Web3 Secret Storage; the passphrase is "testpassword".
SECRET = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
ADDRESS = "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b"
PBKDF2: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
SCRYPT: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}


def write(folder: Path, content: object) -> Path:
    path = folder / "some.keystore"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("vector", [PBKDF2, SCRYPT], ids=["pbkdf2", "scrypt"])
def test_vectors_of_the_definition(tmp_path: Path, vector: dict[str, Any]) -> None:
    """The published files open with their passphrase and give their published key."""
    key = load_keystore(write(tmp_path, vector)).unlock("testpassword")

    assert key.secret_bytes().hex() == SECRET
    assert key.address == ADDRESS


@pytest.mark.parametrize("passphrase", ["", "schön geheim"])
def test_a_new_keystore_comes_back(tmp_path: Path, passphrase: str) -> None:
    """What is saved is loaded again with the same key, and knows its address while locked."""
    path = tmp_path / "below" / "id.keystore"
    made = Keystore.create("id", passphrase)
    made.save(path)
    loaded = load_keystore(path)

    assert (loaded.address, loaded.label) == (made.address, "id")
    assert loaded.unlock(passphrase).address == made.address
    with pytest.raises(WrongPassphrase, match="does not open"):
        loaded.unlock(passphrase + "x")


def test_a_given_key_is_kept() -> None:
    """An existing key can be put into a keystore; the address is the one observed for it elsewhere."""
    keystore = Keystore.create("id", key=PrivateKey(b"\x11" * 32))

    assert keystore.address == "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
    assert keystore.unlock().secret_bytes() == b"\x11" * 32
    assert "11111111" not in repr(keystore)


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    """The file is 0600 and a folder made for it 0700, whatever the umask; nothing is left beside it."""
    before = os.umask(0)
    try:
        Keystore.create("id").save(tmp_path / "keys" / "id.keystore")
    finally:
        os.umask(before)

    assert (tmp_path / "keys" / "id.keystore").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in (tmp_path / "keys").iterdir()] == ["id.keystore"]


def test_never_overwrites(tmp_path: Path) -> None:
    """A second keystore at the same place is refused, and the first one stays as it was."""
    path = tmp_path / "id.keystore"
    first = Keystore.create("id")
    first.save(path)
    with pytest.raises(KeystoreError, match="already"):
        Keystore.create("id").save(path)

    assert load_keystore(path).address == first.address
    assert [entry.name for entry in tmp_path.iterdir()] == ["id.keystore"]


def changed(*path: str, to: object) -> dict[str, Any]:
    """The scrypt vector with one thing changed."""
    content = json.loads(json.dumps(SCRYPT))
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return dict(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("[" * 30_000, "not JSON"),
        ([], "not a JSON object"),
        ({"version": 1}, "version 1"),
        ({"version": 3}, "no crypto"),
        (changed("address", to="zz"), "no address"),
        (changed("crypto", "cipher", to="rot13"), "rot13"),
        (changed("crypto", "ciphertext", to="00"), "32 bytes"),
        (changed("crypto", "mac", to=5), "not hexadecimal"),
        (changed("crypto", "kdf", to="md5"), "md5"),
        (changed("crypto", "kdfparams", "n", to=2**22), "cost too much"),
        (changed("crypto", "kdfparams", "n", to=1000), "make no sense"),
        (changed("crypto", "kdfparams", "n", to=True), "between 1"),
        (changed("crypto", "kdfparams", "p", to=10**9), "between 1"),
        (changed("crypto", "kdfparams", "salt", to="xyz"), "not hexadecimal"),
        (changed("crypto", "cipherparams", to={}), "not hexadecimal"),
        (changed("address", to="0x" + "11" * 20), "but its key is that of"),
        ("x" * 70_000, "too large"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path: Path, content: object, says: str) -> None:
    """A damaged or hostile file gives an error that names the part, at bounded cost."""
    with pytest.raises(KeystoreError, match=says):
        load_keystore(write(tmp_path, content)).unlock("testpassword")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """The error for a file that is not there tells the command."""
    with pytest.raises(KeystoreError, match="dcp wallet"):
        load_keystore(tmp_path / "no.keystore")


def test_old_spelling(tmp_path: Path) -> None:
    """Keys are found in whatever case old wallets wrote them."""
    content = {"Crypto": SCRYPT["crypto"], "Version": 3, "Address": ADDRESS[2:].upper()}

    assert load_keystore(write(tmp_path, content)).address == ADDRESS


def test_programs_that_start_together_share_one_keystore(tmp_path: Path) -> None:
    """Whoever is first makes it, the others take it; nobody's key is lost."""
    path = tmp_path / "id.keystore"
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: load_or_create(path, "id"), range(3)))

    assert len({keystore.address for keystore, _ in answers}) == 1
    assert sorted(made for _, made in answers) == [False, False, True]
    assert [file.name for file in tmp_path.iterdir()] == ["id.keystore"]
