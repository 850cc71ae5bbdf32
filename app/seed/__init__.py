"""Demo data, built only by calling services and flows: what stands in a demo could have been made by people, an API client and the PSP simulator.

A month of history is made by travelling: the clock is set to each past day, orders are paid through the simulator as they would have
been, and each day's funds become available.
"""

import io
import random
import secrets as randomness
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import httpx2
import msgspec
import pyotp

from app.api_access import service as api_access
from app.api_access.domain import SCOPES
from app.api_access.service import clients as oauth_clients
from app.core.actors import Actor, ActorKind
from app.core.clock import now, travel
from app.core.db import dispose, unit_of_work
from app.core.ids import ConnectionId, MerchantId, OrderId, PersonId, SellerId, new_id, public_id
from app.core.money import Money
from app.core.settings import settings
from app.identity import service as identity
from app.orders import service as orders
from app.orders.domain import NewLine
from app.payments import flows
from app.payments.domain import CaptureMode
from app.payouts import queries as payout_queries
from app.payouts.domain import FundingAccountId
from app.psp.service import connections
from app.reconciliation import flows as reconciliation
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.files import service as files
from app.reconciliation.invariants import service as invariants
from app.reconciliation.runs import service as runs
from app.reconciliation.sources import service as sources
from app.reports import flows as reports
from app.seed import access, payouts, routing, waiting
from app.sellers import service as sellers
from app.sellers.domain import FeeTerms
from app.tenancy import service as tenancy
from app.tenancy.domain import Role, permissions_of
from app.wallets import flows as wallets

DAYS = 30
MAIL = "countinghouse.example"
OPERATOR = "operator"
"""The role of somebody who runs the platform; that they do is said by the owner of the database, not here."""

PEOPLE = (
    ("ines.okafor", "Ines Okafor", Role.OWNER),
    ("adam.lindqvist", "Adam Lindqvist", Role.ADMIN),
    ("farah.nasser", "Farah Nasser", Role.FINANCE),
    ("aiko.tanaka", "Aiko Tanaka", Role.APPROVER),
    ("jonas.weber", "Jonas Weber", Role.SUPPORT),
    ("dana.kovacs", "Dana Kovács", Role.DEVELOPER),
    ("victor.silva", "Victor Silva", Role.VIEWER),
)
SELLERS = (
    ("halden", "Halden Furniture", "DE", 800),
    ("rowe", "Rowe Lighting", "GB", None),
    ("tidewater", "Tidewater Ceramics", "DK", None),
    ("oakfield", "Oakfield Textiles", "FR", 1200),
    ("northern", "Northern Paper Co.", "SE", None),
)
BUYERS = (
    "Lena Hoffmann",
    "Marc Dubois",
    "Sofia Rossi",
    "Tom Becker",
    "Aisha Khan",
    "Pavel Novák",
    "Clara Jensen",
    "Hugo Martín",
    "Yuki Sato",
    "Emma Larsen",
    "Noah Meier",
    "Olga Petrova",
)
GOODS = ("Oak chair", "Desk lamp", "Stoneware bowl", "Linen throw", "Letter set", "Side table", "Wall light", "Vase", "Cushion", "Notebook")
VISA, MASTERCARD, AMEX, HELD = "tok_visa", "tok_mastercard", "tok_amex", "tok_visa_review"
CARDS = (VISA,) * 10 + (MASTERCARD,) * 6 + (AMEX,) * 2
DECLINES = ("tok_visa_insufficient_funds", "tok_visa_declined", "tok_visa_expired_card", "tok_visa_lost_card")


SPARE = "halden-uk"
"""The account at the simulator of the demo's second connection."""


class Person(msgspec.Struct, kw_only=True):
    """How to sign in as somebody of the demo."""

    id: PersonId
    merchant: str
    role: str
    name: str
    email: str
    password: str
    totp_secret: str


class House(msgspec.Struct, kw_only=True):
    """One merchant of the demo, ready to sell."""

    merchant_id: MerchantId
    actor: Actor
    connection_id: ConnectionId
    sellers: list[SellerId]
    team: dict[Role, Actor]

    def who(self, role: Role) -> Actor:
        """Somebody with the role, having just shown the second factor."""
        return msgspec.structs.replace(self.team[role], factor_at=now())


