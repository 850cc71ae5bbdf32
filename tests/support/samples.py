"""One object of every kind for each of two merchants, by the name of the path parameter that addresses it.

The crawler fills every route's path from here, so a new route is crawled without a line of its own. A new kind of object needs one
entry in `SAMPLES`: the test that misses it says so.
"""

import io
import re
from collections.abc import Mapping
from uuid import UUID

import msgspec
import psycopg

from app.approvals import service as approvals
from app.approvals.domain import Act
from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import ConnectionId, PaymentId, PersonId, new_id, parse_id, public_id
from app.core.money import Money
from app.core.settings import settings
from app.identity.providers import queries as provider_queries
from app.identity.providers import service as providers
from app.payments.domain import CaptureMode
from app.psp.domain import ChangePolicy
from app.psp.service import connections
from app.reconciliation import flows, queries
from app.reconciliation.arrivals import service as arrivals
from app.reconciliation.breaks import queries as break_queries
from app.reconciliation.sources import service as sources
from app.routing import service as routing
from app.routing.domain import Conditions, Rule, RuleKey, Share
from app.tenancy.domain import Role
from app.tenancy.invitations import service as invitations
from app.tenancy.roles import service as roles
from app.tenancy.sso import queries as sso
from app.wallets.write_offs.service import instruction as write_off_instruction
from app.web import sessions
from tests.support.factories.api_access import make_client, make_key
from tests.support.factories.bank_accounts import propose, somebody
from tests.support.factories.payouts import furnish_payouts
from tests.support.factories.sso import SETTINGS as SSO_SETTINGS
from tests.support.factories.sso import make_provider
from tests.support.factories.tenancy import make_member
from tests.support.shop import SETTINGS, ScriptedPsp, Shop, open_shop

_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")

PREFIXES = {
    "key_id": "key",
    "client_id": "cli",
    "connection_id": "con",
    "change_id": "chg",
    "event_id": "pev",
    "session_id": "ses",
    "passkey_id": "pky",
    "reset_id": "frs",
    "invitation_id": "inv",
    "seller_id": "sel",
    "member_id": "mem",
    "role_id": "rol",
    "item_id": "apr",
    "asked_id": "apr",
    "write_off_id": "apr",
    "order_id": "ord",
    "payment_id": "pay",
    "attempt_id": "att",
    "capture_id": "cap",
    "refund_id": "ref",
    "merchant_id": "mer",
    "bank_account_id": "ba",
    "payout_id": "po",
    "batch_id": "pob",
    "hold_id": "poh",
    "schedule_id": "psc",
    "source_id": "rsc",
    "file_id": "rfi",
    "arrival_id": "rar",
    "run_id": "rrn",
    "break_id": "brk",
    "entry_id": "aud",
    "identity_id": "idn",
    "sso_id": "sso",
    "domain_id": "dom",
    "version_id": "rtv",
    "rule_id": "rul",
}
NOT_AN_ID = {"psp": "simulated", "file_path": "css/countinghouse.css", "name": "nothing", "kind": "refund", "provider": "nobody"}
"""Path parameters that name something all merchants share."""


def parameters(path: str) -> list[str]:
    """The names of a path's parameters."""
    return [name for name, _ in _PARAMETER.findall(path)]


def fill(path: str, values: Mapping[str, str]) -> str:
    """The path with its parameters filled in; one that nobody knows points at nothing."""
    return _PARAMETER.sub(lambda found: values.get(found[1], "nothing"), path)


def unknown_ids() -> dict[str, str]:
    """Well-formed ids of nothing at all."""
    numbers = {"transaction_id": "txn_987654321", "account_id": "acc_987654321"}
    return NOT_AN_ID | numbers | {name: public_id(prefix, new_id()) for name, prefix in PREFIXES.items()}


def path_with_unknown_ids(path: str) -> str:
    """The path, pointing at nothing."""
    return fill(path, unknown_ids())


