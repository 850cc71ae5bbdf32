"""People for tests; the password and the TOTP secret are known."""

import itertools
from uuid import UUID

import psycopg
import pyotp
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.identity import service
from app.identity.models import Person

PASSWORD = "violet tram keeps nine hats"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_numbers = itertools.count(1)
_hashes: dict[str, str] = {}


async def make_person(
    session: AsyncSession, *, email: str | None = None, name: str = "Ines Okafor", password: str = PASSWORD, enrolled: bool = True
) -> Person:
    """A person who can sign in; with `enrolled` false the second factor is still missing."""
    email = email or f"person-{next(_numbers)}@example.test"
    hashed = await _hashed(password)
    return await service.add_person(session, email=email, name=name, password_hash=hashed, totp_secret=TOTP_SECRET if enrolled else None)


async def _hashed(password: str) -> str:
    """A password as it is stored, hashed once a test process: the work that stops those who guess would be a sixth of all tests' time."""
    if password not in _hashes:
        _hashes[password] = await service.hash_password(password)
    return _hashes[password]


def totp_code(secret: str = TOTP_SECRET, *, steps: int = 0) -> str:
    """The code an authenticator app shows now, or some steps away."""
    return pyotp.TOTP(secret).generate_otp(int(clock.now().timestamp()) // 30 + steps)


def make_operator(superuser: psycopg.Connection, person_id: UUID) -> None:
    """Let a person run the platform, as only the owner of the database can."""
    superuser.execute("insert into operator (person_id, added_at) values (%s, now())", [person_id])
    superuser.commit()