async def plant(*, simulator_url: str, days: int = DAYS, compared: bool = True) -> dict[str, object]:
    """Fill an empty house with the demo's merchants, people and a month of business, its books compared with provider and bank; returns how to use it."""
    dice = random.Random(1494)  # noqa: S311 - repeatable demo data, nothing secret
    try:
        # early enough for the bank accounts to have cooled off on the first day
        with travel(timedelta(days=-days - 4, hours=-1)):
            people, (halden, _), halden_key = await _open_merchant("Halden & Rowe", PEOPLE, simulator_url)
            others, (northlight, northlight_test), northlight_key = await _open_merchant(
                "Northlight Coffee", (("nora.berg", "Nora Berg", Role.OWNER),), simulator_url
            )
            mara = await _add_person("", "mara.voss", "Mara Voss", OPERATOR)
            await payouts.open_payouts(
                halden.merchant_id,
                owner=halden.who(Role.OWNER),
                finance=halden.who(Role.FINANCE),
                approver=halden.who(Role.APPROVER),
                connection_id=halden.connection_id,
                sellers=halden.sellers,
            )
        await _history(halden, dice, per_day=3, days=days, pays_by=simulator_url)
        await _history(northlight, dice, per_day=1, days=days)
        await _today(halden, dice)
        await payouts.leave_for_today(
            halden.merchant_id, finance=halden.who(Role.FINANCE), approver=halden.who(Role.APPROVER), sellers=halden.sellers
        )
        spare = await _connect(halden.actor, simulator_url, name="Simulator UK", account=SPARE)
        await routing.leave_for_today(halden.who(Role.ADMIN), approver=halden.who(Role.APPROVER), first=halden.connection_id, spare=spare)
        if compared:
            await reconcile(halden, simulator_url, planted=PLANTED)
            await _bad_day(northlight, northlight_test, dice, simulator_url)
        for house in (halden, northlight):
            await reports.count_again(house.merchant_id)
    finally:
        await dispose()
    spares = {SPARE: public_id("con", spare)}
    return {
        "people": [_entry(person) for person in [*people, *others, mara]],
        "api_keys": [*halden_key, *northlight_key],
        "accounts": spares,
    }


def _entry(person: Person) -> dict[str, str]:
    return {name: getattr(person, name) for name in ("merchant", "role", "name", "email", "password", "totp_secret")}


async def _open_merchant(
    name: str, people: Sequence[tuple[str, str, Role]], simulator_url: str
) -> tuple[list[Person], list[House], list[dict[str, str]]]:
    """A merchant and its sandbox: people, connection, sellers, fees and an API key in each."""
    known = [await _add_person(name, *person) for person in people]
    owner = known[0]
    founder = Actor(kind=ActorKind.USER, id=owner.id, name=owner.name)
    async with unit_of_work(None) as session:
        live, sandbox = await tenancy.open_merchant(session, founder, name=name)
        merchant_ids = (MerchantId(live.id), MerchantId(sandbox.id))
    for person in known[1:]:
        for merchant_id in merchant_ids:
            async with unit_of_work(merchant_id) as session:
                await tenancy.add_member(
                    session, Actor.system(merchant_id), merchant_id=merchant_id, person_id=person.id, role=Role(person.role)
                )
    houses, keys = [], []
    for merchant_id, is_sandbox in zip(merchant_ids, (False, True), strict=True):
        actor = Actor(
            kind=ActorKind.USER,
            id=owner.id,
            name=owner.name,
            merchant_id=merchant_id,
            permissions=permissions_of(Role.OWNER, sandbox=is_sandbox),
            factor_at=now(),
        )
        house, key = await _furnish(actor, simulator_url, name="Simulator test" if is_sandbox else "Simulator EU")
        house.team = {Role(each.role): _acting(actor, each, is_sandbox) for each in known}
        houses.append(house)
        mode, connection = "test" if is_sandbox else "live", public_id("con", house.connection_id)
        keys.append({"merchant": name, "mode": mode, "id": public_id("mer", merchant_id), "connection": connection, "key": key})
    return known, houses, keys


def _acting(owner: Actor, person: Person, is_sandbox: bool) -> Actor:
    permissions = permissions_of(Role(person.role), sandbox=is_sandbox)
    return msgspec.structs.replace(owner, id=person.id, name=person.name, permissions=permissions)