async def furnish(psp: ScriptedPsp) -> tuple[Shop, dict[str, str]]:
    """A merchant with one object of every kind, and their public ids by parameter name."""
    shop = await open_shop(psp)
    member = await make_member(shop.tenant, Role.VIEWER)
    key, _ = await make_key(shop.merchant_id, name="Shop server")
    client, _ = await make_client(shop.merchant_id, name="Warehouse")
    order_id = await shop.order()
    authorised = await shop.pay(order_id, mode=CaptureMode.MANUAL)
    captured = await shop.pay()
    await shop.refund(captured.payment_id, 500)
    found = await _look_up(shop, PersonId(member.id)) | await _reconcile(shop)
    # by somebody else, so that the owner may approve it
    bank_account = await propose(somebody(shop.actor), shop.bert)
    paying_out = await furnish_payouts(shop) | await _single_sign_on(shop)
    ids = (
        {
            "key_id": key.id,
            "client_id": client.id,
            "connection_id": shop.connection_id,
            "seller_id": shop.anna,
            "order_id": order_id,
            "payment_id": authorised.payment_id,
            "attempt_id": authorised.attempt_id,
            "bank_account_id": bank_account.id,
            "role_id": await _role(shop),
            # asked for by somebody else, so that the owner may decide; and by the owner, who may take it back
            "item_id": await _approval(shop, somebody(shop.actor), captured.payment_id, 100),
            "asked_id": await _approval(shop, shop.actor, captured.payment_id, 200),
            "write_off_id": await _write_off(shop),
        }
        | paying_out
        | await _routing(shop)
    )
    ids |= {"merchant_id": shop.merchant_id} | found
    return shop, {name: public_id(PREFIXES[name], value) for name, value in ids.items()} | _ledger_ids(shop) | NOT_AN_ID


async def _approval(shop: Shop, actor: Actor, payment_id: PaymentId, minor: int) -> UUID:
    async with unit_of_work(shop.merchant_id) as session:
        amount, told = Money(minor, "EUR"), {"keep_fee": False, "split": None, "reason": f"Goodwill {minor}"}
        row = await approvals.request_approval(
            session, actor, act=Act.REFUND, object_id=payment_id, instruction=told, amount=amount, reason="Goodwill"
        )
    return row.id


async def _write_off(shop: Shop) -> UUID:
    amount = Money(100, "EUR")
    told = write_off_instruction(seller_id=shop.anna, amount=amount, reason="Gone")
    async with unit_of_work(shop.merchant_id) as session:
        row = await approvals.request_approval(
            session, shop.actor, act=Act.WRITE_OFF, object_id=shop.anna, instruction=told, amount=amount, reason="Gone"
        )
    return row.id


async def _single_sign_on(shop: Shop) -> dict[str, UUID]:
    given = msgspec.structs.replace(SSO_SETTINGS, issuer="http://127.0.0.1:1")
    row = await make_provider(shop.actor, given, domain=f"{shop.merchant_id}.test")
    async with unit_of_work(shop.merchant_id) as session:
        held = await sso.domains(session, shop.actor, provider_id=row.id)
    return {"sso_id": row.id, "domain_id": held[0].id}


async def _routing(shop: Shop) -> dict[str, UUID]:
    """A draft with a rule."""
    named = (Share(connection=shop.connection_id, percent=100),)
    rule = Rule(key=RuleKey(new_id()), name="Dollars", conditions=Conditions(currencies=("USD",)), split=named)
    async with unit_of_work(shop.merchant_id) as session:
        version = await routing.start_draft(session, somebody(shop.actor))
        await routing.add_rule(session, somebody(shop.actor), rule=rule)
    return {"version_id": version.id, "rule_id": rule.key}


async def _role(shop: Shop) -> UUID:
    async with unit_of_work(shop.merchant_id) as session:
        row = await roles.create_role(session, shop.tenant.actor(), name="Cashier", summary="", permissions=["orders.read"])
    return row.id


