"""The merchant's rules for payouts: limits, who must agree, and the accounts that are paid from."""

import re
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import delete, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import audit, secrets
from app.core.actors import Actor
from app.core.clock import now, timezones
from app.core.ids import ConnectionId, MerchantId, new_id
from app.core.money import exponent
from app.payouts import queries
from app.payouts.adapters import RAILS
from app.payouts.domain import FundingAccountId, FundingAccountInvalid, Rail
from app.payouts.domain.approvals import Limits, Threshold, check_limits, check_thresholds
from app.payouts.domain.calendars import calendar_of, check_codes
from app.payouts.domain.schedules import clock_time
from app.payouts.models import ApprovalThreshold, FundingAccount, PayoutPolicy
from app.psp import queries as psp
from app.sellers.domain.bank_accounts import BankAccountKind, read_details

_CURRENCY = {Rail.SEPA: "EUR", Rail.ACH: "USD"}
_KIND = {Rail.SEPA: BankAccountKind.IBAN, Rail.ACH: BankAccountKind.US}


class OwnAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant's account at its bank, as a bank file needs it."""

    holder_name: str = ""
    number: str = ""
    routing: str = ""
    company_id: str = ""


async def set_limits(session: AsyncSession, actor: Actor, *, currency: str, limits: Limits) -> None:
    """Set how much may be paid out how fast in a currency; payouts already requested keep what was decided."""
    exponent(currency)
    check_limits(limits)
    before = await queries.limits(session, merchant_id=actor.merchant, currency=currency)
    values = msgspec.structs.asdict(limits) | {"updated_at": now()}
    row = upsert(PayoutPolicy).values(merchant_id=actor.merchant, currency=currency, **values)
    await session.execute(row.on_conflict_do_update(index_elements=["merchant_id", "currency"], set_=values))
    await _audit(session, actor, "limits_set", currency, msgspec.structs.asdict(before), msgspec.structs.asdict(limits))


async def set_thresholds(session: AsyncSession, actor: Actor, *, currency: str, thresholds: Sequence[Threshold]) -> None:
    """Set from which amounts how many people must agree; payouts that wait already keep their number."""
    exponent(currency)
    check_thresholds(thresholds)
    before = await queries.thresholds(session, merchant_id=actor.merchant, currency=currency)
    where = (ApprovalThreshold.merchant_id == actor.merchant, ApprovalThreshold.currency == currency)
    await session.execute(delete(ApprovalThreshold).where(*where))
    rows = [{"merchant_id": actor.merchant, "currency": currency, **msgspec.structs.asdict(threshold)} for threshold in thresholds]
    if rows:
        await session.execute(insert(ApprovalThreshold), rows)
    as_pairs = [[f"{each.from_minor}: {each.approvals}" for each in those] for those in (before, thresholds)]
    await _audit(session, actor, "approvals_set", currency, {"thresholds": as_pairs[0]}, {"thresholds": as_pairs[1]})


async def add_funding_account(
    session: AsyncSession,
    actor: Actor,
    *,
    name: str,
    currency: str,
    rail: Rail,
    connection_id: ConnectionId | None = None,
    own: OwnAccount | None = None,
    calendar: str = "",
    cutoff: str = "16:30",
    timezone: str = "UTC",
) -> FundingAccount:
    """Set from which account payouts in a currency are made from here on; payouts under way stay with theirs."""
    exponent(currency)
    clock_time(cutoff)
    if timezone not in timezones():
        detail = "This is not a time zone. Use a name such as Europe/Berlin."
        raise FundingAccountInvalid(detail, fields={"timezone": detail})
    own = own or OwnAccount()
    await _check(session, actor.merchant, currency=currency, rail=rail, connection_id=connection_id, own=own)
    account_id, moment = FundingAccountId(new_id()), now()
    in_use = (FundingAccount.merchant_id == actor.merchant, FundingAccount.currency == currency, FundingAccount.is_used)
    await session.execute(update(FundingAccount).where(*in_use).values(is_used=False, updated_at=moment))
    account = FundingAccount(
        merchant_id=actor.merchant,
        id=account_id,
        name=name,
        currency=currency,
        rail=rail,
        connection_id=connection_id if rail is Rail.API else None,
        holder_name=own.holder_name,
        calendar=check_codes([calendar or calendar_of(currency)])[0],
        cutoff=cutoff,
        timezone=timezone,
        is_used=True,
        created_at=moment,
        updated_at=moment,
        **_sealed(actor.merchant, account_id, rail, currency, own),
    )
    session.add(account)
    await session.flush()
    after = {"name": name, "rail": rail, "last4": account.last4, "calendar": account.calendar, "cutoff": cutoff}
    await _audit(session, actor, "funding_set", currency, None, after)
    return account


async def _check(
    session: AsyncSession, merchant_id: MerchantId, *, currency: str, rail: Rail, connection_id: ConnectionId | None, own: OwnAccount
) -> None:
    if rail in _CURRENCY and currency != _CURRENCY[rail]:
        detail = f"Files of this kind carry {_CURRENCY[rail]} only."
        raise FundingAccountInvalid(detail, fields={"rail": detail})
    if rail is Rail.API:
        if connection_id is None:
            raise FundingAccountInvalid("Choose the connection.", fields={"connection": "Choose the connection through which is paid."})
        connection = await psp.connection(session, merchant_id=merchant_id, connection_id=connection_id)
        if connection.psp not in RAILS:
            raise FundingAccountInvalid("It pays nothing out.", fields={"connection": "This provider pays nothing out."})
    elif not own.holder_name:
        raise FundingAccountInvalid("Name the holder.", fields={"holder_name": "A bank file names the holder of the account."})
    if rail is Rail.ACH and not re.fullmatch(r"[A-Za-z0-9 -]{1,10}", own.company_id):
        detail = "Your bank gave you a company id of up to ten letters and digits."
        raise FundingAccountInvalid(detail, fields={"company_id": detail})


def _sealed(merchant_id: MerchantId, account_id: FundingAccountId, rail: Rail, currency: str, own: OwnAccount) -> dict[str, str]:
    """The bank details as they are kept: the number sealed, the rest as it is needed."""
    company = {"company_id": own.company_id}
    if rail is Rail.API or (rail is Rail.CSV and not own.number):
        return {"bic": "", "routing": "", "number": "", "last4": "", **company}
    kind = _KIND.get(rail) or (BankAccountKind.UK if currency == "GBP" and own.number.isdigit() else BankAccountKind.IBAN)
    details = read_details(kind, number=own.number, routing=own.routing, currency=currency)
    sealed = secrets.seal(details.number, queries.funding_context(merchant_id, account_id))
    return {"bic": details.bic, "routing": details.routing, "number": sealed, "last4": details.last4, **company}


async def _audit(
    session: AsyncSession, actor: Actor, action: str, currency: str, before: Mapping[str, object] | None, after: Mapping[str, object]
) -> None:
    await audit.record(
        session,
        actor,
        action=f"payout.{action}",
        object_type="payout_policy",
        object_id=actor.merchant,
        before=before,
        after={"currency": currency, **after},
    )
