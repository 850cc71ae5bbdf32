"""A security key in software: what a browser with a real one would send, for tests that speak HTTP."""

import hashlib
import json
import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url

from app.core.clock import now
from app.core.db import unit_of_work
from app.core.ids import PersonId, new_id
from app.identity.models import Passkey

ORIGIN, RELYING_PARTY = "http://127.0.0.1:8000", "127.0.0.1"


class SoftKey:
    """One key of one person; it is always touched and always knows its owner."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.credential, self.counter = os.urandom(32), 0

    @property
    def public(self) -> bytes:
        """The public key in COSE's form: EC2, ES256, P-256."""
        point = self.private.public_key().public_numbers()
        return b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + point.x.to_bytes(32) + b"\x22\x58\x20" + point.y.to_bytes(32)

    async def belong_to(self, person_id: PersonId) -> None:
        """Be one of this person's keys, as after its registration."""
        row = Passkey(id=new_id(), person_id=person_id, name="Soft key", credential_id=self.credential, public_key=self.public)
        row.counter, row.created_at, row.last_used_at = 0, now(), None
        async with unit_of_work(None) as session:
            session.add(row)

    def answer(self, options: str) -> str:
        """The answer to a question, as the browser would send it."""
        self.counter += 1
        client = json.dumps({"type": "webauthn.get", "challenge": json.loads(options)["challenge"], "origin": ORIGIN}).encode()
        shown = hashlib.sha256(RELYING_PARTY.encode()).digest() + b"\x05" + self.counter.to_bytes(4)
        signature = self.private.sign(shown + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        parts = {"clientDataJSON": client, "authenticatorData": shown, "signature": signature}
        name = bytes_to_base64url(self.credential)
        response = {part: bytes_to_base64url(value) for part, value in parts.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
