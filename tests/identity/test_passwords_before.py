"""The last four passwords are not taken again; what is kept of them is bounded, and only hashes."""

import psycopg
import pytest

from app.core.db import unit_of_work
from app.core.ids import PersonId
from app.identity import service
from app.identity.domain import PasswordUnfit
from app.identity.models import Person
from tests.identity.test_sign_in import enter_password
from tests.support.factories.identity import PASSWORD, make_person, totp_code
from tests.support.factories.tenancy import Tenant
from tests.support.web import Browser, text_of

LATER = ["amber kettle sings at noon", "seven otters borrow ladders", "copper moths admire rain", "brisk lanterns follow geese"]


async def _change(person_id: PersonId, password: str) -> None:
    async with unit_of_work(None) as session:
        await service.change_password(session, person_id, password=password)


async def test_the_last_four_are_refused_and_the_fifth_is_free(browser: Browser, tenant: Tenant) -> None:
    who = PersonId(tenant.owner.id)
    for password in LATER[:3]:
        await _change(who, password)
    for used in (PASSWORD, *LATER[:3]):
        with pytest.raises(PasswordUnfit) as refused:
            await _change(who, used)
        assert "last four" in refused.value.fields["password"]
    await _change(who, LATER[3])
    await _change(who, PASSWORD)
    assert await enter_password(browser, tenant.owner.email) == 303


async def test_only_three_hashes_are_kept_beside_the_present_one(tenant: Tenant, superuser: psycopg.Connection) -> None:
    who = PersonId(tenant.owner.id)
    for password in [*LATER, "plain gravel hides an oboe", "old harbours count their gulls"]:
        await _change(who, password)
    row = superuser.execute("select passwords_before from person where id = %s", [who]).fetchone()
    assert row is not None
    assert len(row[0]) == 3
    assert all(each.startswith("$argon2id$") for each in row[0])
    with pytest.raises(psycopg.errors.CheckViolation):
        superuser.execute("update person set passwords_before = array['$1', '$2', '$3', '$4']")
    superuser.rollback()


async def test_the_form_says_so(owner: Browser, tenant: Tenant) -> None:
    await owner.get("/security/password")
    answer = await owner.post("/security/password", {"current_password": PASSWORD, "password": PASSWORD, "code": totp_code()})
    assert answer.status_code == 422
    assert "one of your last four" in text_of(answer)
    changed = await owner.post("/security/password", {"current_password": PASSWORD, "password": LATER[0], "code": totp_code()})
    assert changed.status_code == 303, "the refused try cost neither the code nor anything else"


async def test_who_had_no_password_reuses_none(database: object, superuser: psycopg.Connection) -> None:
    """An account that a provider made has a mark where the hash stands."""
    async with unit_of_work(None) as session:
        person: Person = await make_person(session)
    superuser.execute("update person set password_hash = '!' where id = %s", [person.id])
    superuser.commit()
    await _change(PersonId(person.id), PASSWORD)
    row = superuser.execute("select passwords_before from person where id = %s", [person.id]).fetchone()
    assert row == ([],)
