"""What a page asks of the database: so many statements, however many rows there are."""

import pytest

from app.core.ids import public_id
from tests.support.console import soup
from tests.support.factories.wallets import let_days_pass
from tests.support.shop import Shop
from tests.support.statements import counted
from tests.support.web import Browser

MOST = {
    "/payments": 5,
    "/payments?status=authorised,captured&sort=-amount": 5,
    "/payments?q=lena&currency=EUR&least=1": 5,
    "/orders": 3,
    "/sellers": 4,
    "/wallets": 6,
    "/": 7,
    "/?period=12w&currency=EUR": 7,
    "/reports/payments-by-day": 4,
    "/reports/platform-fees": 4,
    # who opens raw events is in the trail: a transaction of its own with one entry
    "/psp-events": 5,
    "/search?q=lena": 5,
}
"""The look-up of the session and the beginning of the transaction are counted with the rest."""
OF_PAYMENT = 11


async def asked_by(browser: Browser, path: str) -> list[str]:
    await browser.get(path)  # limits and prepared statements are known from here on
    with counted() as sent:
        answer = await browser.get(path)
    assert answer.status_code == 200, (path, answer.text)
    # every thirtieth request leases more of the address's limit
    return [statement for statement in sent if not statement.startswith("insert into rate_limit")]


class TestStatements:
    @pytest.mark.parametrize("many", [1, 6])
    async def test_are_few_and_do_not_grow_with_the_rows(self, owner: Browser, shop: Shop, many: int) -> None:
        for _ in range(many):
            answered = await shop.pay()
            await shop.refund(answered.payment_id, 100)
        await let_days_pass()
        for path, most in MOST.items():
            sent = await asked_by(owner, path)
            assert 0 < len(sent) <= most, (path, sent)
        page = f"/payments/{public_id('pay', answered.payment_id)}"
        assert len(soup(await owner.get("/payments")).select("#payment-list tbody tr")) == many
        sent = await asked_by(owner, page)
        assert 0 < len(sent) <= OF_PAYMENT, sent
