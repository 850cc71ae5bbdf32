"""Sealed secrets: AES-256-GCM under a data key of their own, which a key of the ring wraps.

The context (``table.column:merchant:row``) is bound as associated data, so a ciphertext moved to another row does not open. Rotating
adds a key to the ring and rewraps the small data keys; the secrets themselves are not touched.
"""

import base64
import hmac
import json
import os
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from app.core.errors import Unavailable
from app.core.settings import settings

VERSION = "v1"


class SecretUnreadable(Unavailable):
    """A sealed secret cannot be opened: its key is not in the ring, or it was moved or changed."""

    code = "secret_unreadable"
    title = "A sealed secret cannot be opened"


class KeyRing(msgspec.Struct, frozen=True):
    """The keys that wrap data keys; new secrets use ``current``, old ones name theirs."""

    current: str
    keys: Mapping[str, bytes]

    def rotated(self) -> "KeyRing":
        """The ring with one more key, which becomes the current one."""
        name = f"k{max(int(name[1:]) for name in self.keys) + 1}"
        return KeyRing(name, {**self.keys, name: os.urandom(32)})


def new_ring() -> KeyRing:
    """A ring with its first key."""
    return KeyRing("k1", {"k1": os.urandom(32)})


def write_ring(path: Path, ring: KeyRing) -> None:
    """Keep the ring in a file that only its owner can read; written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(ring))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_ring(path: Path) -> KeyRing:
    """Read the ring; a missing or damaged file is said plainly."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeyRing)
    except FileNotFoundError:
        raise SecretUnreadable(
            f"The key file {path} does not exist. Run “countinghouse keys create” or restore it from a backup."
        ) from None
    except (msgspec.ValidationError, json.JSONDecodeError, msgspec.DecodeError):
        raise SecretUnreadable(f"The key file {path} cannot be read; restore it from a backup.") from None


@cache
def ring() -> KeyRing:
    """The key ring of this process."""
    return read_ring(Path(settings().key_file))


def _ring_with(key_id: str) -> KeyRing:
    """The ring, read again when it lacks the key: somebody may have rotated the keys since this process began."""
    if key_id not in ring().keys:
        ring.cache_clear()
    return ring()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def seal(secret: str, context: str, *, keys: KeyRing | None = None) -> str:
    """Seal a secret for one place; it opens only there."""
    keys = keys or ring()
    data_key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(data_key).encrypt(nonce, secret.encode(), context.encode())
    wrapped = aes_key_wrap(keys.keys[keys.current], data_key)
    return ".".join((VERSION, keys.current, _text(wrapped), _text(nonce), _text(sealed)))


def unseal(token: str, context: str, *, keys: KeyRing | None = None) -> str:
    """Open a sealed secret in the place it was sealed for."""
    try:
        key_id, wrapped, nonce, sealed = token.removeprefix(f"{VERSION}.").split(".")
        data_key = aes_key_unwrap((keys or _ring_with(key_id)).keys[key_id], _raw(wrapped))
        return AESGCM(data_key).decrypt(_raw(nonce), _raw(sealed), context.encode()).decode()
    except (KeyError, ValueError, InvalidTag, InvalidUnwrap):
        raise SecretUnreadable("The key that sealed it is not in the ring, or it was sealed for another place.") from None


def rewrap(token: str, *, keys: KeyRing | None = None) -> str:
    """The same sealed secret, its data key wrapped by the current key."""
    keys = keys or ring()
    version, key_id, wrapped, nonce, sealed = token.split(".")
    data_key = aes_key_unwrap(keys.keys[key_id], _raw(wrapped))
    return ".".join((version, keys.current, _text(aes_key_wrap(keys.keys[keys.current], data_key)), nonce, sealed))


def digest(token: str) -> bytes:
    """The hash under which a random token (session, API key, recovery code) is stored and looked up."""
    return sha256(token.encode()).digest()


def mac(text: str, *, purpose: str) -> str:
    """A short proof that we wrote this text for this purpose; the first key of the ring, which never leaves it, makes it."""
    key = hmac.digest(ring().keys["k1"], f"mac:{purpose}".encode(), "sha256")
    return _text(hmac.digest(key, text.encode(), "sha256"))


def mac_matches(given: str, text: str, *, purpose: str) -> bool:
    """Whether the proof is ours, compared in constant time."""
    return hmac.compare_digest(given.encode(), mac(text, purpose=purpose).encode())
