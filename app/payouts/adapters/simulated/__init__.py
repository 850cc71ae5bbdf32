"""The simulated bank as a way to pay out: orders over HTTP under the account's key."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from app.core import outbound
from app.core.settings import settings
from app.payouts.adapters.simulated import translate
from app.payouts.domain.port import BankAnswer, BankOrder, RailAdapter


class Adapter:
    """Talks to one account of the simulated bank."""

    def __init__(self, *, base_url: str, secret_key: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {secret_key}", "content-type": "application/json"}

    async def send(self, order: BankOrder) -> BankAnswer:
        """Ask the bank to pay. The end-to-end id is also the idempotency key."""
        headers = {**self._headers, "idempotency-key": order.end_to_end_id}
        body = msgspec.json.encode(translate.request(order))
        return translate.answer(await self._call("POST", "/v1/payouts", headers, body))

    async def lookup(self, end_to_end_id: str) -> BankAnswer:
        """Ask what became of an order."""
        path = f"/v1/payouts?end_to_end_id={quote(end_to_end_id, safe='')}"
        return translate.found(await self._call("GET", path, self._headers, b""))

    async def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> outbound.Answer:
        limits = settings()
        return await outbound.pool().call(
            method,
            f"{self._base_url}{path}",
            headers=headers,
            body=body,
            allow_insecure=limits.allow_insecure_psp_urls,
            connect_seconds=limits.psp_connect_seconds,
            total_seconds=limits.psp_total_seconds,
        )


def connect(values: Mapping[str, str]) -> RailAdapter:
    """The adapter for a connection's settings."""
    return Adapter(base_url=values["api_base_url"], secret_key=values["secret_key"])
