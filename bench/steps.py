"""What a client does with each item; nothing of the product is needed for it, so that the clients' process starts at once."""

from collections.abc import Sequence

import msgspec

from bench.client import Answer, Connection, request


class Visit:
    """Opens a page as the signed-in owner."""

    def __init__(self, cookie: str) -> None:
        self.cookie = cookie

    async def __call__(self, connection: Connection, path: str) -> Answer:
        """Open it."""
        return await connection.ask(request("GET", path, cookie=self.cookie, accept="text/html"))


class Pay:
    """One payment of an order that exists: a single request."""

    def __init__(self, key: str, *, mode: str = "automatic") -> None:
        self.key, self.mode = key, mode

    async def __call__(self, connection: Connection, order: str) -> Answer:
        """Pay it."""
        body = f'{{"order":"{order}","token":"tok_visa","capture":"{self.mode}"}}'.encode()
        return await connection.ask(
            request("POST", "/v1/payments", body, authorization=f"Bearer {self.key}", idempotency_key=f"pay-{order}")
        )


class AuthoriseAndCapture(Pay):
    """A payment that is authorised first and captured by a second request."""

    async def __call__(self, connection: Connection, order: str) -> Answer:
        """Authorise it, then capture it."""
        answer = await super().__call__(connection, order)
        payment = _id_of(answer)
        path, key = f"/v1/payments/{payment}/capture", f"capture-{order}"
        return await connection.ask(request("POST", path, b"{}", authorization=f"Bearer {self.key}", idempotency_key=key))


class OrderAndPay(Pay):
    """A whole sale: the order of two sellers, then its payment."""

    def __init__(self, key: str, sellers: Sequence[str]) -> None:
        super().__init__(key)
        self.sellers = sellers

    async def __call__(self, connection: Connection, item: str) -> Answer:
        """Create it, then pay it."""
        first, second = (self.sellers[(int(item) + side) % len(self.sellers)] for side in range(2))
        lines = ",".join(
            f'{{"seller":"{seller}","description":"Oak chair","amount":{{"minor":{minor},"currency":"EUR"}}}}'
            for seller, minor in ((first, 4000), (second, 6000))
        )
        buyer = '{"name":"Lena Hoffmann","email":"lena@buyers.example"}'
        body = f'{{"reference":"S-{item}","currency":"EUR","lines":[{lines}],"buyer":{buyer}}}'.encode()
        headers = {"authorization": f"Bearer {self.key}", "idempotency_key": f"order-{item}"}
        return await super().__call__(connection, _id_of(await connection.ask(request("POST", "/v1/orders", body, **headers))))


def _id_of(answer: Answer) -> str:
    found = msgspec.json.decode(answer.body)
    if answer.status != 201:
        raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
    return str(found["id"])
