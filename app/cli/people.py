"""People from the command line: the first one has nobody to invite them."""

import asyncio
import secrets
import sys
from pathlib import Path

import click
import msgspec
import pyotp

from app.cli.installation import attached
from app.cli.output import emit
from app.core import db
from app.core.actors import Actor
from app.core.errors import NotFound
from app.core.ids import MerchantId, PersonId, parse_id, public_id
from app.identity import queries as people
from app.identity import service as identity
from app.identity.service import absences
from app.tenancy import queries as merchants
from app.tenancy import service as tenancy
from app.tenancy.domain import Role


class DemoPersonMissing(NotFound):
    """The demo knows nobody with this address."""

    code = "demo_person_not_found"
    title = "The demo knows nobody with this address"


@click.group()
def user() -> None:
    """People who sign in."""


@user.command()
@click.argument("email")
@click.option("--name", required=True, help="As colleagues see it.")
@click.option("--merchant", "merchant_text", metavar="MERCHANT", help="Public id of the merchant to join; without it nobody's member yet.")
@click.option("--open-merchant", "merchant_name", metavar="NAME", help="Open a merchant of this name, with its sandbox, for the person.")
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.OWNER.value, show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; otherwise one is made up and shown.")
@click.pass_obj
def add(
    settled: dict[str, Path],
    /,
    *,
    email: str,
    name: str,
    merchant_text: str | None,
    merchant_name: str | None,
    role: str,
    password_stdin: bool,
) -> None:
    """Add a person; the second factor is set up at the first sign-in.

    \b
    Examples:
      countinghouse user add ada@example.com --name "Ada" --open-merchant "Ada's Market"
      countinghouse user add ben@example.com --name "Ben" --merchant mer_01k… --role finance
    """
    password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(15)
    merchant_id = MerchantId(parse_id("mer", merchant_text)) if merchant_text else None
    with attached(settled["data"]):
        person, merchant = asyncio.run(
            add_person(email=email, name=name, password=password, merchant_id=merchant_id, opens=merchant_name, role=Role(role))
        )
    shown = {"email": email, "person": public_id("usr", person), "merchant": merchant and public_id("mer", merchant)}
    if not password_stdin:
        shown["password"] = password
    emit(shown, "\n".join(f"{label:<9} {value}" for label, value in shown.items() if value))


async def add_person(
    *, email: str, name: str, password: str, merchant_id: MerchantId | None, opens: str | None, role: Role
) -> tuple[PersonId, MerchantId | None]:
    """The person and the membership, in one transaction; gives the merchant joined or opened."""
    actor = Actor.system(None, "command line")
    try:
        async with db.unit_of_work(None) as session:
            workplace = (await merchants.merchant(session, merchant_id)).name if merchant_id else opens or ""
            person = await identity.create_person(session, email=email, name=name, password=password, workplace=workplace)
            person_id, homes = PersonId(person.id), [merchant_id] if merchant_id else []
            if opens:
                homes += [MerchantId(made.id) for made in await tenancy.open_merchant(session, actor, name=opens)]
            for home in homes:
                await tenancy.add_member(session, actor, merchant_id=home, person_id=person_id, role=role)
    finally:
        await db.dispose()
    return person_id, homes[0] if homes else None


@user.command("let-in")
@click.argument("email")
@click.pass_obj
def let_in(settled: dict[str, Path], email: str) -> None:
    """Open the account of a person who was shut out for staying away; their team can do so, too.

    \b
    Example:
      countinghouse user let-in ada@example.com
    """
    with attached(settled["data"]):
        opened = asyncio.run(let_in_again(email))
    emit({"email": email, "let_in": opened}, f"{email} can sign in again" if opened else f"{email} was not shut out for staying away")


async def let_in_again(email: str) -> bool:
    """Open the account; gives whether it was shut."""
    try:
        async with db.unit_of_work(None) as session:
            person = await people.person_by_email(session, email)
            return await absences.let_in(session, PersonId(person.id), by="Whoever runs this installation")
    finally:
        await db.dispose()


@click.command()
@click.argument("email")
@click.pass_obj
def code(settled: dict[str, Path], email: str) -> None:
    """Show the present second-factor code of a person of the demo.

    \b
    Example:
      countinghouse code ada@demo.example
    """
    demo = settled["data"] / "demo.json"
    known = msgspec.json.decode(demo.read_bytes()) if demo.exists() else {}
    secret = next((person["totp_secret"] for person in known.get("people", []) if person["email"] == email), None)
    if secret is None:
        raise DemoPersonMissing(f"{demo} has nobody with the address {email}.")
    present: str = pyotp.TOTP(secret).now()
    emit({"code": present}, present)
