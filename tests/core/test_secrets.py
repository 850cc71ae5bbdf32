"""Sealed secrets: they open in the place they were sealed for, unchanged, with a key of the ring, and nowhere else."""

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.secrets import (
    KeyRing,
    SecretUnreadable,
    digest,
    mac,
    mac_matches,
    new_ring,
    read_ring,
    rewrap,
    ring,
    seal,
    unseal,
    write_ring,
)
from app.core.settings import settings

RING = new_ring()
HERE = "psp_connection.credentials:mer_1:con_1"


def raw(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class TestSeal:
    @given(st.text(max_size=300))
    def test_it_opens_where_it_was_sealed(self, secret: str) -> None:
        token = seal(secret, HERE, keys=RING)
        assert unseal(token, HERE, keys=RING) == secret
        assert len(secret) < 8 or secret not in token

    def test_the_same_secret_never_looks_the_same(self) -> None:
        assert len({seal("hunter2", HERE, keys=RING) for _ in range(50)}) == 50

    @given(st.data())
    def test_one_flipped_bit_anywhere_and_it_does_not_open(self, data: st.DataObject) -> None:
        parts = seal("hunter2", HERE, keys=RING).split(".")
        which = data.draw(st.integers(2, 4))
        changed = bytearray(raw(parts[which]))
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        parts[which] = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        with pytest.raises(SecretUnreadable):
            unseal(".".join(parts), HERE, keys=RING)

    @given(st.text(max_size=60).filter(lambda place: place != HERE))
    def test_moved_to_another_row_it_does_not_open(self, place: str) -> None:
        with pytest.raises(SecretUnreadable):
            unseal(seal("hunter2", HERE, keys=RING), place, keys=RING)

    @pytest.mark.parametrize(
        "token", ["", "v1", "....", "v1.k1.a.b.c", "v2.k1.a.b.c", "v1.k9.AAAA.AAAA.AAAA", "v1.k1.é.é.é", "nonsense" * 40]
    )
    def test_what_was_never_sealed_does_not_open(self, token: str) -> None:
        with pytest.raises(SecretUnreadable):
            unseal(token, HERE, keys=RING)

    @given(st.integers(0, 4))
    def test_parts_of_two_secrets_do_not_mix(self, which: int) -> None:
        one, other = seal("one", HERE, keys=RING).split("."), seal("two", HERE, keys=RING).split(".")
        mixed = ".".join([*one[:which], other[which], *one[which + 1 :]])
        if which < 2:
            assert unseal(mixed, HERE, keys=RING) == "one"
            return
        with pytest.raises(SecretUnreadable):
            unseal(mixed, HERE, keys=RING)


class TestRotation:
    def test_old_secrets_open_after_a_rotation_and_the_old_key_can_go_once_they_are_rewrapped(self) -> None:
        rotated = RING.rotated()
        token = seal("hunter2", HERE, keys=RING)
        assert unseal(token, HERE, keys=rotated) == "hunter2"
        assert seal("x", HERE, keys=rotated).split(".")[1] == rotated.current == "k2"
        moved = rewrap(token, keys=rotated)
        assert moved.split(".")[3:] == token.split(".")[3:], "the secret itself is not touched"
        alone = KeyRing("k2", {"k2": rotated.keys["k2"]})
        assert unseal(moved, HERE, keys=alone) == "hunter2"
        with pytest.raises(SecretUnreadable):
            unseal(token, HERE, keys=alone)

    def test_a_new_key_never_takes_the_name_of_one_that_is_there(self) -> None:
        ring = KeyRing("k3", {"k1": b"1" * 32, "k3": b"3" * 32}).rotated()
        assert ring.current == "k4" and ring.keys["k3"] == b"3" * 32

    def test_a_running_process_opens_what_another_sealed_with_a_newer_key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "keys.json"
        monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
        monkeypatch.setenv("COUNTINGHOUSE_KEY_FILE", str(path))
        settings.cache_clear()
        ring.cache_clear()
        try:
            write_ring(path, RING)
            assert unseal(seal("hunter2", HERE), HERE) == "hunter2"
            write_ring(path, RING.rotated())
            assert unseal(seal("hunter3", HERE, keys=read_ring(path)), HERE) == "hunter3"
            assert seal("x", HERE).split(".")[1] == "k2"
        finally:
            monkeypatch.undo()
            settings.cache_clear()
            ring.cache_clear()

    def test_another_ring_opens_nothing(self) -> None:
        with pytest.raises(SecretUnreadable):
            unseal(seal("hunter2", HERE, keys=RING), HERE, keys=new_ring())


class TestFile:
    def test_only_its_owner_can_read_it_and_it_comes_back_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "keys.json"
        write_ring(path, RING)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_ring(path) == RING
        path.chmod(0o644)
        write_ring(path, RING.rotated())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_ring(path).current == "k2"
        assert [each.name for each in path.parent.iterdir()] == ["keys.json"]

    @pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"current":"k1","keys":5}', b"\xff\xfe"])
    def test_a_damaged_file_is_said_plainly(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "keys.json"
        path.write_bytes(content)
        with pytest.raises(SecretUnreadable, match="cannot be read"):
            read_ring(path)

    def test_a_missing_file_is_said_plainly(self, tmp_path: Path) -> None:
        with pytest.raises(SecretUnreadable, match="does not exist"):
            read_ring(tmp_path / "keys.json")


class TestProofs:
    def test_a_proof_is_for_one_text_and_one_purpose(self, urls: object) -> None:
        proof = mac("pay_1", purpose="return")
        assert mac_matches(proof, "pay_1", purpose="return")
        assert not mac_matches(proof, "pay_2", purpose="return")
        assert not mac_matches(proof, "pay_1", purpose="other")
        assert not mac_matches("é", "pay_1", purpose="return")
        assert not mac_matches("", "pay_1", purpose="return")

    def test_a_token_is_looked_up_by_its_digest(self) -> None:
        assert digest("a") != digest("b") and len(digest("a")) == 32 and b"a" * 8 not in digest("a" * 8)
