"""A seller hears by mail where its money is about to go, while there is time to object."""

from psycopg import Connection

from app.core import mail
from app.core.db import unit_of_work
from app.sellers.domain.bank_accounts import BankAccountId, VerifiedBy
from app.sellers.models import BankAccount
from app.sellers.service import bank_accounts as service
from tests.support.factories.bank_accounts import FRENCH, propose, somebody
from tests.support.shop import Shop


async def letters(shop: Shop) -> list[tuple[str, str]]:
    async with unit_of_work(None) as session:
        kept = [(each.recipient, mail.letter_of(each)) for each in await mail.recent(session)]
    return [(to, f"{letter.subject}\n{letter.text}") for to, letter in kept if letter is not None and "bank account" in letter.subject]


async def approve(shop: Shop, account: BankAccount) -> BankAccount:
    async with unit_of_work(shop.merchant_id) as session:
        return await service.approve_account(
            session,
            somebody(shop.actor),
            account_id=BankAccountId(account.id),
            digest=account.digest,
            verified_by=VerifiedBy.CALL_BACK,
        )


async def test_an_approved_account_is_told_to_the_seller_before_it_is_paid_to(shop: Shop, superuser: Connection) -> None:
    superuser.execute("update seller set email = 'anna@antiques.example' where id = %s", [shop.anna])
    account = await propose(shop.actor, shop.anna, number=FRENCH)
    assert await letters(shop) == []
    approved = await approve(shop, account)
    assert approved.usable_from is not None
    ((to, text),) = await letters(shop)
    assert to == "anna@antiques.example" and "Anna Berg" in text and "ends in 2606" in text and FRENCH not in text
    assert f"{approved.usable_from:%H:%M}" in text and "until then nothing is paid" in text


async def test_a_seller_without_an_address_is_no_obstacle(shop: Shop, superuser: Connection) -> None:
    superuser.execute("update seller set email = '' where id = %s", [shop.anna])
    await approve(shop, await propose(shop.actor, shop.anna, number=FRENCH))
    assert await letters(shop) == []