async def _reconcile(shop: Shop) -> dict[str, UUID]:
    """A source with a file that names a payment nobody knows: a run and a break."""
    head = "batch,line,type,payment,reference,currency,gross,fee,net"
    content = f"{head}\nb,1,charge,nobody,,EUR,100,1,99\nb,out,payout,,,EUR,-99,0,-99\n".encode()
    async with unit_of_work(shop.merchant_id) as session:
        source = await sources.add_source(
            session, shop.actor, name="Files", format="simulated", connection_id=ConnectionId(shop.connection_id)
        )
        arrived = await arrivals.receive(session, shop.actor, source=source, name="day.csv", content=io.BytesIO(content))
    await flows.take_file(merchant_id=shop.merchant_id, arrival_id=arrived.id)
    async with unit_of_work(shop.merchant_id) as session:
        taken = await queries.arrival(session, merchant_id=shop.merchant_id, arrival_id=arrived.id)
        rows = await break_queries.open_breaks(session, merchant_id=shop.merchant_id)
    assert taken.file_id is not None and taken.run_id is not None
    ids = {"source_id": source.id, "file_id": taken.file_id, "run_id": taken.run_id, "arrival_id": taken.id}
    return ids | {"break_id": parse_id("brk", rows[0].id)}


async def _look_up(shop: Shop, member: PersonId) -> dict[str, UUID]:
    admin = await make_member(shop.tenant, Role.ADMIN)
    async with unit_of_work(shop.merchant_id) as session:
        await connections.set_policy(session, shop.actor, policy=ChangePolicy.FOUR_EYES)
        # by the other one, so that the owner may approve it
        proposer = shop.tenant.actor(person_id=member)
        change = await connections.propose_change(session, proposer, connection_id=ConnectionId(shop.connection_id), values=SETTINGS)
        invitation = await invitations.invite(session, shop.actor, email=f"{shop.merchant_id}@example.test", role=Role.VIEWER)
        await sessions.open_session(session, person_id=PersonId(shop.tenant.owner.id), address=None, user_agent="another browser")
        await providers.link(session, PersonId(shop.tenant.owner.id), "https://idp.example", str(shop.merchant_id), email="")
        identity = (await provider_queries.identities(session, PersonId(shop.tenant.owner.id)))[0].id
        own = (await sessions.sessions_of(session, PersonId(shop.tenant.owner.id)))[0].id
    with psycopg.connect(settings().owner_database_url) as connection:
        one = lambda query, *values: connection.execute(query, values).fetchone()[0]  # type: ignore[index] # noqa: E731
        event = new_id()
        passkey, reset = new_id(), new_id()
        connection.execute(_RESET, (shop.merchant_id, reset, member, admin.id))
        connection.execute(_PASSKEY, (passkey, shop.tenant.owner.id, passkey.bytes))
        connection.execute(_EVENT, (shop.merchant_id, event, shop.connection_id))
        return {
            "change_id": change.id,
            "session_id": own,
            "identity_id": parse_id("idn", identity),
            "event_id": event,
            "entry_id": one("select id from audit_entry where merchant_id = %s limit 1", shop.merchant_id),
            "passkey_id": passkey,
            "reset_id": reset,
            "invitation_id": invitation.id,
            "member_id": one("select id from membership where merchant_id = %s and person_id = %s", shop.merchant_id, member),
        }


_PASSKEY = """
insert into passkey (id, person_id, name, credential_id, public_key, counter, created_at) values (%s, %s, 'Key', %s, '', 0, now())
"""
_RESET = """
insert into factor_reset (merchant_id, id, person_id, status, reason, requested_by, requested_at) values (%s, %s, %s, 'requested', 'Lost', %s, now())
"""
_EVENT = """
insert into psp_event (merchant_id, id, connection_id, provider_event_id, kind, provider_reference, payload, body, status, error, occurred_at, received_at)
values (%s, %s, %s, 'evt_1', 'payment.captured', 'sim_1', '{}', '{}', 'failed', 'for the crawler', now(), now())
"""


def _ledger_ids(shop: Shop) -> dict[str, str]:
    with psycopg.connect(settings().owner_database_url) as connection:
        transaction = connection.execute("select min(id) from ledger.txn where merchant_id = %s", [shop.merchant_id]).fetchone()
        account = connection.execute("select min(id) from ledger.account where merchant_id = %s", [shop.merchant_id]).fetchone()
    assert transaction is not None
    assert account is not None
    return {"transaction_id": f"txn_{transaction[0]}", "account_id": f"acc_{account[0]}"}