async def _add_person(merchant: str, handle: str, name: str, role: str) -> Person:
    password, totp_secret, email = f"demo-{randomness.token_urlsafe(9)}", pyotp.random_base32(), f"{handle}@{MAIL}"
    async with unit_of_work(None) as session:
        row = await identity.create_person(session, email=email, name=name, password=password, totp_secret=totp_secret)
    return Person(id=PersonId(row.id), merchant=merchant, role=role, name=name, email=email, password=password, totp_secret=totp_secret)


async def _furnish(actor: Actor, simulator_url: str, *, name: str) -> tuple[House, str]:
    connection_id = await _connect(actor, simulator_url, name=name)
    added = []
    async with unit_of_work(actor.merchant) as session:
        await sellers.set_fee(session, actor, currency="EUR", terms=FeeTerms(basis_points=1000, fixed_minor=25))
        await sellers.set_fee(session, actor, currency="GBP", terms=FeeTerms(basis_points=1000, fixed_minor=20))
        for reference, seller, country, basis_points in SELLERS:
            row = await sellers.add_seller(session, actor, reference=reference, name=seller, email=f"{reference}@{MAIL}", country=country)
            added.append(SellerId(row.id))
            if basis_points is not None:
                await sellers.set_fee(session, actor, currency="EUR", terms=FeeTerms(basis_points=basis_points), seller_id=SellerId(row.id))
        _, key = await api_access.issue_key(session, actor, name="Storefront", scopes=SCOPES)
        await oauth_clients.add_client(session, actor, name="Warehouse", scopes=["orders.read", "payments.read"])
    return House(merchant_id=actor.merchant, actor=actor, connection_id=connection_id, sellers=added, team={}), key


async def _connect(actor: Actor, simulator_url: str, *, name: str, account: str = "") -> ConnectionId:
    """Open an account at the simulator and connect it, as a person would by copying the keys."""
    account = account or public_id("mer", actor.merchant)
    async with httpx2.AsyncClient(base_url=simulator_url, timeout=10) as simulator:
        opened = (await simulator.post("/_accounts", json={"name": account})).raise_for_status().json()
        values = {
            "api_base_url": simulator_url,
            "account": account,
            "secret_key": opened["secret_keys"][0],
            "webhook_secret": opened["webhook_secret"],
        }
        async with unit_of_work(actor.merchant) as session:
            row = await connections.add_connection(session, actor, psp="simulated", name=name, values=values)
            connection_id = ConnectionId(row.id)
            await connections.enable_connection(session, actor, connection_id=connection_id)
    await point_webhooks(simulator_url, {account: public_id("con", connection_id)})
    return connection_id


async def point_webhooks(simulator_url: str, connections_of: Mapping[str, str]) -> None:
    """Tell the simulator where its accounts' webhooks go now: the address changes with the port of the web pages."""
    async with httpx2.AsyncClient(base_url=simulator_url, timeout=10) as simulator:
        for account, connection in connections_of.items():
            address = f"{settings().public_url}/webhooks/{connection}"
            (await simulator.post("/_accounts", json={"name": account, "webhook_url": address})).raise_for_status()


async def _order(house: House, dice: random.Random, number: int) -> OrderId:
    buyer, currency = dice.choice(BUYERS), dice.choice(("EUR", "EUR", "EUR", "GBP"))
    chosen = dice.sample(house.sellers, dice.choice((1, 2, 2, 3)))
    lines = [
        NewLine(seller_id=seller, description=dice.choice(GOODS), amount=Money(dice.randrange(900, 42_000), currency)) for seller in chosen
    ]
    email = buyer.lower().replace(" ", ".") + "@buyers.example"
    async with unit_of_work(house.merchant_id) as session:
        order = await orders.create_order(
            session,
            house.actor,
            reference=f"HR-{20_000 + number}",
            currency=currency,
            lines=lines,
            buyer_name=buyer,
            buyer_email=email,
            details={"channel": "web"},
        )
    return OrderId(order.id)


async def _pay(house: House, order_id: OrderId, *, token: str | None, mode: CaptureMode = CaptureMode.AUTOMATIC) -> flows.Answered:
    return await flows.pay(house.actor, order_id=order_id, token=token, capture_mode=mode, key=f"demo:{new_id().hex}", request=b"demo")


