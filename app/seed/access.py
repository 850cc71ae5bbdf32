"""What the demo shows of roles and approvals: a role of the merchant's own, a member with a limit, and a refund that waits for others;
and a sign-in provider that is being set up."""

from secrets import token_urlsafe

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import PaymentId, parse_id
from app.core.money import Money
from app.payments.refund_requests import flows as requests
from app.tenancy import queries as teams
from app.tenancy.domain import Role
from app.tenancy.members import service as members
from app.tenancy.roles import service as roles
from app.tenancy.sso import service as sso
from app.tenancy.sso.domain import SsoSettings

_PROVIDER = SsoSettings(
    name="Staff directory",
    issuer="https://login.staff.example",
    client_id="countinghouse",
    secret_in_body=False,
    scopes="openid email profile",
    accept_mfa=False,
    mfa_acr=[],
    default_role=Role.VIEWER,
    role_rules=["groups = accounting : finance", "groups = help-desk : support"],
)
CLERK = ("merchant.read", "orders.read", "orders.write", "payments.read", "payments.create", "customers.read")


async def leave_for_today(*, owner: Actor, support: Actor, payment_id: PaymentId, currency: str) -> None:
    """Somebody asks for a refund above their limit; others find it in their approvals."""
    async with unit_of_work(owner.merchant) as session:
        await roles.create_role(
            session, owner, name="Order desk", summary="Takes orders and payments; gives nothing back.", permissions=CLERK
        )
        team = await teams.team(session, owner)
        member = next(one for one in team.members if one.role == Role.SUPPORT)
        most = Money(200, currency)
        await members.set_limit(session, owner, member_id=parse_id("mem", member.id), permission="payments.refund", most=most)
        provider = await sso.add_provider(session, owner, given=_PROVIDER, secret=token_urlsafe(32))
        await sso.add_domain(session, owner, provider_id=provider.id, domain="staff.example")
    await requests.ask(support, payment_id=payment_id, amount=Money(300, currency), split=None, reason="Goodwill", keep_fee=False)
