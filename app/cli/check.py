"""`demo --check`: one order of two sellers, over HTTP, through to both wallets; every step is shown with its time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from app.cli.books import check_books
from app.cli.output import step
from app.core.errors import Conflict
from app.core.ids import parse_id
from app.core.money import Money

PATIENCE = 30.0
PARTS = (Money(2_000, "EUR"), Money(1_000, "EUR"))


_PROCESSED = """
select 1 from psp_event e join payment_attempt a on a.merchant_id = e.merchant_id and a.provider_reference = e.provider_reference
where a.payment_id = %s and e.status in ('applied', 'ignored') limit 1
"""


class CheckFailed(Conflict):
    """The demo does not do what it should."""

    code = "demo_check_failed"
    title = "The demo does not do what it should"


class Client:
    """An API client of one merchant."""

    def __init__(self, http: httpx2.AsyncClient, key: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {key}"}

    async def get(self, path: str) -> dict[str, Any]:
        """Read something."""
        return _understood(await self._http.get(path, headers=self._headers))

    async def post(self, path: str, body: Mapping[str, object], *, key: str) -> dict[str, Any]:
        """Do something, once."""
        return _understood(await self._http.post(path, json=body, headers={**self._headers, "Idempotency-Key": key}))

    async def try_post(self, path: str, body: Mapping[str, object], *, key: str) -> dict[str, Any] | None:
        """Ask for something that may be refused."""
        response = await self._http.post(path, json=body, headers={**self._headers, "Idempotency-Key": key})
        return None if response.status_code == 409 else _understood(response)

    async def wallet(self, seller: str, bucket: str) -> Money:
        """What is in one bucket of a seller's euro wallet."""
        wallets = (await self.get(f"/v1/sellers/{seller}/wallets"))["items"]
        return next((Money(**wallet[bucket]) for wallet in wallets if wallet["currency"] == "EUR"), Money.zero("EUR"))

    async def pending(self, seller: str) -> Money:
        """What a seller will have."""
        return await self.wallet(seller, "pending")


async def take_an_order(known: Mapping[str, Any], owner_url: str) -> None:
    """The whole way of one payment, as a shop would go it."""
    key = next(entry["key"] for entry in known["api_keys"] if entry["mode"] == "live")
    async with httpx2.AsyncClient(base_url=known["url"], timeout=20) as http:
        client = Client(http, key)
        with step("Two sellers are found"):
            sellers = [seller["id"] for seller in (await client.get("/v1/sellers"))["items"] if seller["status"] == "active"][:2]
            require(len(sellers) == 2, f"the demo has {len(sellers)} active sellers, two are needed")
            before = [await client.pending(seller) for seller in sellers]
        with step("An order of both is created"):
            order = await client.post("/v1/orders", order_of(sellers), key=f"check-order-{uuid4()}")
        payment = await pay(client, order)
        with step("Both wallets show their part as pending"):
            await wallets_show(client, sellers, before, payment)
    with step("The PSP's webhook is processed"):
        await until(lambda: webhook_processed(owner_url, payment["id"]), "no webhook of this payment was processed")
    with step("The books balance"):
        require(await check_books(owner_url, None), "the books do not balance")


async def pay(client: Client, order: Mapping[str, Any]) -> dict[str, Any]:
    """Pay the order by a card the simulator approves at once, and once more by mistake."""
    request, key = {"order": order["id"], "token": "tok_visa"}, f"check-payment-{uuid4()}"
    with step("It is paid by card"):
        payment = await client.post("/v1/payments", request, key=key)
        require(payment["status"] == "captured", f"the payment is {payment['status']}")
        require(payment["captured"] == order["total"], f"{payment['captured']} was captured of {order['total']}")
    with step("The same request again answers the same and charges nothing"):
        again = await client.post("/v1/payments", request, key=key)
        require(again == payment, "the repeated request was answered differently")
    with step("The order is paid"):
        paid = await client.get(f"/v1/orders/{order['id']}")
        require(paid["captured"] == order["total"], f"the order has {paid['captured']} of {order['total']}")
    return payment


async def wallets_show(client: Client, sellers: Sequence[str], before: Sequence[Money], payment: Mapping[str, Any]) -> None:
    """Each seller has the own part less the fee, and no more than was paid is given out."""
    gained = [await client.pending(seller) - known for seller, known in zip(sellers, before, strict=True)]
    require(all(amount.is_positive for amount in gained), f"the wallets gained {', '.join(map(Money.format, gained))}")
    require(
        all(not part < amount for part, amount in zip(PARTS, gained, strict=True)), f"more than the parts was given out for {payment['id']}"
    )


def order_of(sellers: Sequence[str]) -> dict[str, object]:
    """An order with one line for each seller."""
    lines = [
        {"seller": seller, "description": "Check", "amount": {"minor": part.minor, "currency": part.currency}}
        for seller, part in zip(sellers, PARTS, strict=True)
    ]
    buyer = {"name": "Check", "email": "check@buyers.example"}
    return {"reference": f"CHECK-{uuid4().hex[:12]}", "currency": "EUR", "lines": lines, "buyer": buyer}


async def webhook_processed(owner_url: str, payment_id: str) -> bool:
    """Tell whether an event about the payment was taken in and dealt with."""
    async with await psycopg.AsyncConnection.connect(owner_url) as connection:
        found = await connection.execute(_PROCESSED, (parse_id("pay", payment_id),))
        return await found.fetchone() is not None


async def until(holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        require(time.monotonic() < deadline, f"{otherwise} within {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


def require(holds: bool, otherwise: str) -> None:
    """Stop the check unless something holds."""
    if not holds:
        raise CheckFailed(f"The check failed: {otherwise}.")


def _understood(response: httpx2.Response) -> dict[str, Any]:
    require(
        response.status_code < 300,
        f"{response.request.method} {response.request.url.path} gave {response.status_code}: {response.text[:500]}",
    )
    answer: dict[str, Any] = response.json()
    return answer