async def _history(house: House, dice: random.Random, *, per_day: int, days: int, pays_by: str = "") -> None:
    """A month of orders: most are paid, some declined, a few refunded; each day's funds become available, and are paid out where there is a bank."""
    number, came_back = 0, False
    for day in range(days, 0, -1):
        with travel(timedelta(days=-day, minutes=dice.randrange(-300, 300))):
            for _ in range(dice.randrange(per_day, per_day * 2)):
                number += 1
                token = dice.choice(CARDS) if dice.random() > 0.1 else dice.choice(DECLINES)
                paid = await _pay(house, await _order(house, dice, number), token=token)
                if token in CARDS and dice.random() < 0.08:
                    await flows.refund(
                        house.actor, payment_id=paid.payment_id, reason="Returned", key=f"demo:{new_id().hex}", request=b"demo"
                    )
            await wallets.release_due()
            if pays_by:
                due = not came_back and day <= max(2, days // 4)
                approver = house.who(Role.APPROVER)
                came_back |= await payouts.pay_day(house.merchant_id, approver=approver, simulator_url=pays_by, comes_back=due)
    await wallets.release_due()


async def _today(house: House, dice: random.Random) -> None:
    """What waits for a person today: authorised and partly captured payments, one in review, one at the hosted page, one open order."""
    authorised = await _pay(house, await _order(house, dice, 901), token=VISA, mode=CaptureMode.MANUAL)
    half = Money(500, msgspec.json.decode(authorised.body)["amount"]["currency"])
    await flows.capture(house.actor, payment_id=authorised.payment_id, amount=half, key="demo:part", request=b"demo")
    owner, support = house.who(Role.OWNER), house.who(Role.SUPPORT)
    await access.leave_for_today(owner=owner, support=support, payment_id=authorised.payment_id, currency=half.currency)
    await _pay(house, await _order(house, dice, 902), token=MASTERCARD, mode=CaptureMode.MANUAL)
    await _pay(house, await _order(house, dice, 903), token=HELD)
    await _pay(house, await _order(house, dice, 904), token=None)
    await _order(house, dice, 905)


async def _bad_day(house: House, test: House, dice: random.Random, simulator_url: str) -> None:
    """What an operator finds waiting."""
    await waiting.leave_for_operators(
        house.who(Role.OWNER),
        order=lambda: _order(house, dice, dice.randrange(1_000, 9_000)),
        test=test.who(Role.OWNER),
        test_order=lambda: _order(test, dice, dice.randrange(1_000, 9_000)),
        simulator_url=simulator_url,
    )


PLANTED = "amount,fee,duplicate,dispute,unknown_type,bank_stray"
"""What the demo's provider and bank get wrong, so that there is something to resolve."""


async def reconcile(house: House, simulator_url: str, *, planted: str) -> UUID:
    """The provider's files and the bank's statement, as they were fetched, handed in and compared; the simulator charged everything in real time."""
    async with unit_of_work(house.merchant_id) as session:
        provider = await sources.add_source(
            session, house.actor, name="Simulator EU", format="simulated", connection_id=house.connection_id
        )
        pays = await payout_queries.funding_in_use(session, merchant_id=house.merchant_id, currency="EUR")
        bank = await sources.add_source(session, house.actor, name="House bank EUR", format="camt053", funding_id=FundingAccountId(pays.id))
    account, today = public_id("mer", house.merchant_id), now().date()
    first = today - timedelta(days=1)
    async with httpx2.AsyncClient(base_url=simulator_url, timeout=30) as simulator:
        for ahead in range(3):
            # what the provider settles on a day is at the bank on the next
            day, wanted = first + timedelta(days=ahead), planted if ahead else ""
            asked = {"account": account, "day": day.isoformat(), "since": first.isoformat()}
            booked = (
                await simulator.get("/_settlements/statement", params={**asked, "plant_breaks": planted if ahead == 2 else ""})
            ).raise_for_status()
            async with unit_of_work(house.merchant_id) as session:
                arrived = await arrivals.receive(
                    session, house.actor, source=bank, name=f"statement_{day}.xml", content=io.BytesIO(booked.content)
                )
            await reconciliation.take_file(merchant_id=house.merchant_id, arrival_id=arrived.id)
            if day > today:
                continue
            settled = (await simulator.get("/_settlements/file", params={**asked, "plant_breaks": wanted})).raise_for_status()
            async with unit_of_work(house.merchant_id) as session:
                await files.import_file(session, house.actor, source=provider, name=f"settlement_{day}.csv", chunks=[settled.content])
    async with unit_of_work(house.merchant_id) as session:
        run = await runs.compare(session, house.actor)
        await invariants.check(session, house.actor)
    return run.id
