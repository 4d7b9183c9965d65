"""Keys in files and the folder of authorised hosts."""

import stat

import pytest

from dcp_worker.protocol.curve import Authenticator, AuthorisedHosts, CurveError, CurveKey, parse_key


def test_a_key_is_made_once_and_private(tmp_path):
    """The second start finds the key of the first; nobody else can read it."""
    path = tmp_path / "keys" / "host.key"

    key = CurveKey.load_or_create(path)

    assert CurveKey.load_or_create(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert parse_key(str(path) + ".pub") == key.public
    assert key.secret not in repr(key)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["host.key", "host.key.pub"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    """And the error says how to repair it."""
    path = tmp_path / "host.key"
    CurveKey.load_or_create(path)
    path.chmod(0o644)

    with pytest.raises(CurveError, match="chmod 600"):
        CurveKey.load_or_create(path)


def test_what_is_no_key_is_refused(tmp_path):
    """Neither a text nor a file with something else in it passes for a key."""
    (tmp_path / "file").write_text("hello")
    for text in ("", "abc", "z" * 64, str(tmp_path / "file"), str(tmp_path), "a\0b"):
        with pytest.raises(CurveError):
            parse_key(text)


def test_authorise_and_revoke_take_effect_at_once(tmp_path):
    """The folder is the truth: another process sees each change without a restart."""
    ours, theirs = AuthorisedHosts(tmp_path / "hosts"), AuthorisedHosts(tmp_path / "hosts")
    key = CurveKey.load_or_create(tmp_path / "k").public
    assert theirs.all() == {}

    ours.authorise(key, "box")
    assert theirs.all() == {key: "box"}
    ours.authorise(key, "bigbox")
    assert theirs.all() == {key: "bigbox"}
    assert ours.revoke("bigbox") == [key]
    assert theirs.all() == {}
    with pytest.raises(CurveError, match="dcp host list"):
        ours.revoke("bigbox")


def test_a_broken_file_hurts_only_itself(tmp_path):
    """Rubbish in the folder is ignored; the hosts beside it stay authorised."""
    hosts = AuthorisedHosts(tmp_path)
    hosts.authorise("ab" * 32, "box")
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"key": 1, "name": ""}'), ("d", "\udc80")):
        (tmp_path / f"{name}.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    assert hosts.all() == {"ab" * 32: "box"}


def test_zap_answers(tmp_path):
    """200 with the key as user id for an authorised key, 400 for others, 500 for rubbish."""
    hosts = AuthorisedHosts(tmp_path / "hosts")
    hosts.authorise("ab" * 32, "box")
    door = Authenticator(CurveKey.load_or_create(tmp_path / "k"), hosts)
    request = [b"1.0", b"1", b"1", b"127.0.0.1", b"", b"CURVE"]

    assert door.answer([*request, b"\xab" * 32]) == [b"1.0", b"1", b"200", b"OK", b"ab" * 32, b""]
    assert door.answer([*request, b"\xac" * 32])[2] == b"400"
    assert door.answer([*request, b"short"])[2] == b"400"
    assert door.answer([*request[:5], b"NULL"])[2] == b"400"
    assert door.answer([])[2] == b"500"
    assert door.still_authorised("ab" * 32)
    assert not door.still_authorised("ac" * 32)
