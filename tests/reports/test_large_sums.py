"""Several of the largest amounts that are taken come to more than one of them; whoever has them still sees every page."""

import pytest

from app.core.ids import public_id
from app.core.money import MAX_MINOR
from tests.support.shop import Shop
from tests.support.web import Browser


@pytest.fixture
async def rich(shop: Shop) -> Shop:
    for _ in range(3):
        await shop.pay(await shop.order(anna=MAX_MINOR, bert=0))
    return shop


async def test_every_page_that_adds_up_is_shown(rich: Shop, owner: Browser) -> None:
    seller = public_id("sel", rich.anna)
    paths = ["/", "/payments", "/orders", "/sellers", "/wallets", f"/wallets/{seller}", f"/wallets/{seller}/summary", "/wallets/export"]
    paths += [
        f"/sellers/{seller}",
        f"/sellers/{seller}/activity",
        "/ledger",
        "/ledger/trial-balance",
        "/ledger/trial-balance.csv",
        "/payouts",
    ]
    answers = {path: (await owner.get(path)).status_code for path in paths}
    assert answers == dict.fromkeys(paths, 200)


async def test_the_wallet_says_the_whole_sum(rich: Shop, owner: Browser) -> None:
    page = await owner.get(f"/wallets/{public_id('sel', rich.anna)}")
    # three times the largest amount less a fee of five percent, each fee rounded by itself
    fee = (MAX_MINOR * 5 + 50) // 100
    whole = 3 * (MAX_MINOR - fee)
    assert f"€{whole // 100:,}.{whole % 100:02}" in page.text
