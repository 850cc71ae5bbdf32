"""Talks to the simulated provider: one HTTP request per call, never repeated here."""

from collections.abc import Mapping
from typing import BinaryIO

import msgspec

from app.core import outbound
from app.core.settings import settings

FETCH_SECONDS = 60.0
"""A report is larger than an answer."""


class Client:
    """The provider's API as seen with one account's key."""

    def __init__(self, *, base_url: str, secret_key: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {secret_key}", "content-type": "application/json"}

    async def post(self, path: str, body: Mapping[str, object], *, key: str) -> outbound.Answer:
        """Ask the provider to do something, under an idempotency key."""
        headers = {**self._headers, "idempotency-key": key}
        return await self._call("POST", path, headers, msgspec.json.encode(body))

    async def get(self, path: str) -> outbound.Answer:
        """Ask the provider what it knows."""
        return await self._call("GET", path, self._headers, b"")

    async def fetch(self, path: str, *, into: BinaryIO, most: int) -> outbound.Answer:
        """Fetch something large, written as it comes."""
        limits = settings()
        return await outbound.pool().call(
            "GET",
            f"{self._base_url}{path}",
            headers=self._headers,
            allow_insecure=limits.allow_insecure_psp_urls,
            connect_seconds=limits.psp_connect_seconds,
            total_seconds=FETCH_SECONDS,
            into=into,
            most=most,
        )

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
