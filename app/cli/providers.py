"""Payment providers by hand: what an adapter needs, and one call through it."""

import asyncio
import os
from pathlib import Path

import click
import msgspec

from app.core.money import Money
from app.core.settings import settings
from app.psp import flows
from app.psp.domain import Operation


@click.group()
def psp() -> None:
    """Try a payment provider's adapter by hand."""
    # No database takes part, but the settings want to hear of one.
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = "postgresql://127.0.0.1/none"
        settings.cache_clear()


@psp.command()
@click.option("--psp", "name", required=True, help="The adapter, as it is called in the connections.")
def describe(name: str) -> None:
    """Show what an adapter needs and can do, as JSON.

    \b
    Example:
      countinghouse psp describe --psp simulated
    """
    click.echo(msgspec.json.encode(flows.describe(name)).decode())


@psp.command()
@click.option("--psp", "name", required=True, help="The adapter, as it is called in the connections.")
@click.option("--verb", type=click.Choice([verb.value for verb in Operation]), required=True)
@click.option("--key", required=True, help="Idempotency key; for authorise also our reference.")
@click.option("--base-url", help="Address of the provider's API, when not the adapter's own.")
@click.option("--amount", metavar="20.00")
@click.option("--currency", default="EUR", show_default=True)
@click.option("--token", help="The payment method (authorise).")
@click.option("--reference", help="What to operate on: the provider's reference, for lookup ours.")
@click.option("--return-url", help="Where the buyer comes back to (start_redirect).")
@click.option("--capture", is_flag=True, help="Take the money at once (authorise).")
@click.option("--credentials", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON file of the connection's settings.")
def call(
    *,
    name: str,
    verb: str,
    key: str,
    base_url: str | None,
    amount: str | None,
    currency: str,
    token: str | None,
    reference: str | None,
    return_url: str | None,
    capture: bool,
    credentials: Path | None,
) -> None:
    """Make one call and print one line of JSON; exit code 0 when the answer was understood, whatever it was.

    \b
    Example:
      countinghouse psp call --psp simulated --base-url http://127.0.0.1:8001 --credentials account.json \\
        --verb authorise --amount 20.00 --token tok_ok --key try-1
    """
    known: dict[str, str] = msgspec.json.decode(credentials.read_bytes(), type=dict[str, str]) if credentials else {}
    if base_url:
        known["api_base_url"] = base_url
    money = Money.parse(amount, currency) if amount else None
    answer = asyncio.run(
        flows.call(
            psp=name,
            credentials=known,
            verb=verb,
            key=key,
            amount=money,
            token=token,
            reference=reference,
            return_url=return_url,
            capture=capture,
        )
    )
    click.echo(msgspec.json.encode(answer).decode())
